"""Verification metrics: pure functions of scores. A higher score means more alike."""

from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

FloatArray = NDArray[np.float64]
LFW_THRESHOLDS = np.linspace(-1, 1, 10_001)
DISTANCE_THRESHOLDS = np.arange(0, 4, 0.01)


def threshold_at_rate(negatives: ArrayLike, rate: float) -> float:
    """Return the threshold that at most a share `rate` of the negative scores is strictly above.

    With N negative scores sorted downwards it is the score at place floor(rate N), counted from 0. The rate
    is taken as the decimal it is written as, so that 0.3 of 10 scores is 3. At rate 1 there is no such
    place, every score passes and the threshold is -inf.

    >>> threshold_at_rate([0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0], 0.3)
    0.6

    Args:
        negatives: (N,) scores, N at least 1.
        rate: 0..1.

    Raises:
        ValueError: no scores.
    """
    downwards = -np.sort(-np.asarray(negatives, dtype=np.float64))
    if not downwards.size:
        raise ValueError("a threshold needs at least one negative score")
    place = int(Fraction(str(rate)) * downwards.size)
    return float(downwards[place]) if place < downwards.size else -np.inf


def tar_at_far(positives: ArrayLike, negatives: ArrayLike, far: float) -> float:
    """Return the true accept rate at a false accept rate, exactly.

    The share of positive scores strictly above `threshold_at_rate`; the achieved FAR never exceeds `far`.

    >>> tar_at_far([0.95, 0.65, 0.61, 0.2], [0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1, 0.0], 0.3)
    0.75

    Args:
        positives: (P,) scores of pairs of one person.
        negatives: (N,) scores of pairs of two people.
        far: 0..1.

    Returns:
        0..1; NaN where there are no positives or no negatives.
    """
    scores = np.asarray(positives, dtype=np.float64)
    if not scores.size or not np.size(negatives):
        return float("nan")
    return float((scores > threshold_at_rate(negatives, far)).mean())


def roc(positives: ArrayLike, negatives: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return the ROC curve: FAR and TAR of "score at least t" for every t that occurs, from (0, 0) to (1, 1).

    >>> far, tar = roc([0.9, 0.4], [0.6, 0.1])
    >>> far.tolist(), tar.tolist()
    ([0.0, 0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 0.5, 1.0, 1.0])
    """
    up = np.sort(np.asarray(positives, dtype=np.float64))
    un = np.sort(np.asarray(negatives, dtype=np.float64))
    thresholds = np.unique(np.concatenate([up, un]))[::-1]
    tar = (up.size - np.searchsorted(up, thresholds, side="left")) / up.size
    far = (un.size - np.searchsorted(un, thresholds, side="left")) / un.size
    return np.concatenate([[0.0], far]), np.concatenate([[0.0], tar])


def auc(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Return the area under the ROC curve: the chance that a positive outscores a negative, ties half.

    Mann and Whitney's U over P N.

    >>> auc([0.9, 0.5], [0.5, 0.1])
    0.875

    Returns:
        0..1; NaN where there are no positives or no negatives.
    """
    up = np.asarray(positives, dtype=np.float64)
    un = np.sort(np.asarray(negatives, dtype=np.float64))
    if not up.size or not un.size:
        return float("nan")
    below = np.searchsorted(un, up, side="left")
    not_above = np.searchsorted(un, up, side="right")
    # Whole numbers, halves counted as one of two: exact however many pairs there are.
    return int((below + not_above).sum()) / (2 * up.size * un.size)


def equal_error_rate(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Return the rate at which false accepts and false rejects are equal.

    Where no threshold makes them equal, the ROC curve is taken as straight between the two thresholds at
    which their order changes.

    >>> equal_error_rate([0.9, 0.8, 0.7, 0.3], [0.6, 0.4, 0.2, 0.1])
    0.25
    """
    if not np.size(positives) or not np.size(negatives):
        return float("nan")
    return crossing(*roc(positives, negatives))


def crossing(far: FloatArray, tar: FloatArray) -> float:
    """Return the rate at which a ROC, straight between its points from (0, 0) to (1, 1), has FAR = 1 - TAR.

    >>> crossing(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.5, 1.0]))
    0.3333333333333333
    """
    gap = far - (1 - tar)
    after = int(np.argmax(gap >= 0))
    if gap[after] == 0:
        return float(far[after])
    share = -gap[after - 1] / (gap[after] - gap[after - 1])
    return float(far[after - 1] + share * (far[after] - far[after - 1]))


def best_accuracy(positives: ArrayLike, negatives: ArrayLike) -> float:
    """Return the highest share of correct decisions over all thresholds, both kinds of pairs counted alike.

    >>> best_accuracy([0.9, 0.8, 0.3], [0.5, 0.2, 0.1])
    0.8333333333333334
    """
    up, un = np.size(positives), np.size(negatives)
    if not up or not un:
        return float("nan")
    far, tar = roc(positives, negatives)
    return float((np.rint(tar * up) + un - np.rint(far * un)).max() / (up + un))


def best_decisions(scores: ArrayLike, same: ArrayLike) -> NDArray[np.bool_]:
    """Return which pairs are decided rightly at the one threshold of `best_accuracy`, of equals the largest: (N,).

    >>> best_decisions([0.9, 0.8, 0.3, 0.5, 0.2, 0.1], [True, True, True, False, False, False]).tolist()
    [True, True, False, True, True, True]
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    # At least the threshold accepts: above the largest nothing, then one more distinct score at a time.
    thresholds = np.concatenate([[np.inf], np.unique(values)[::-1]])
    up, un = np.sort(values[truth]), np.sort(values[~truth])
    right = (up.size - np.searchsorted(up, thresholds, side="left")) + np.searchsorted(un, thresholds, side="left")
    return np.asarray((values >= thresholds[right.argmax()]) == truth)


def ten_fold_decisions(scores: ArrayLike, same: ArrayLike, folds: ArrayLike) -> NDArray[np.bool_]:
    """Return which pairs are decided rightly at the threshold that does best on the folds other than theirs.

    LFW's protocol for unrestricted training data (Huang et al., 2007) with the published method's grid:
    among equally good thresholds of 10,001 from -1 to 1 the largest is taken; a pair is accepted when its
    score is strictly above.

    >>> ten_fold_decisions([0.9, 0.1, 0.8, 0.2], [True, False, True, False], [0, 0, 1, 1]).tolist()
    [True, True, False, True]

    On the second fold 0.8 fails: 0.8998, the largest threshold that is right on the first fold, is applied.

    Args:
        scores: (N,).
        same: (N,) bool, pairs of one person.
        folds: (N,) fold of each pair.

    Returns:
        (N,).

    Raises:
        ValueError: fewer than two folds.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    numbers, fold = np.unique(np.asarray(folds), return_inverse=True)
    if len(numbers) < 2:
        raise ValueError(f"{len(numbers)} fold; a threshold is chosen on the other folds, so there must be two")
    right = np.stack([_right_decisions(values[fold == f], truth[fold == f]) for f in range(len(numbers))])
    elsewhere = right.sum(axis=0) - right
    # The last of the best is the largest threshold among equals.
    chosen = LFW_THRESHOLDS.size - 1 - np.argmax(elsewhere[:, ::-1], axis=1)
    return np.asarray((values > LFW_THRESHOLDS[chosen][fold]) == truth)


def folds_in_order(count: int, folds: int = 10) -> NDArray[np.int64]:
    """Return the fold of each of some pairs: as many in each, in order, the first ones taking one more of a rest.

    >>> folds_in_order(7, 3).tolist()
    [0, 0, 0, 1, 1, 2, 2]
    """
    sizes = np.full(folds, count // folds)
    sizes[: count % folds] += 1
    return np.repeat(np.arange(folds), sizes)


def distance_decisions(distances: ArrayLike, same: ArrayLike, folds: ArrayLike) -> NDArray[np.bool_]:
    """Return which pairs are decided rightly at the distance that does best on the folds other than theirs.

    As arcface_torch's verification does it: of the thresholds 0, 0.01, ..., 3.99 on the squared distance of normalised
    embeddings the smallest among equals; a pair is accepted when its distance is strictly below.

    >>> distance_decisions([0.1, 3.0, 0.5, 2.0], [True, False, True, False], [0, 0, 1, 1]).tolist()
    [True, True, False, True]

    On the second fold 0.5 fails: 0.11, the smallest threshold that is right on the first fold, is applied.

    Args:
        distances: (N,) squared Euclidean.
        same: (N,) bool, pairs of one person.
        folds: (N,) fold of each pair.

    Raises:
        ValueError: fewer than two folds.
    """
    values, truth = np.asarray(distances, dtype=np.float64), np.asarray(same, dtype=bool)
    numbers, fold = np.unique(np.asarray(folds), return_inverse=True)
    if len(numbers) < 2:
        raise ValueError(f"{len(numbers)} fold; a threshold is chosen on the other folds, so there must be two")
    right = np.stack([_right_below(values[fold == f], truth[fold == f]) for f in range(len(numbers))])
    chosen = np.argmax(right.sum(axis=0) - right, axis=1)
    return np.asarray((values < DISTANCE_THRESHOLDS[chosen][fold]) == truth)


def fold_accuracies(right: ArrayLike, folds: ArrayLike) -> FloatArray:
    """Return the share of correct decisions in each fold, in order of the folds' numbers: (N,), (N,) -> (folds,).

    >>> fold_accuracies([True, True, False, True], [0, 0, 1, 1]).tolist()
    [1.0, 0.5]
    """
    _, fold = np.unique(np.asarray(folds), return_inverse=True)
    return np.bincount(fold, weights=np.asarray(right)) / np.bincount(fold)


def _right_decisions(scores: FloatArray, same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the correct decisions at every threshold of LFW's grid: (T,)."""
    accepted_same = (same.sum() - np.searchsorted(np.sort(scores[same]), LFW_THRESHOLDS, side="right")).astype(np.int64)
    rejected_other = np.searchsorted(np.sort(scores[~same]), LFW_THRESHOLDS, side="right").astype(np.int64)
    return accepted_same + rejected_other


def _right_below(distances: FloatArray, same: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Count the correct decisions at every threshold of arcface_torch's grid: (T,)."""
    below_same, below_other = (
        np.searchsorted(np.sort(distances[kind]), DISTANCE_THRESHOLDS, side="left") for kind in (same, ~same)
    )
    return np.asarray(below_same - below_other + (~same).sum(), dtype=np.int64)
