"""What each part of the method contributes: `python -m experiments.ablation --out runs/ablation`.

Trains the same small network in several variants, without the people of a fold, and tests it on them, for every fold
and seed, on the ORL faces and on rendered people. The command may be interrupted: the same command continues. Writes
`results.json`, `tables.md` and plots into the folder, and with --page also into a page between its marks.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from shards.command import Parser, UserError, run
from shards.cores import usable_cores

if TYPE_CHECKING:
    from experiments.aggregate import Summary
    from experiments.variants import Variant


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m experiments.ablation", description=__doc__)
    add = command.add_argument
    add("--out", type=Path, required=True, help="folder of everything: people, shards, results, tables, plots")
    add("--size", default="hour", help="hour: an hour of two CPU cores; tiny: seconds, to see that it works")
    add("--people", nargs="+", metavar="NAME", help="orl, rendered, few (rendered, as few as ORL) (default: all)")
    add("--variants", nargs="+", metavar="NAME", help="hr-only, random, four-views, full, degraded (default: all)")
    add("--seeds", type=int, help="seeds of every trial, at least 1 (default: those of the size)")
    add("--workers", type=int, default=usable_cores(), help="processes, of one thread each")
    add("--tables-only", action="store_true", help="train nothing; make tables of the seeds that are complete")
    add("--page", type=Path, metavar="MD", help="page to write the tables into, its plots beside it (default: none)")
    return command


def main() -> None:
    """Run an ablation and write what it found."""
    options = parser().parse_args()
    # Each process has one thread of its own.
    os.environ["OMP_NUM_THREADS"] = "1"
    from experiments.aggregate import summarise
    from experiments.campaign import complete_results, prepare, run_trials
    from experiments.settings import ablation_of_size
    from experiments.variants import chosen
    from shards.lock import locked_output

    variants = chosen(options.variants)
    ablation = ablation_of_size(options.size, options.seeds, options.people)
    if options.workers < 1:
        raise UserError(f"{options.workers} workers; give at least 1")
    options.out.mkdir(parents=True, exist_ok=True)
    with locked_output(options.out / ".lock", options.out):
        trials = prepare(ablation, variants, options.out, options.workers)
        if not options.tables_only:
            run_trials(trials, options.out, options.workers)
    results = complete_results(trials, options.out)
    summaries = []
    for part in ablation.parts:
        if found := [one for one in results if one.trial.population == part.name]:
            summaries.append((part.title, summarise(found)))
    _write(summaries, variants, options.out, options.page)


def _write(summaries: "list[tuple[str, Summary]]", variants: "Sequence[Variant]", out: Path, page: Path | None) -> None:
    """Write JSON, tables and plots, and put the tables into the page."""
    from experiments.page import insert_tables, tables, to_json
    from experiments.plots import draw
    from shards.writer import write_atomically

    def written(folder: Path) -> str:
        parts = []
        for title, summary in summaries:
            plot = f"ablation-{summary.population}.png"
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
        text = insert_tables(page.read_text(encoding="utf-8"), written(page.parent), page.name)
        write_atomically(page, text.encode())
    print((out / "tables.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    run(main)
