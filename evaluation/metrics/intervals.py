"""95 % intervals: Wilson's for independent trials, the bootstrap over people where people repeat."""

import numpy as np
from numpy.typing import ArrayLike

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
RESAMPLES = 1000
"""Draws of a bootstrap."""
Interval = tuple[float, float]
"""Low and high end."""


def wilson(share: float, n: int) -> Interval | None:
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


def percentiles(values: ArrayLike) -> Interval | None:
    """Return the 2.5 and 97.5 % points of resampled values; None where none is a number.

    >>> percentiles(range(101))
    (2.5, 97.5)
    """
    numbers = np.asarray(values, dtype=np.float64)
    numbers = numbers[np.isfinite(numbers)]
    if not numbers.size:
        return None
    low, high = np.quantile(numbers, [0.025, 0.975])
    return float(low), float(high)


def bootstrap_over_people(
    hits: ArrayLike, people: ArrayLike, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Return the 95 % percentile interval of a mean when people are drawn with replacement.

    A mean of exactly 0 or 1 is the same in every draw, which says nothing: the interval is then Wilson's with n
    the number of people.

    >>> low, high = bootstrap_over_people([1, 1, 0, 0], ["a", "a", "b", "b"])
    >>> low, high
    (0.0, 1.0)

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
    if (mean := float(values.mean())) in (0.0, 1.0):
        return wilson(mean, len(counts))
    generator = np.random.default_rng(seed)
    draws = (generator.multinomial(len(counts), np.full(len(counts), 1 / len(counts))) for _ in range(resamples))
    return percentiles([(drawn @ sums) / (drawn @ counts) for drawn in draws])
