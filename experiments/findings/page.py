"""Summaries to JSON and to Markdown tables, and the tables into a page between marks."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from experiments.findings.aggregate import Summary, Value
from experiments.trials.measure import TITLES
from experiments.trials.variants import Variant
from shards.command import UserError

BEGIN, END = "<!-- tables: begin (written by experiments.{}) -->", "<!-- tables: end -->"


def to_json(summaries: Sequence[Summary]) -> dict[str, Any]:
    """Return all figures in full precision as plain data."""
    return {"schema": 1, "populations": [_plain(summary) for summary in summaries]}


def _plain(summary: Summary) -> dict[str, Any]:
    return {
        "population": summary.population,
        "people": summary.people,
        "folds": summary.folds,
        "seeds": list(summary.seeds),
        "sizes": list(summary.sizes),
        "figures": [
            {"variant": variant, "size": size, "figure": name, **asdict(value)}
            for (variant, size, name), value in summary.figures.items()
        ],
        "differences": [
            {"first": first, "second": second, "size": size, "figure": name, **asdict(value)}
            for (first, second, size, name), value in summary.differences.items()
        ],
        "losses": summary.losses,
    }


def tables(summary: Summary, title: str, variants: Sequence[Variant], plot: str) -> str:
    """Return the Markdown of a population: its plot, a table for each figure, and the differences.

    Args:
        summary: of the population.
        title: heading.
        variants: in their order.
        plot: path of the plot as the page sees it.
    """
    seeds = "one seed" if len(summary.seeds) == 1 else f"{len(summary.seeds)} seeds"
    tested = f"{summary.people} people in {summary.folds} folds, each tested once a seed; {seeds}"
    parts = [f"### {title}", f"{tested}. Per cent; in brackets the 95 % interval over people.", f"![{title}]({plot})"]
    letters = {variant.name: variant.title.split()[0] for variant in variants}
    measured = {name for _, _, name in summary.figures}
    figures = {name: what for name, what in TITLES.items() if name in measured}
    contrasts = list(dict.fromkeys((first, second) for first, second, _, _ in summary.differences))
    for name, what in figures.items():
        rows = [
            [variant.title, *(_cell(summary.figures[variant.name, size, name]) for size in summary.sizes)]
            for variant in variants
        ]
        parts.append(_table([what, *_heads(summary)], rows))
    for name, what in figures.items() if contrasts else ():
        rows = [
            [
                f"{letters[first]} - {letters[second]}",
                *(_difference(summary.differences[first, second, size, name]) for size in summary.sizes),
            ]
            for first, second in contrasts
        ]
        parts.append(_table([f"difference in {what}", *_heads(summary)], rows))
    losses = ", ".join(f"{letters[name]} {loss:.2f}" for name, loss in summary.losses.items())
    parts.append(f"Mean training loss at the last step: {losses}.")
    return "\n\n".join(parts) + "\n"


def insert_tables(page: str, content: str, name: str, experiment: str) -> str:
    """Put content between the marks of a page, replacing what is there.

    Args:
        page: its text.
        content: to go between the marks.
        name: of the page.
        experiment: that writes it, whose name is in the mark.

    Raises:
        UserError: the page lacks the marks.
    """
    mark = BEGIN.format(experiment)
    before, begin, rest = page.partition(mark)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"{name} lacks the lines {mark!r} and {END!r}, between which the tables go; add them")
    return f"{before}{mark}\n\n{content}\n{END}{after}"


def _heads(summary: Summary) -> list[str]:
    *low, full = summary.sizes
    return [*(f"{size} px" for size in low), f"{full} px (full)"]


def _cell(value: Value) -> str:
    low, high = value.interval
    return f"{100 * value.value:.1f} ({100 * low:.1f} to {100 * high:.1f})"


def _difference(value: Value) -> str:
    """Write a difference in points, in bold if its interval does not include zero."""
    low, high = value.interval
    text = f"{100 * value.value:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
    return f"**{text}**" if low > 0 or high < 0 else text


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
