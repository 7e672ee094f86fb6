"""95 % intervals: Wilson's for independent trials, the bootstrap over people where people repeat."""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
_RESAMPLES = 1000


def wilson(share: float, n: int) -> tuple[float, float] | None:
    """Return Wilson's 95 % score interval of a share of n independent trials (Wilson, 1927).

    >>> low, high = wilson(0.5, 100)
    >>> round(low, 4), round(high, 4)
    (0.4038, 0.5962)

    Returns:
        None where n is 0 or the share is NaN.
    """
    if not n or not np.isfinite(share):
        return None
    centre = share + _Z**2 / (2 * n)
    half = _Z * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    scale = 1 + _Z**2 / n
    # The formula's exact limits are 0 and 1; rounding must not leave them.
    low, high = max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)
    return float(low), float(high)


def bootstrap_over_people(
    hits: ArrayLike, people: ArrayLike, *, seed: int = 0, resamples: int = _RESAMPLES
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of a mean when people are drawn with replacement.

    Args:
        hits: (N,) 0..1 per probe.
        people: (N,) the person of each probe; all probes of a person are drawn together.
        seed: of the draws, so that the interval is the same every time.
        resamples: number of draws.

    Returns:
        None without probes.
    """
    values = np.asarray(hits, dtype=np.float64)
    if not values.size:
        return None
    _, person = np.unique(np.asarray(people), return_inverse=True)
    sums, counts = np.bincount(person, weights=values), np.bincount(person)
    weights = _resampled_counts(len(counts), seed, resamples)
    low, high = np.quantile((weights @ sums) / (weights @ counts), [0.025, 0.975])
    return float(low), float(high)


def bootstrap_of(
    statistic: Callable[[NDArray[np.int64]], float], n: int, *, seed: int = 0, resamples: int = 200
) -> tuple[float, float] | None:
    """Return the 95 % percentile interval of any statistic of n independent things.

    Args:
        statistic: of the rows drawn, (n,) int64.
        n: number of things.
        seed: of the draws.
        resamples: number of draws.
    """
    if not n:
        return None
    generator = np.random.default_rng(seed)
    drawn = [statistic(generator.integers(0, n, n)) for _ in range(resamples)]
    finite = np.array([value for value in drawn if np.isfinite(value)])
    if not finite.size:
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _resampled_counts(people: int, seed: int, resamples: int) -> NDArray[np.int64]:
    """Return how often each person is drawn in each resample: (resamples, people)."""
    return np.random.default_rng(seed).multinomial(people, np.full(people, 1 / people), size=resamples)
