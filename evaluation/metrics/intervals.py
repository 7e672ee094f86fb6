"""95 % intervals: Wilson's for independent trials, the bootstrap over people where people repeat."""

import hashlib
from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

_Z = 1.959963984540054  # the 97.5 % point of the normal distribution
RESAMPLES = 1000
"""Draws of a bootstrap."""
Interval = tuple[float, float]
"""Low and high end."""


class Resampled(tuple[float, float]):
    """The ends of an interval, with the draws of a bootstrap behind them.

    The difference of two figures that were resampled alike has an interval of its own: both saw the same people in
    every draw (`paired.difference_of`).

    Attributes:
        draws: (R,) the figure in each draw; NaN in a draw that says nothing.
        drawn: fingerprint of what was resampled, and of who was drawn first; "" where unknown.
    """

    draws: NDArray[np.float64]
    drawn: str

    def __new__(cls, ends: Iterable[float], draws: ArrayLike = (), drawn: str = "") -> "Resampled":
        """Keep low and high end, and what they rest on."""
        made = super().__new__(cls, ends)
        made.draws, made.drawn = np.asarray(draws, dtype=np.float64), drawn
        return made


def with_draws(interval: Interval | None, draws: ArrayLike, drawn: str) -> Interval | None:
    """Return an interval with the draws behind it; None stays."""
    return None if interval is None else Resampled(interval, draws, drawn)


def fingerprint(*arrays: ArrayLike) -> str:
    """Return 16 hexadecimal digits that two lists of arrays share only where they are the same.

    >>> fingerprint([1, 2]) == fingerprint(np.array([1, 2])), fingerprint([1, 2]) == fingerprint([1], [2])
    (True, False)
    """
    digest = hashlib.sha256()
    for array in map(np.asarray, arrays):
        digest.update(f"{array.dtype.str} {array.shape} ".encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


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
    even = np.full(len(counts), 1 / len(counts))
    drawn = fingerprint(person, np.random.default_rng(seed).multinomial(len(counts), even))
    if (mean := float(values.mean())) in (0.0, 1.0):
        return with_draws(wilson(mean, len(counts)), np.full(resamples, mean), drawn)
    generator = np.random.default_rng(seed)
    draws = (generator.multinomial(len(counts), even) for _ in range(resamples))
    shares = [(of_people @ sums) / (of_people @ counts) for of_people in draws]
    return with_draws(percentiles(shares), shares, drawn)
