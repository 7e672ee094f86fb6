"""Intervals against scipy's and against what they promise: to cover."""

import numpy as np
import pytest
from scipy.stats import binomtest

from evaluation.metrics.intervals import bootstrap_over_people, percentiles, wilson


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (3, 10), (10, 10), (519, 650), (1, 5320)])
def test_wilson_equals_scipy(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(0.95, "wilson")
    assert wilson(hits / n, n) == pytest.approx((expected.low, expected.high))


def test_people_who_repeat_widen_the_interval() -> None:
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(40), 10)
    hits = np.repeat(rng.random(40) < 0.5, 10)
    interval = bootstrap_over_people(hits, people)
    assert interval is not None
    plain = wilson(hits.mean(), 400)
    assert plain is not None
    assert interval[1] - interval[0] > 2 * (plain[1] - plain[0])
    assert interval == bootstrap_over_people(hits, people), "the same every time"


@pytest.mark.slow
def test_the_bootstrap_covers_the_truth() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for seed in range(100):
        rates = rng.beta(2, 2, 50)
        hits = rng.random((50, 5)) < rates[:, None]
        interval = bootstrap_over_people(hits.ravel(), np.repeat(np.arange(50), 5), seed=seed, resamples=300)
        assert interval is not None
        covered += interval[0] <= 0.5 <= interval[1]
    assert covered >= 85


def test_no_misses_are_not_certainty() -> None:
    people = np.repeat(np.arange(25), 4)
    assert bootstrap_over_people(np.ones(100), people) == wilson(1.0, 25)
    assert bootstrap_over_people(np.zeros(100), people) == wilson(0.0, 25)


def test_nothing_to_measure_has_no_interval() -> None:
    assert wilson(float("nan"), 5) is None
    assert wilson(0.5, 0) is None
    assert bootstrap_over_people([], []) is None
    assert percentiles([]) is None
    assert percentiles([float("nan")]) is None


def test_the_interval_leaves_a_fortieth_on_either_side() -> None:
    assert percentiles(range(1001)) == pytest.approx((25, 975))
