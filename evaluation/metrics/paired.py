"""The difference of a figure between two models, with the interval of a bootstrap that draws the same people for both.

Two models that were measured on the same pictures are wrong on much the same ones: the interval of their difference is
narrower than those of the two figures suggest. Every bootstrap here begins with the same seed, so that the draws of one
model's figure belong to those of the other's, one by one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation.metrics.figures import Figure
from evaluation.metrics.intervals import Interval, Resampled, percentiles


@dataclass(frozen=True)
class Difference:
    """One model's figure minus another's.

    Attributes:
        figure: its name.
        value: -1..1; NaN where one of them was not measured.
        interval: 95 %, of the same people drawn for both; None where they were not resampled alike.
    """

    figure: str
    value: float
    interval: Interval | None

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval holds no zero."""
        return self.interval is not None and not self.interval[0] <= 0 <= self.interval[1]


def difference_of(one: Figure, other: Figure) -> Difference:
    """Return `one` minus `other`, two models' figures of the same name.

    >>> a = Figure("rank-1", 0.75, 4, Resampled((0.5, 1.0), [0.5, 0.75, 1.0], "same"))
    >>> b = Figure("rank-1", 0.5, 4, Resampled((0.25, 0.75), [0.25, 0.5, 0.75], "same"))
    >>> difference_of(a, b)
    Difference(figure='rank-1', value=0.25, interval=(0.25, 0.25))
    """
    return Difference(one.name, one.value - other.value, _interval(one, other))


def differences_of(some: Sequence[Figure], others: Sequence[Figure]) -> tuple[Difference, ...]:
    """Return the differences of the figures that both have, in the order of the first."""
    by_name = {figure.name: figure for figure in others}
    return tuple(difference_of(figure, by_name[figure.name]) for figure in some if figure.name in by_name)


def _interval(one: Figure, other: Figure) -> Interval | None:
    a, b = one.interval, other.interval
    if not isinstance(a, Resampled) or not isinstance(b, Resampled):
        return None
    if not a.drawn or a.drawn != b.drawn or len(a.draws) != len(b.draws):
        return None
    if one.value in (0.0, 1.0) and other.value in (0.0, 1.0):
        return _of_sure_figures(one.value, a, other.value, b)
    return percentiles(a.draws - b.draws)


def _of_sure_figures(one: float, of_one: Interval, other: float, of_other: Interval) -> Interval:
    """Return the interval of two figures of which every draw is 0 or 1, from Wilson's of each (Newcombe, 1998)."""
    low = one - other - math.hypot(one - of_one[0], of_other[1] - other)
    high = one - other + math.hypot(of_one[1] - one, other - of_other[0])
    return max(-1.0, low), min(1.0, high)


def mean_of(one: Figure, other: Figure) -> Figure:
    """Return the mean of a figure measured in two ways, with the interval of the same people drawn for both."""
    a, b = one.interval, other.interval
    interval: Interval | None = None
    if isinstance(a, Resampled) and isinstance(b, Resampled) and a.drawn == b.drawn:
        draws = (a.draws + b.draws) / 2
        # Where every draw is the same, both are: as wide as the wider of them.
        ends = (min(a[0], b[0]), max(a[1], b[1])) if np.ptp(draws[np.isfinite(draws)]) == 0 else percentiles(draws)
        interval = Resampled(ends, draws, a.drawn) if ends else None
    spread = None if one.spread is None or other.spread is None else (one.spread + other.spread) / 2
    return Figure(one.name, (one.value + other.value) / 2, one.n, interval, spread, note=one.note if one.n else "")
