"""Tables of figures: the same rows for the terminal, report.md and report.html."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table

from evaluation.metrics.figures import Figure
from evaluation.reporting.best_known import Best, best_known
from evaluation.reporting.differences import EXPLAINED, DifferenceTable, difference_table
from evaluation.reporting.results import Report

PUBLISHED_COLUMNS = ("paper", "authors' rerun", "best known")


@dataclass(frozen=True)
class Row:
    """One figure of every model.

    Attributes:
        name: of the figure.
        figures: one a model, None where a model has no such figure.
        best: best published value, or None.
        opens_group: whether the rows before it measure something else.
    """

    name: str
    figures: tuple[Figure | None, ...]
    best: Best | None
    opens_group: bool

    @property
    def n(self) -> str:
        """Pairs or probes behind the figure; several numbers where models differ."""
        return " / ".join(dict.fromkeys(f"{figure.n:,}" for figure in self.figures if figure))

    @property
    def published(self) -> tuple[str, str, str]:
        """Cells of `PUBLISHED_COLUMNS`."""
        known = next(figure for figure in self.figures if figure)
        return percent(known.paper), percent(known.rerun), percent(self.best.value if self.best else None)


@dataclass(frozen=True)
class FigureTable:
    """A protocol's figures.

    Attributes:
        protocol: name.
        faces: how they were aligned, in short.
        incomplete: whether figures of some model rest on less than the whole protocol.
        models: labels.
        published: those of `PUBLISHED_COLUMNS` that have an entry.
        rows: one a figure.
    """

    protocol: str
    faces: str
    incomplete: bool
    models: tuple[str, ...]
    published: tuple[str, ...]
    rows: tuple[Row, ...]

    @property
    def title(self) -> str:
        """Name and how faces were aligned, marked where figures are incomplete."""
        return f"{self.protocol}, {self.faces}{' (incomplete)' if self.incomplete else ''}"

    @property
    def columns(self) -> tuple[str, ...]:
        """Headings of `lines`."""
        return ("figure", "n", *self.models, *self.published)

    @property
    def sources(self) -> tuple[str, ...]:
        """Methods that reached the best known figures."""
        return tuple(dict.fromkeys(row.best.source for row in self.rows if row.best))

    def published_cells(self, row: Row) -> tuple[str, ...]:
        """A row's cells below `published`."""
        cells = dict(zip(PUBLISHED_COLUMNS, row.published, strict=True))
        return tuple(cells[column] for column in self.published)

    def lines(self) -> list[tuple[str, ...]]:
        """Return the rows as text, as many cells as columns; a model's cell holds value, spread and interval."""
        return [
            (row.name, row.n, *(cell(figure) for figure in row.figures), *self.published_cells(row))
            for row in self.rows
        ]


def figure_tables(report: Report) -> list[FigureTable]:
    """Lay out every protocol: one row a figure, one column a model, and what is published beside them."""
    labels = tuple(model.label for model in report.models)
    tables = []
    for protocol, outcomes in report.outcomes.items():
        by_model = [{figure.name: figure for figure in outcome.figures} for outcome in outcomes]
        # Models of other sizes may have figures of their own.
        names = list(dict.fromkeys(name for figures in by_model for name in figures))
        rows = tuple(
            Row(
                name,
                tuple(figures.get(name) for figures in by_model),
                best_known(protocol, name, outcomes[0]),
                opens_group=number > 0 and _group(name) != _group(names[number - 1]),
            )
            for number, name in enumerate(names)
        )
        published = tuple(
            column for place, column in enumerate(PUBLISHED_COLUMNS) if any(row.published[place] for row in rows)
        )
        incomplete = any(outcome.incomplete for outcome in outcomes)
        tables.append(FigureTable(protocol, outcomes[0].alignment.in_short, incomplete, labels, published, rows))
    return tables


def _group(name: str) -> str:
    """Return whom a figure is about: "8 px: rank-1" and "8 px: AUC" belong together, and so do a distance's cameras."""
    return re.split("[:,]", name)[0] if ":" in name else ""


def percent(share: float | None) -> str:
    """Write a share as per cent with two decimals; nothing for None, "not measured" for NaN."""
    if share is None:
        return ""
    return "not measured" if math.isnan(share) else f"{100 * share:.2f}"


def spread(figure: Figure) -> str:
    """Write the standard deviation over folds in per cent, or nothing."""
    return f"± {100 * figure.spread:.2f}" if figure.spread is not None else ""


def interval(figure: Figure) -> str:
    """Write the 95 % interval in per cent, or nothing."""
    return f"{100 * figure.interval[0]:.1f} to {100 * figure.interval[1]:.1f}" if figure.interval else ""


def cell(figure: Figure | None) -> str:
    """Write value, spread and interval of a figure."""
    if figure is None:
        return ""
    bounds = interval(figure)
    return " ".join(part for part in (percent(figure.value), spread(figure), f"({bounds})" if bounds else "") if part)


def markdown(table: FigureTable | DifferenceTable) -> str:
    """Return a table in Markdown."""
    lines = [table.columns, ("---", *["---:"] * (len(table.columns) - 1)), *table.lines()]
    return "\n".join(f"| {' | '.join(text.replace('|', '/') for text in line)} |" for line in lines)


def _drawn(table: FigureTable | DifferenceTable) -> Table:
    """Return a table for the terminal."""
    shown = Table()
    for number, column in enumerate(table.columns):
        # Two lines of heading keep a table of two models within 120 columns.
        heading = column.replace(" ", "\n") if column in PUBLISHED_COLUMNS else column
        shown.add_column(heading, justify="left" if number == 0 else "right", overflow="fold")
    for line in table.lines():
        shown.add_row(*line)
    return shown


def print_tables(report: Report, tables: Iterable[FigureTable], console: Console) -> None:
    """Print the tables with the protocols' notes, and what was skipped; shares are in per cent."""
    plain: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
    for table in tables:
        console.print(f"\n{table.title}; per cent, 95 % interval in brackets", **plain)
        console.print(_drawn(table))
        if differences := difference_table(report, table.protocol):
            console.print(EXPLAINED, **plain)
            console.print(_drawn(differences))
        if table.sources:
            console.print(f"Best known: {'; '.join(table.sources)}.", **plain)
        outcomes = report.outcomes[table.protocol]
        console.print(outcomes[0].alignment.sentence, **plain)
        for note in dict.fromkeys(note for outcome in outcomes for note in outcome.notes):
            console.print(note, **plain)
        if unused := len({name for outcome in outcomes for name, _ in outcome.missing}):
            console.print(f"{unused:,} pictures could not be used; the report names them.", **plain)
    for protocol, option in report.skipped.items():
        console.print(f"{protocol}: skipped, no data; give it with {option}", **plain)
