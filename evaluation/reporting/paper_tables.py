"""Tables for a paper: LaTeX for the page, CSV in full precision for whoever plots or checks them."""

import csv
import io
import math
import re
from collections.abc import Iterable
from pathlib import Path

from evaluation.metrics.figures import Figure
from evaluation.reporting.differences import EXPLAINED, DifferenceTable, difference_table
from evaluation.reporting.results import Report
from evaluation.reporting.tables import FigureTable, figure_tables
from shards.writer import write_atomically

_SPECIAL = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "±": r"$\pm$"}
_SPECIAL |= {sign: f"\\{sign}" for sign in "&%$#_{}"}
FIGURE_COLUMNS = ("protocol", "faces", "incomplete", "figure", "n", "model", "value", "low", "high", "spread")
DIFFERENCE_COLUMNS = ("protocol", "figure", "model", "minus", "difference", "low", "high", "excludes_zero")


def write_paper_tables(folder: Path, report: Report) -> list[Path]:
    """Write figures.csv, differences.csv where models are compared, and a .tex file a protocol; return their paths.

    Raises:
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = {"figures.csv": figures_csv(report)}
    if report.compared:
        files["differences.csv"] = differences_csv(report)
    for number, table in enumerate(figure_tables(report)):
        differences = difference_table(report, table.protocol)
        name = re.sub(r"[^a-z0-9]+", "-", table.protocol.lower()).strip("-")
        # A blank line ends the paragraph, so that the second table stands below the first.
        files[f"{number:02d}-{name}.tex"] = "\n".join(latex(one) for one in (table, differences) if one)
    for name, text in files.items():
        write_atomically(folder / name, text.encode())
    return [folder / name for name in files]


def figures_csv(report: Report) -> str:
    """Return every figure of every model: one a line, shares 0..1 in full precision, empty where not measured."""
    lines = (
        (protocol, outcome.alignment.in_short, int(outcome.incomplete), *_cells(figure, model.label))
        for protocol, outcomes in report.outcomes.items()
        for model, outcome in zip(report.models, outcomes, strict=True)
        for figure in outcome.figures
    )
    return _csv(FIGURE_COLUMNS, lines)


def _cells(figure: Figure, model: str) -> tuple[object, ...]:
    low, high = figure.interval or (None, None)
    return figure.name, figure.n, model, *map(_exact, (figure.value, low, high, figure.spread))


def differences_csv(report: Report) -> str:
    """Return every difference between two models: one a line, shares in full precision, empty where not known."""
    lines = []
    for protocol in report.outcomes:
        table = difference_table(report, protocol)
        assert table is not None
        for place, (one, other) in enumerate(report.compared):
            for name, found in table.rows:
                if (difference := found[place]) is not None:
                    low, high = difference.interval or (None, None)
                    labels = report.models[one].label, report.models[other].label
                    cells = (*map(_exact, (difference.value, low, high)), int(difference.excludes_zero))
                    lines.append((protocol, name, *labels, *cells))
    return _csv(DIFFERENCE_COLUMNS, lines)


def _exact(value: float | None) -> str:
    """Write a number so that it reads back the same; nothing for None and NaN."""
    return "" if value is None or math.isnan(value) else repr(float(value))


def _csv(columns: Iterable[object], lines: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([columns, *lines])
    return text.getvalue()


def latex(table: FigureTable | DifferenceTable) -> str:
    r"""Return a tabular of booktabs (`\usepackage{booktabs}`), its title and units in comments above."""
    shown = isinstance(table, FigureTable)
    title = table.title if isinstance(table, FigureTable) else f"{table.protocol}, differences"
    units = "Per cent, 95 % intervals in brackets." if shown else EXPLAINED
    rows = [table.columns, *table.lines()]
    body = [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    lines = [
        *(f"% {line}" for line in (title, units)),
        r"\begin{tabular}{l" + "r" * (len(table.columns) - 1) + "}",
        r"\toprule",
        body[0],
        r"\midrule",
        *body[1:],
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    r"""Write text so that LaTeX shows it as it is; a minus before a digit becomes one.

    >>> escaped("TAR at FAR 1 %"), escaped("-0.50 (-1.0 to +0.1)"), escaped("a_b")
    ('TAR at FAR 1 \\%', '$-$0.50 ($-$1.0 to +0.1)', 'a\\_b')
    """
    plain = "".join(_SPECIAL.get(sign, sign) for sign in text)
    return re.sub(r"(?<![\w.])-(?=\d)", "$-$", plain)
