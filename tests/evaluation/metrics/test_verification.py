"""Verification metrics against scikit-learn, slow loops and cases worked by hand."""

import doctest
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from evaluation.lists import mat_lists
from evaluation.lists import text_lists as lists
from evaluation.metrics import identification, intervals, verification
from evaluation.metrics.verification import (
    LFW_THRESHOLDS,
    auc,
    best_accuracy,
    equal_error_rate,
    fold_accuracies,
    roc,
    tar_at_far,
    ten_fold_decisions,
    threshold_at_rate,
)
from evaluation.scoring import pairs
from pipeline.alignment import align
from pipeline.pixels import resample
from training.engine import optimizer

few_values = st.lists(st.integers(-5, 5).map(lambda k: k / 5), min_size=1, max_size=30)
any_values = st.lists(st.floats(-1, 1), min_size=1, max_size=40)
scores = st.one_of(few_values, any_values)


@pytest.mark.parametrize(
    "module", [verification, identification, intervals, lists, mat_lists, pairs, align, resample, optimizer]
)
def test_worked_examples(module: object) -> None:
    result = doctest.testmod(module, extraglobs={"np": np})  # type: ignore[arg-type]
    assert result.attempted > 0
    assert result.failed == 0


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(negatives=scores, hundredths=st.integers(0, 100))
def test_the_achieved_rate_never_exceeds_the_asked(negatives: list[float], hundredths: int) -> None:
    rate = hundredths / 100
    threshold = threshold_at_rate(negatives, rate)
    passed = sum(score > threshold for score in negatives)
    assert Fraction(passed, len(negatives)) <= Fraction(hundredths, 100)
    if rate < 1:
        assert threshold == sorted(negatives, reverse=True)[math.floor(Fraction(hundredths, 100) * len(negatives))]


@pytest.mark.parametrize(("n", "rate", "place"), [(10, 0.3, 3), (1000, 0.001, 1), (30, 0.1, 3), (5320, 0.001, 5)])
def test_the_place_is_counted_exactly(n: int, rate: float, place: int) -> None:
    """0.3 * 10 and 0.001 * 1000 are whole numbers, whatever floating point makes of them."""
    assert threshold_at_rate(np.arange(n), rate) == n - 1 - place


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(positives=scores, negatives=scores)
def test_auc_equals_scikit_learn(positives: list[float], negatives: list[float]) -> None:
    truth = [1] * len(positives) + [0] * len(negatives)
    expected = roc_auc_score(truth, positives + negatives)
    assert math.isclose(auc(positives, negatives), expected, abs_tol=1e-12)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(positives=scores, negatives=scores)
def test_roc_equals_scikit_learn(positives: list[float], negatives: list[float]) -> None:
    truth = [1] * len(positives) + [0] * len(negatives)
    far, tar = roc(positives, negatives)
    expected_far, expected_tar, _ = roc_curve(truth, positives + negatives, drop_intermediate=False)
    np.testing.assert_allclose(far, expected_far)
    np.testing.assert_allclose(tar, expected_tar)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(positives=scores, negatives=scores)
def test_best_accuracy_tries_every_threshold(positives: list[float], negatives: list[float]) -> None:
    tried = [sum(p >= t for p in positives) + sum(n < t for n in negatives) for t in [*positives, *negatives, math.inf]]
    assert math.isclose(best_accuracy(positives, negatives), max(tried) / len(positives + negatives))


def test_equal_error_rate_by_hand() -> None:
    assert equal_error_rate([1, 2, 3], [-1, -2]) == 0
    assert equal_error_rate([0.0], [1.0]) == 1
    assert equal_error_rate([0.5], [0.5]) == 0.5
    rng = np.random.default_rng(0)
    positives, negatives = rng.normal(1, 1, 20_000), rng.normal(-1, 1, 20_000)
    # Two unit normals two apart are equally wrong at Phi(-1).
    assert equal_error_rate(positives, negatives) == pytest.approx(0.1587, abs=0.005)


def slow_ten_folds(values: list[float], same: list[bool], folds: list[int]) -> list[float]:
    accuracies = []
    for fold in sorted(set(folds)):
        rows = range(len(values))
        best, chosen = -1, math.nan
        for threshold in LFW_THRESHOLDS:
            right = sum((values[i] > threshold) == same[i] for i in rows if folds[i] != fold)
            if right >= best:
                best, chosen = right, threshold
        mine = [i for i in rows if folds[i] == fold]
        accuracies.append(sum((values[i] > chosen) == same[i] for i in mine) / len(mine))
    return accuracies


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_ten_folds_equal_the_slow_loop(seed: int) -> None:
    rng = np.random.default_rng(seed)
    same = rng.random(36) < 0.5
    values = np.round(np.clip(rng.normal(0.2 * same, 0.2), -1, 1), 2 if seed % 2 else 9)
    folds = np.repeat(np.arange(3), 12)
    expected = slow_ten_folds(values.tolist(), same.tolist(), folds.tolist())
    np.testing.assert_allclose(fold_accuracies(ten_fold_decisions(values, same, folds), folds), expected)


def test_nothing_to_measure_is_nan_or_an_error() -> None:
    assert math.isnan(tar_at_far([], [1.0], 0.1))
    assert math.isnan(auc([1.0], []))
    assert math.isnan(equal_error_rate([], []))
    assert math.isnan(best_accuracy([], [0.0]))
    with pytest.raises(ValueError, match="at least one"):
        threshold_at_rate([], 0.1)
    with pytest.raises(ValueError, match="two"):
        ten_fold_decisions([0.1], [True], [0])


def test_a_rate_is_the_decimal_it_is_written_as() -> None:
    """As a float 0.29 of 100 is 28.999..."""
    scores = np.arange(100) / 100
    assert threshold_at_rate(scores, 0.29) == scores[::-1][29]
    assert tar_at_far(scores, scores, 0.29) == 0.29


def test_a_score_equal_to_the_threshold_does_not_pass() -> None:
    negatives = [0.5, 0.5, 0.1]
    assert tar_at_far([0.6, 0.5, 0.5, 0.2], negatives, 0.0) == 0.25
    assert tar_at_far([0.6, 0.5, 0.5, 0.2], negatives, 0.7) == 1.0
    # 0.8998 is the largest threshold that is right on the first fold, and that very number of the grid is a score.
    chosen = LFW_THRESHOLDS[9499]
    assert round(float(chosen), 4) == 0.8998
    decided = ten_fold_decisions([0.9, 0.1, chosen, chosen], [True, False, True, False], [0, 0, 1, 1])
    assert decided[2:].tolist() == [False, True]
