"""What each part of the method contributes: `python -m experiments.ablation --out runs/ablation`.

Trains the same small network in several variants, without the people of a fold, and tests it on them, for every fold
and seed, on the ORL faces and on rendered people. The command may be interrupted: the same command continues. Writes
`results.json`, `tables.md` and plots into the folder, and with --page also into a page between its marks.
"""

import os
from pathlib import Path

from shards.command import Parser, UserError, run
from shards.cores import usable_cores


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
    from experiments.findings.report import run_and_report
    from experiments.trials.settings import ablation_of_size
    from experiments.trials.variants import CONTRASTS, chosen

    variants = chosen(options.variants)
    ablation = ablation_of_size(options.size, options.seeds, options.people)
    if options.workers < 1:
        raise UserError(f"{options.workers} workers; give at least 1")
    run_and_report("ablation", variants, CONTRASTS, options, lambda: ablation)


if __name__ == "__main__":
    run(main)
