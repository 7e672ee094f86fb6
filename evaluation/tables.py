"""Tables of figures: the same rows for the terminal, report.md and report.html."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from evaluation.figures import Figure
from evaluation.results import Report


@dataclass(frozen=True)
class FigureTable:
    """A protocol's figures, one row each; every cell is text.

    Attributes:
        protocol: name, marked where figures are incomplete.
        columns: headings.
        rows: as many cells as columns.
    """

    protocol: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def figure_tables(report: Report) -> list[FigureTable]:
    """Lay out every protocol: a model's cell holds value, spread over folds and 95 % interval."""
    tables = []
    for protocol, outcomes in report.outcomes.items():
        by_model = [{figure.name: figure for figure in outcome.figures} for outcome in outcomes]
        # Models of other sizes may have figures of their own.
        names = list(dict.fromkeys(name for figures in by_model for name in figures))
        published = any(f.paper is not None for figures in by_model for f in figures.values())
        columns = ["figure", "n"]
        columns += [model.label for model in report.models]
        columns += ["paper", "authors' rerun"] if published else []
        rows = [_row(name, [figures.get(name) for figures in by_model], published) for name in names]
        incomplete = " (incomplete)" if any(outcome.incomplete for outcome in outcomes) else ""
        tables.append(FigureTable(protocol + incomplete, tuple(columns), tuple(rows)))
    return tables


def _row(name: str, figures: list[Figure | None], published: bool) -> tuple[str, ...]:
    known = [figure for figure in figures if figure is not None]
    cells = [name, " / ".join(dict.fromkeys(f"{figure.n:,}" for figure in known))]
    for figure in figures:
        cells.append(percent(figure.value) + _spread(figure) + _interval(figure) if figure else "")
    if published:
        cells += [percent(known[0].paper), percent(known[0].rerun)]
    return tuple(cells)


def percent(share: float | None) -> str:
    """Write a share as per cent with two decimals; nothing for None, "not measured" for NaN."""
    if share is None:
        return ""
    return "not measured" if math.isnan(share) else f"{100 * share:.2f}"


def _spread(figure: Figure) -> str:
    return f" ± {100 * figure.spread:.2f}" if figure.spread is not None else ""


def _interval(figure: Figure) -> str:
    return f" ({100 * figure.interval[0]:.1f} to {100 * figure.interval[1]:.1f})" if figure.interval else ""


def markdown(table: FigureTable) -> str:
    """Return a table in Markdown."""
    lines = [table.columns, ["---", *["---:"] * (len(table.columns) - 1)], *table.rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def print_tables(tables: Iterable[FigureTable], skipped: dict[str, str], console: Console) -> None:
    """Print the tables and what was skipped; shares are in per cent."""
    for table in tables:
        console.print(f"\n{table.protocol}; per cent, 95 % interval in brackets", highlight=False)
        shown = Table()
        for number, column in enumerate(table.columns):
            shown.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
    for protocol, option in skipped.items():
        console.print(f"{protocol}: skipped, no data; give it with {option}")
