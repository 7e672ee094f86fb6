"""Paired differences: the draws of two models belong together one by one, as a slow bootstrap has them."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.bootstrap import PairPeople, WeightedCurve, bootstrap_over_pairs, verification_intervals
from evaluation.metrics.figures import Figure
from evaluation.metrics.intervals import Resampled, bootstrap_over_people
from evaluation.metrics.paired import difference_of, differences_of, mean_of

PEOPLE = np.repeat(np.arange(12), 4)


def rank_1(hits: np.ndarray, people: np.ndarray = PEOPLE) -> Figure:
    return Figure("rank-1", float(hits.mean()), len(hits), bootstrap_over_people(hits, people))


@pytest.mark.slow
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=48, max_size=48))
@settings(deadline=None, max_examples=6)
def test_the_interval_is_that_of_the_difference_resampled(hits: list[tuple[bool, bool]]) -> None:
    one, other = np.array(hits).T.astype(float)
    found = difference_of(rank_1(one), rank_1(other))
    assert found.value == pytest.approx(one.mean() - other.mean())
    if one.mean() in (0, 1) or other.mean() in (0, 1):
        return
    assert found.interval == pytest.approx(bootstrap_over_people_of_any(one - other), abs=1e-12)
    assert difference_of(rank_1(one), rank_1(one)).interval == (0, 0)
    back = difference_of(rank_1(other), rank_1(one))
    assert back.interval == pytest.approx((-found.interval[1], -found.interval[0]))
    assert back.excludes_zero == found.excludes_zero


def bootstrap_over_people_of_any(values: np.ndarray) -> tuple[float, float]:
    """The bootstrap draw by draw and person by person, of values that need not be shares."""
    generator = np.random.default_rng(0)
    shares = []
    for _ in range(1000):
        drawn = generator.multinomial(12, np.full(12, 1 / 12))
        taken = [value for value, person in zip(values, PEOPLE, strict=True) for _ in range(drawn[person])]
        shares.append(np.mean(taken))
    low, high = np.percentile(shares, [2.5, 97.5])
    return float(low), float(high)


def test_pairs_and_curves_are_drawn_alike() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 9, 60), rng.integers(0, 9, 60)
    people = PairPeople(left, np.where(rng.random(60) < 0.5, left, right), 9)
    same = people.left == people.right
    scores = [rng.normal(0.4 * same, 0.3) for _ in range(2)]
    both = people.of_rows(np.flatnonzero(same)), people.of_rows(np.flatnonzero(~same))
    found = []
    for of_model in scores:
        intervals = verification_intervals(of_model[same], of_model[~same], both, {"AUC": WeightedCurve.area})
        found.append(Figure("AUC", 0.5, 60, intervals["AUC"]))
    slow = found[0].interval.draws - found[1].interval.draws
    assert difference_of(*found).interval == pytest.approx(tuple(np.percentile(slow[np.isfinite(slow)], [2.5, 97.5])))
    hits = [of_model > 0.2 for of_model in scores]
    means = [Figure("accuracy", float(h.mean()), 60, bootstrap_over_pairs(h, people)) for h in hits]
    assert difference_of(*means).interval is not None


def test_other_people_have_no_interval() -> None:
    hits = np.array([1.0, 0] * 24)
    one = rank_1(hits)
    for other in (rank_1(hits, np.repeat(np.arange(24), 2)), rank_1(hits[:40], PEOPLE[:40]), Figure("rank-1", 0.5, 48)):
        assert difference_of(one, other).interval is None
        assert not difference_of(one, other).excludes_zero
    names = [found.figure for found in differences_of([one, Figure("only here", 1, 1)], [one])]
    assert names == ["rank-1"]


def test_figures_at_the_ends_are_not_surer_than_wilson() -> None:
    all_right, none_right = rank_1(np.ones(48)), rank_1(np.zeros(48))
    low, high = difference_of(all_right, all_right).interval
    assert low == pytest.approx(-(1 - all_right.interval[0]))
    assert high == pytest.approx(1 - all_right.interval[0])
    assert difference_of(all_right, none_right).excludes_zero
    assert difference_of(all_right, none_right).interval[1] == 1


def test_a_mean_of_two_ways_is_resampled_alike() -> None:
    one, other = rank_1(np.array([1.0, 0] * 24)), rank_1(np.array([1.0, 1, 1, 0] * 12))
    found = mean_of(one, other)
    assert (found.name, found.value, found.n) == ("rank-1", 0.625, 48)
    assert found.interval.draws == pytest.approx((one.interval.draws + other.interval.draws) / 2)
    assert mean_of(one, one).interval == one.interval
    assert difference_of(found, one).interval is not None
    sure = rank_1(np.ones(48))
    assert mean_of(sure, sure).interval == sure.interval
    assert mean_of(one, Figure("rank-1", 0.5, 48)).interval is None


def test_an_interval_stays_two_numbers_and_keeps_its_draws() -> None:
    interval = Resampled((0.25, 0.75), [0.25, 0.75], "ab")
    assert interval == (0.25, 0.75)
    copy = pickle.loads(pickle.dumps(interval))
    assert (copy, copy.drawn, copy.draws.tolist()) == ((0.25, 0.75), "ab", [0.25, 0.75])
