"""Tables of differences: what one model's figures are above another's, on the same people."""

import math
from dataclasses import dataclass

from evaluation.metrics.paired import Difference, differences_of
from evaluation.reporting.results import Report

MARK = "*"
EXPLAINED = (
    "Differences in points, 95 % intervals of the same people drawn for both models; "
    f"{MARK} marks an interval without zero."
)


@dataclass(frozen=True)
class DifferenceTable:
    """The differences of a protocol.

    Attributes:
        protocol: name.
        columns: headings of `lines`: the figure, then "one - other".
        rows: name of a figure and its difference in each pair of models, None where one of them has no such figure.
    """

    protocol: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Difference | None, ...]], ...]

    def lines(self) -> list[tuple[str, ...]]:
        """Return the rows as text, as many cells as columns."""
        return [(name, *map(told, found)) for name, found in self.rows]


def difference_table(report: Report, protocol: str) -> DifferenceTable | None:
    """Lay out what the models of a report differ by in a protocol; None where no two are compared."""
    outcomes, labels = report.outcomes[protocol], [model.label for model in report.models]
    if not report.compared:
        return None
    found = [
        {one.figure: one for one in differences_of(outcomes[a].figures, outcomes[b].figures)}
        for a, b in report.compared
    ]
    names = dict.fromkeys(name for of_pair in found for name in of_pair)
    columns = ("figure", *(f"{labels[a]} - {labels[b]}" for a, b in report.compared))
    rows = tuple((name, tuple(of_pair.get(name) for of_pair in found)) for name in names)
    return DifferenceTable(protocol, columns, rows)


def told(difference: Difference | None) -> str:
    """Write a difference in points with its interval, marked where that excludes zero.

    >>> told(Difference("rank-1", 0.125, (0.01, 0.2))), told(Difference("rank-1", -0.5, None))
    ('+12.50 (+1.0 to +20.0) *', '-50.00')
    """
    if difference is None or math.isnan(difference.value):
        return ""
    parts = [f"{100 * difference.value:+.2f}"]
    if difference.interval:
        parts.append(f"({100 * difference.interval[0]:+.1f} to {100 * difference.interval[1]:+.1f})")
    return " ".join([*parts, *([MARK] if difference.excludes_zero else [])])
