"""The report: results.json, report.md with its plots, and report.html, one page that needs nothing else."""

import base64
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from evaluation.figures import Outcome
from evaluation.plots import Plot, draw_plots
from evaluation.results import Report, write_results
from evaluation.tables import FigureTable, figure_tables, markdown
from shards.writer import write_atomically

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_MISSING_SHOWN = 50


def write_report(folder: Path, report: Report) -> Path:
    """Write results.json, report.md, the plots and report.html into a folder; return report.html's path.

    Raises:
        OSError: the folder cannot be written.
    """
    plots_folder = folder / "plots"
    plots_folder.mkdir(parents=True, exist_ok=True)
    tables, plots = figure_tables(report), draw_plots(report)
    write_results(folder / "results.json", report)
    for plot in plots:
        write_atomically(plots_folder / plot.name, plot.png)
    write_atomically(folder / "report.md", _markdown(report, tables, plots).encode())
    page = folder / "report.html"
    write_atomically(page, _html(report, tables, plots).encode())
    return page


def _outcomes(report: Report) -> list[tuple[str, Outcome]]:
    return [
        (model.label, outcome)
        for outcomes in report.outcomes.values()
        for model, outcome in zip(report.models, outcomes, strict=True)
    ]


def _notes(report: Report, protocol: str) -> list[str]:
    """Return the notes of a protocol, of its figures and of what is missing, each once."""
    notes: list[str] = []
    for _, outcome in _outcomes(report):
        if outcome.protocol != protocol:
            continue
        notes += outcome.notes
        notes += [f"{figure.name}: {figure.note}." for figure in outcome.figures if figure.note]
        notes.append("; ".join(f"{name}: {count:,}" for name, count in outcome.counts.items()) + ".")
        for picture, reason in outcome.missing[:_MOST_MISSING_SHOWN]:
            notes.append(f"Not used: {picture} ({reason}).")
        if (more := len(outcome.missing) - _MOST_MISSING_SHOWN) > 0:
            notes.append(f"Not used: {more:,} more pictures, all named in results.json.")
    return [note for note in dict.fromkeys(notes) if note != "."]


def _markdown(report: Report, tables: list[FigureTable], plots: list[Plot]) -> str:
    parts = ["# Evaluation", "Figures in per cent."]
    for model in report.models:
        about = f"`{model.file}`, {model.backbone}, recipe {model.recipe or 'unknown'}, SHA-256 `{model.sha256[:16]}`"
        form = model.preprocessing
        parts.append(f"**{model.label}**: {about}; template {form.template}, {form.size} x {form.size} pixels.")
    for table, protocol in zip(tables, report.outcomes, strict=True):
        parts += [f"## {table.protocol}", markdown(table)]
        parts += [f"![{plot.title}](plots/{plot.name})" for plot in plots if plot.title.startswith(f"{protocol}:")]
        parts += [f"- {note}" for note in _notes(report, protocol)]
    if report.skipped:
        parts.append("## Skipped")
        parts += [f"- {protocol}: no data given ({option})." for protocol, option in report.skipped.items()]
    return "\n\n".join(parts) + "\n"


def _html(report: Report, tables: list[FigureTable], plots: list[Plot]) -> str:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    sections = [
        {
            "table": table,
            "plots": [
                {"title": plot.title, "data": base64.b64encode(plot.png).decode()}
                for plot in plots
                if plot.title.startswith(f"{protocol}:")
            ],
            "notes": _notes(report, protocol),
        }
        for table, protocol in zip(tables, report.outcomes, strict=True)
    ]
    return environment.get_template("report.html").render(report=report, sections=sections)
