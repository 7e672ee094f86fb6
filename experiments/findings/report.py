"""An experiment from its trials to JSON, tables, plots and a page."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from experiments.findings.aggregate import Summary, summarise
from experiments.findings.page import insert_tables, tables, to_json
from experiments.findings.plots import draw
from experiments.trials.campaign import complete_results, prepare, run_trials
from experiments.trials.settings import Ablation
from experiments.trials.variants import Variant
from shards.command import UserError
from shards.lock import locked_output
from shards.writer import write_atomically


def run_and_report(
    experiment: str,
    variants: Sequence[Variant],
    contrasts: Sequence[tuple[str, str]],
    options: Any,
    study: Callable[[], Ablation],
) -> None:
    """Run what is not done yet and write what was found.

    Args:
        experiment: name of its command, in the names of plots and the marks of pages.
        variants: to compare.
        contrasts: pairs of them whose difference is reported.
        options: out, workers, tables_only and page, as the command line has them.
        study: returns the people, folds and seeds; called while the folder is locked.

    Raises:
        UserError: the folder is in use or holds other results, or the page has no place for tables.
    """
    options.out.mkdir(parents=True, exist_ok=True)
    with locked_output(options.out / ".lock", options.out):
        ablation = study()
        trials = prepare(ablation, variants, options.out, options.workers)
        if not options.tables_only:
            run_trials(trials, options.out, options.workers)
    results = complete_results(trials, options.out)
    summaries = [
        (part.title, summarise(found, contrasts))
        for part in ablation.parts
        if (found := [one for one in results if one.trial.population == part.name])
    ]
    _write(experiment, summaries, variants, options.out, options.page)


def _write(
    experiment: str,
    summaries: Sequence[tuple[str, Summary]],
    variants: Sequence[Variant],
    out: Path,
    page: Path | None,
) -> None:
    """Write JSON, tables and plots, and put the tables into the page."""

    def written(folder: Path) -> str:
        parts = []
        for title, summary in summaries:
            plot = f"{experiment}-{summary.population}.png"
            write_atomically(folder / plot, draw(summary, title, variants))
            parts.append(tables(summary, title, variants, plot))
        return "\n".join(parts)

    write_atomically(
        out / "results.json", (json.dumps(to_json([summary for _, summary in summaries]), indent=1) + "\n").encode()
    )
    write_atomically(out / "tables.md", written(out).encode())
    if page is not None:
        if not page.is_file():
            raise UserError(f"no page {page}; expected a Markdown file with the marks for tables")
        text = insert_tables(page.read_text(encoding="utf-8"), written(page.parent), page.name, experiment)
        write_atomically(page, text.encode())
    print((out / "tables.md").read_text(encoding="utf-8"))
