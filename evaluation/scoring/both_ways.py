"""Pairs of two pictures in full where another model embeds the gallery: neither is the gallery, so both ways count."""

from collections.abc import Sequence

from evaluation.metrics.figures import Figure
from evaluation.metrics.paired import mean_of

NOTE = (
    "Where both pictures of a pair are in full, neither is the gallery's: figures are the mean of the two ways, the "
    "first picture embedded by the gallery's model and the second one; each way stands below."
)


def both_ways(first: Sequence[Figure], second: Sequence[Figure]) -> list[Figure]:
    """Return the mean of every figure under its own name, then the figures of each way.

    >>> [figure.name for figure in both_ways([Figure("AUC", 1.0, 2)], [Figure("AUC", 0.5, 2)])]
    ['AUC', 'first of the gallery: AUC', 'second of the gallery: AUC']

    Args:
        first: with the first picture by the gallery's model, the second one by the probes'.
        second: the other way round, of the same pairs.
    """
    ways = {"first": first, "second": second}
    by_name = {figure.name: figure for figure in second}
    return [
        *(mean_of(figure, by_name[figure.name]) for figure in first if figure.name in by_name),
        *(_renamed(figure, f"{which} of the gallery: {figure.name}") for which, way in ways.items() for figure in way),
    ]


def _renamed(figure: Figure, name: str) -> Figure:
    return Figure(name, figure.value, figure.n, figure.interval, figure.spread, threshold=figure.threshold)
