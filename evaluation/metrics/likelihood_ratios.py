"""How good log likelihood ratios are: Cllr and its minimum (Bruemmer and du Preez, 2006)."""

import numpy as np
from numpy.typing import ArrayLike, NDArray


def cllr(mated: ArrayLike, non_mated: ArrayLike) -> float:
    """Return the cost of log likelihood ratios: 0 is perfect, 1 that of a system that says nothing.

    The mean of log2(1 + 1 / LR) over mated and of log2(1 + LR) over non-mated trials, halved.

    >>> cllr([0.0], [0.0])
    1.0
    >>> round(cllr([np.log(9)], [-np.log(9)]), 6)
    0.152003

    Args:
        mated: (M,) natural log likelihood ratios of mated trials; infinite ones are allowed.
        non_mated: (N,) of non-mated trials.

    Returns:
        0 or more; NaN without mated or non-mated trials.
    """
    true, false = np.asarray(mated, dtype=np.float64), np.asarray(non_mated, dtype=np.float64)
    if not true.size or not false.size:
        return float("nan")
    # log(1 + exp(x)) without overflow.
    cost = np.logaddexp(0, -true).mean() + np.logaddexp(0, false).mean()
    return float(cost / (2 * np.log(2)))


def optimal_llrs(mated: ArrayLike, non_mated: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the log likelihood ratios that a perfect monotone calibration of scores gives, by pool adjacent violators.

    Equal scores get equal ratios. The ends are infinite where scores are separated.

    >>> [found.round(3).tolist() for found in optimal_llrs([1.0, 3.0], [0.0, 2.0])]
    [[0.0, inf], [-inf, 0.0]]

    Args:
        mated: (M,) scores, higher is more alike.
        non_mated: (N,).
    """
    from sklearn.isotonic import isotonic_regression

    true, false = np.asarray(mated, dtype=np.float64), np.asarray(non_mated, dtype=np.float64)
    levels, place = np.unique(np.concatenate([true, false]), return_inverse=True)
    hits = np.bincount(place[: true.size], minlength=len(levels)).astype(np.float64)
    counts = np.bincount(place, minlength=len(levels)).astype(np.float64)
    share = np.clip(isotonic_regression(hits / counts, sample_weight=counts), 0, 1)
    with np.errstate(divide="ignore"):
        llrs = np.log(share) - np.log1p(-share) - np.log(true.size / false.size)
    return llrs[place[: true.size]], llrs[place[true.size :]]


def min_cllr(mated: ArrayLike, non_mated: ArrayLike) -> float:
    """Return the least Cllr that a monotone calibration of scores can have.

    >>> min_cllr([1.0, 3.0], [0.0, 2.0])
    0.5

    Returns:
        0..1; NaN without mated or non-mated trials.
    """
    if not np.size(mated) or not np.size(non_mated):
        return float("nan")
    return cllr(*optimal_llrs(mated, non_mated))
