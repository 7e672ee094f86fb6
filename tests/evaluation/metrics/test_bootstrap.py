"""Weighted figures equal the plain ones of scores repeated as often; intervals cover what they promise."""

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.metrics.bootstrap import (
    PairPeople,
    Weighted,
    WeightedCurve,
    drawn_people,
    open_set_intervals,
    verification_intervals,
)
from evaluation.metrics.identification import MatedRanks, tpir_area, tpir_at_fpir
from evaluation.metrics.verification import auc, best_accuracy, equal_error_rate, tar_at_far

RATES = (0.0, 0.001, 0.1, 0.3, 1.0)
weighted = st.lists(st.tuples(st.integers(-4, 4).map(lambda k: k / 4), st.integers(0, 3)), min_size=1, max_size=15)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(up=weighted, un=weighted)
def test_a_weight_is_a_repetition(up: list[tuple[float, int]], un: list[tuple[float, int]]) -> None:
    positives, negatives = ([score for score, _ in pairs] for pairs in (up, un))
    curve = Weighted.of(positives, negatives).curve([w for _, w in up], [w for _, w in un])
    more, less = ([score for score, weight in pairs for _ in range(weight)] for pairs in (up, un))
    assert curve.empty == (not more or not less)
    if curve.empty:
        return
    for rate in RATES:
        assert curve.rate_at(rate) == pytest.approx(tar_at_far(more, less, rate))
    assert curve.area() == pytest.approx(auc(more, less))
    assert curve.equal_error_rate() == pytest.approx(equal_error_rate(more, less))
    assert curve.best_accuracy() == pytest.approx(best_accuracy(more, less))


def test_open_set_weights_are_repetitions() -> None:
    rng = np.random.default_rng(0)
    ranks, scores, unmated = rng.integers(0, 30, 40), np.round(rng.random(40), 1), np.round(rng.random(25), 1)
    mated = MatedRanks(ranks, scores, ranks, ranks, scores)
    seen: list[WeightedCurve] = []
    open_set_intervals(
        mated, np.arange(40) // 4, unmated, np.arange(25) // 5, {"x": lambda c: seen.append(c) or 0.5}, resamples=20
    )
    whole, *draws = seen
    assert whole.rate_at(0.1) == tpir_at_fpir(mated, unmated, 0.1)
    assert whole.area_strictly_above() == pytest.approx(tpir_area(mated, unmated))
    assert {curve.total for curve in draws} == {40.0}, "people of four probes each"
    assert {curve.false[-1] for curve in draws} == {25.0}
    generator = np.random.default_rng(0)
    for curve in draws:
        m, u = drawn_people(generator, 10)[np.arange(40) // 4], drawn_people(generator, 5)[np.arange(25) // 5]
        again = MatedRanks(*(np.repeat(part, m) for part in (ranks, scores, ranks, ranks, scores)))
        assert curve.rate_at(0.3) == pytest.approx(tpir_at_fpir(again, np.repeat(unmated, u), 0.3))
        assert curve.area_strictly_above() == pytest.approx(tpir_area(again, np.repeat(unmated, u)))


def test_pairs_count_as_often_as_their_people() -> None:
    people = PairPeople.of(["a", "a", "c"], ["a", "b", "b"])
    assert people.weights(np.array([3, 2, 0])).tolist() == [3, 6, 0]
    assert people.of_rows([1]).count == 3


def test_perfect_figures_are_not_certain() -> None:
    one = PairPeople.of([str(n) for n in range(30)], [str(n) for n in range(30)])
    two = PairPeople(one.left, (one.left + 1) % 30, 30)
    found = verification_intervals(np.ones(30), np.zeros(30), (one, two), {"AUC": WeightedCurve.area})
    low, high = found["AUC"] or (0, 0)
    assert 0.85 < low < 0.9, "Wilson's, of 30 people"
    assert high == 1
    assert verification_intervals([], [0.1], (one.of_rows([]), two.of_rows([0])), {"AUC": WeightedCurve.area}) == {
        "AUC": None
    }


@pytest.mark.slow
def test_intervals_cover_the_truth_where_people_repeat() -> None:
    """Some people are easy, some hard: pairs are not independent, and counting them as such covers far less."""
    rng = np.random.default_rng(2)

    def world(people: int) -> tuple[np.ndarray, np.ndarray, PairPeople, PairPeople]:
        ease = rng.normal(1, 0.7, people)
        left = np.repeat(np.arange(people), 4)
        right = (left + rng.integers(1, people, len(left))) % people
        up, un = rng.normal(ease[left], 0.3), rng.normal(0, 0.7, len(left))
        return up, un, PairPeople(left, left, people), PairPeople(left, right, people)

    up, un, *_ = world(20_000)
    truth = {"AUC": auc(up, un), "TAR": tar_at_far(up, un, 0.1)}
    statistics = {"AUC": WeightedCurve.area, "TAR": lambda curve: curve.rate_at(0.1)}
    covered = dict.fromkeys(truth, 0)
    for _ in range(60):
        up, un, same, other = world(60)
        found = verification_intervals(up, un, (same, other), statistics, resamples=200)
        for name, interval in found.items():
            assert interval is not None
            covered[name] += interval[0] <= truth[name] <= interval[1]
    assert covered["AUC"] >= 52
    assert covered["TAR"] >= 52


def test_intervals_are_affordable_at_real_sizes() -> None:
    rng = np.random.default_rng(0)
    people = np.arange(5_320) % 2_000
    same = PairPeople(people, people, 2_000)
    other = PairPeople(people, (people + 7) % 2_000, 2_000)
    began = time.process_time()
    verification_intervals(
        rng.normal(1, 1, 5_320), rng.normal(0, 1, 5_320), (same, other), {"AUC": WeightedCurve.area}, resamples=100
    )
    assert time.process_time() - began < 2
