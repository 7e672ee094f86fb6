"""The report: results.json, report.md with plots and tables for papers, and report.html, a page that needs no other."""

import base64
from itertools import groupby
from pathlib import Path
from typing import Any

from evaluation.metrics.figures import Mistake, Outcome
from evaluation.reporting.differences import EXPLAINED, difference_table, told
from evaluation.reporting.draws import draws_of, write_draws
from evaluation.reporting.paper_tables import write_paper_tables
from evaluation.reporting.plots import Plot, draw_plots
from evaluation.reporting.results import Model, Report, write_results
from evaluation.reporting.tables import FigureTable, figure_tables, interval, markdown, percent, spread
from shards.writer import write_atomically
from training.monitoring.page_templates import page_environment
from training.monitoring.plot_style import COLOURS
from training.peers.terms import terms_of_weights

_TEMPLATES = Path(__file__).parent / "templates"
_MOST_MISSING_IN_TEXT = 50
_MOST_MISSING_ON_PAGE = 2_000


def write_report(folder: Path, report: Report) -> Path:
    """Write results.json, report.md, plots, tables and report.html into a folder; return report.html's path.

    Raises:
        OSError: the folder cannot be written.
    """
    plots_folder = folder / "plots"
    plots_folder.mkdir(parents=True, exist_ok=True)
    tables, plots = figure_tables(report), draw_plots(report)
    write_results(folder / "results.json", report, write_draws(folder, draws_of(report)))
    write_paper_tables(folder / "tables", report)
    for plot in plots:
        write_atomically(plots_folder / plot.name, plot.png)
        write_atomically((plots_folder / plot.name).with_suffix(".svg"), plot.paper_svg)
    write_atomically(folder / "report.md", render_markdown(report, tables, plots).encode())
    page = folder / "report.html"
    write_atomically(page, render_page(report, tables, plots).encode())
    return page


def notes(outcomes: tuple[Outcome, ...], table: FigureTable) -> list[str]:
    """Return the notes of a protocol and of its figures, and its counts, each once."""
    found: list[str] = [outcomes[0].alignment.sentence]
    for outcome in outcomes:
        found += outcome.notes
        found += [f"{figure.name}: {figure.note}." for figure in outcome.figures if figure.note]
        if outcome.counts:
            found.append("; ".join(f"{name}: {count:,}" for name, count in outcome.counts.items()) + ".")
    if table.sources:
        found.append(f"Best known: {'; '.join(table.sources)}.")
    return list(dict.fromkeys(found))


def missing(outcomes: tuple[Outcome, ...]) -> list[tuple[str, str]]:
    """Return the pictures that some model could not use, and why, each once."""
    return list(dict.fromkeys(pair for outcome in outcomes for pair in outcome.missing))


def mistakes_by_kind(outcome: Outcome) -> list[tuple[str, list[Mistake]]]:
    """Group the mistakes of an outcome by their kind, in its order."""
    return [(kind, list(found)) for kind, found in groupby(outcome.mistakes, key=lambda mistake: mistake.kind)]


def settings_line(report: Report) -> str:
    """Return in one sentence what the figures depend on besides the model."""
    flip = (
        "mean over each picture and its mirror image"
        if report.settings.flip
        else "one embedding a picture, no mirror image"
    )
    match = report.settings.match_gallery
    gallery = "; the gallery reduced to the size of the probes" if match else ""
    gallery += ", mean of its embeddings in full and reduced" if match == "both" else ""
    precision = "" if report.settings.precision == "float32" else f"; computed in {report.settings.precision}"
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return f"Cosine similarity, {flip}{gallery}{precision}; device {report.settings.device}; {versions}."


def render_markdown(report: Report, tables: list[FigureTable], plots: list[Plot]) -> str:
    """Return report.md."""
    parts = ["# Evaluation", f"Figures in per cent, 95 % intervals in brackets. {settings_line(report)}"]
    for model in report.models:
        form = model.preprocessing
        parts.append(
            f"**{model.label}**: `{model.file}`, {model.backbone}, recipe {model.recipe or 'unknown'}, "
            f"step {'unknown' if model.step is None else model.step}; template {form.template}, "
            f"{form.size} x {form.size} pixels, {form.warp}; SHA-256 `{model.sha256}`{_enrolled(model)}."
            + (f" Terms of use: {terms}." if (terms := terms_of_weights(model.backbone)) else "")
        )
    for table in tables:
        outcomes = report.outcomes[table.protocol]
        parts += [f"## {table.title}", markdown(table)]
        if differences := difference_table(report, table.protocol):
            parts += [EXPLAINED, markdown(differences)]
        parts += [f"![{plot.title}](plots/{plot.name})" for plot in plots if plot.protocol == table.protocol]
        if lines := notes(outcomes, table):
            parts.append("\n".join(f"- {note}" for note in lines))
        for model, outcome in zip(report.models, outcomes, strict=True):
            for kind, found in mistakes_by_kind(outcome):
                parts += [f"{model.label}, {kind}:", "\n".join(f"- {_in_words(mistake)}" for mistake in found)]
        if pictures := missing(outcomes):
            listed = [f"- {name}: {reason}" for name, reason in pictures[:_MOST_MISSING_IN_TEXT]]
            if (more := len(pictures) - len(listed)) > 0:
                listed.append(f"- {more:,} more, all named in results.json")
            parts += [f"Pictures not used ({len(pictures):,}):", "\n".join(listed)]
    if report.skipped:
        lines = [f"- {protocol}: no data given ({option})." for protocol, option in report.skipped.items()]
        parts += ["## Skipped", "\n".join(lines)]
    return "\n\n".join(parts) + "\n"


def _enrolled(model: Model) -> str:
    return f"; its probes against the gallery of {model.gallery}" if model.gallery else ""


def _in_words(mistake: Mistake) -> str:
    shown = (
        f"{shown.role} `{shown.name}`" + ("" if shown.score is None else f" {shown.score:.3f}")
        for shown in mistake.pictures
    )
    return "; ".join(shown)


def render_page(report: Report, tables: list[FigureTable], plots: list[Plot]) -> str:
    """Return report.html."""
    environment = page_environment(_TEMPLATES)
    environment.filters.update(
        percent=percent,
        spread=spread,
        interval=interval,
        told=told,
        base64=lambda data: base64.b64encode(data).decode(),
    )
    environment.globals["colour"] = lambda number: f"var(--c{number % len(COLOURS)})"
    return environment.get_template("report.html").render(
        report=report,
        sections=[_section(number, report, table, plots) for number, table in enumerate(tables)],
        settings=settings_line(report),
        explained=EXPLAINED,
        terms=terms_of_weights,
        most_missing=_MOST_MISSING_ON_PAGE,
    )


def _section(number: int, report: Report, table: FigureTable, plots: list[Plot]) -> dict[str, Any]:
    """Return what the page shows of a protocol."""
    outcomes = report.outcomes[table.protocol]
    mistakes = [
        {
            "place": place,
            "label": model.label,
            "groups": [{"kind": kind, "mistakes": found} for kind, found in mistakes_by_kind(outcome)],
        }
        for place, (model, outcome) in enumerate(zip(report.models, outcomes, strict=True))
        if outcome.mistakes
    ]
    return {
        "anchor": f"protocol-{number}",
        "table": table,
        "differences": difference_table(report, table.protocol),
        "plots": [plot for plot in plots if plot.protocol == table.protocol],
        "notes": notes(outcomes, table),
        "mistakes": mistakes,
        "probes": any(mistake.pictures[0].role == "probe" for outcome in outcomes for mistake in outcome.mistakes),
        "missing": missing(outcomes),
    }
