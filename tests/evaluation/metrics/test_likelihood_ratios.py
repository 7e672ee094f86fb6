"""Cllr and its minimum against slow loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.metrics.likelihood_ratios import cllr, min_cllr, optimal_llrs

SCORES = st.lists(st.integers(-4, 4).map(float), min_size=1, max_size=12)


def slow_cllr(mated: list[float], non_mated: list[float]) -> float:
    def log2_of_one_plus_exp(x: float) -> float:
        return 0.0 if x == -math.inf else math.inf if x == math.inf else math.log2(1 + math.exp(x))

    true = sum(log2_of_one_plus_exp(-llr) for llr in mated) / len(mated)
    false = sum(log2_of_one_plus_exp(llr) for llr in non_mated) / len(non_mated)
    return (true + false) / 2


def slow_optimal(mated: list[float], non_mated: list[float]) -> dict[float, float]:
    """Pool adjacent violators, one block at a time: score -> log likelihood ratio."""
    blocks = [[[level], mated.count(level), non_mated.count(level)] for level in sorted({*mated, *non_mated})]
    at = 0
    while at + 1 < len(blocks):
        (_, hits, misses), (_, more_hits, more_misses) = blocks[at], blocks[at + 1]
        if hits * (more_hits + more_misses) >= more_hits * (hits + misses):
            levels = blocks[at][0] + blocks[at + 1][0]
            blocks[at : at + 2] = [[levels, hits + more_hits, misses + more_misses]]
            at = max(at - 1, 0)
        else:
            at += 1
    prior = math.log(len(mated) / len(non_mated))
    found = {}
    for levels, hits, misses in blocks:
        llr = math.inf if not misses else -math.inf if not hits else math.log(hits / misses) - prior
        found.update(dict.fromkeys(levels, llr))
    return found


@pytest.mark.slow
@given(mated=SCORES, non_mated=SCORES)
def test_cllr_is_that_of_a_slow_loop(mated: list[float], non_mated: list[float]) -> None:
    assert cllr(mated, non_mated) == pytest.approx(slow_cllr(mated, non_mated))


@pytest.mark.slow
@given(mated=SCORES, non_mated=SCORES)
def test_the_least_cllr_is_that_of_pooling_by_hand(mated: list[float], non_mated: list[float]) -> None:
    by_hand = slow_optimal(mated, non_mated)
    expected = [by_hand[score] for score in mated], [by_hand[score] for score in non_mated]
    for found, llrs in zip(optimal_llrs(mated, non_mated), expected, strict=True):
        np.testing.assert_allclose(found, llrs, atol=1e-9)
    assert min_cllr(mated, non_mated) == pytest.approx(slow_cllr(*expected), abs=1e-9)
    # No monotone map of the scores does better, such as the scores themselves.
    assert min_cllr(mated, non_mated) <= min(1.0, cllr(mated, non_mated)) + 1e-9


def test_huge_ratios_do_not_overflow_and_nothing_gives_nothing() -> None:
    assert cllr([1e6, math.inf], [-1e6, -math.inf]) == 0
    assert cllr([-math.inf], [0.0]) == math.inf
    assert math.isnan(cllr([], [1.0])) and math.isnan(min_cllr([1.0], []))
