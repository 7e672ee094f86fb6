"""The sizes of pictures in their files, and figures by size, on which the performance of a method depends."""

from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from evaluation.metrics.figures import Curve, Figure
from evaluation.metrics.intervals import Interval
from evaluation.models.pictures import Picture

EDGES = (16, 24, 32)
"""Sides in pixels at which a band ends and the next one begins."""


def native_sides(pictures: Sequence[Picture]) -> NDArray[np.int64]:
    """Return the smaller side of each picture's file in pixels, from its header: (N,), 0 where it cannot be read."""
    return np.array([native_side(picture.path) for picture in pictures], dtype=np.int64)


def native_side(path: Path) -> int:
    """Return the smaller side of a picture file in pixels, from its header; 0 where it cannot be read."""
    try:
        with Image.open(path) as opened:
            return min(opened.size)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 0


def bands(sides: NDArray[np.int64], edges: Sequence[int] = EDGES) -> list[tuple[str, NDArray[np.int64]]]:
    """Return the bands of sides that hold something: their names and their rows; a side of 0 is in none.

    >>> [(name, rows.tolist()) for name, rows in bands(np.array([40, 16, 0, 7, 23]))]
    [('under 16 px', [3]), ('16 to 23 px', [1, 4]), ('32 px and more', [0])]
    """
    names = [
        f"under {edges[0]} px",
        *(f"{low} to {high - 1} px" for low, high in pairwise(edges)),
        f"{edges[-1]} px and more",
    ]
    number = np.where(sides > 0, np.searchsorted(edges, sides, side="right"), -1)
    found = [(name, np.flatnonzero(number == place)) for place, name in enumerate(names)]
    return [(name, rows) for name, rows in found if len(rows)]


def by_side(
    what: str,
    hits: NDArray[np.bool_],
    sides: NDArray[np.int64],
    interval: Callable[[NDArray[np.int64]], Interval | None],
    *,
    of: str = "smaller side",
    edges: Sequence[int] = EDGES,
) -> tuple[list[Figure], list[Curve]]:
    """Return the share of hits in each band of sides, and the line of the plot, with a point at each band's median.

    Args:
        what: is measured, such as "rank-1".
        hits: (N,).
        sides: (N,) in pixels, 0 where not known.
        interval: of the mean of some rows.
        of: whose side it is, in the figures' names.
        edges: sides in pixels at which a band ends and the next one begins.
    """
    found = bands(sides, edges)
    figures = [
        Figure(f"{what}, {of} {name}", float(hits[rows].mean()), len(rows), interval(rows)) for name, rows in found
    ]
    if len(found) < 2:
        return figures, []
    medians = np.array([np.median(sides[rows]) for _, rows in found])
    return figures, [Curve(what, "resolution", medians, np.array([figure.value for figure in figures]))]
