"""Reports of different days in one table: `python -m evaluation.table A/results.json B/results.json --out DIR`.

Models stand side by side where their protocol, the pictures, the landmarks and the way of aligning are the same; what
is not is named. Differences have intervals of the same people drawn for both, from the draws.npz beside each file.
"""

import sys
from pathlib import Path

from shards.command import Parser, UserError, run


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.table", description=__doc__)
    add = command.add_argument
    add("results", type=Path, nargs="+", metavar="JSON", help="results.json of evaluations; draws.npz lies beside each")
    out = "folder for a report of all: tables as LaTeX and CSV, plots, results.json (default: printed alone)"
    add("--out", type=Path, metavar="DIR", help=out)
    return command


def main() -> None:
    """Join reports."""
    options = parser().parse_args()
    from rich.console import Console

    from evaluation.reporting.joined import joined, short_names
    from evaluation.reporting.read_results import read_report
    from evaluation.reporting.report import write_report
    from evaluation.reporting.tables import figure_tables, print_tables

    paths = [path / "results.json" if path.is_dir() else path for path in options.results]
    if twice := [path for number, path in enumerate(paths) if path.resolve() in [p.resolve() for p in paths[:number]]]:
        raise UserError(f"{twice[0]} is named twice; name different reports")
    found = joined(dict(zip(short_names([str(path) for path in paths]), map(read_report, paths), strict=True)))
    if not found.reports:
        raise UserError(
            f"nothing stands side by side. {found.apart[0] if found.apart else 'No protocol was measured.'}"
        )
    console = Console() if sys.stdout.isatty() else Console(width=120)
    for report in found.reports:
        print_tables(report, figure_tables(report), console)
    for sentence in found.apart:
        print(f"apart       {sentence}")
    for number, report in enumerate(found.reports, 1):
        if options.out:
            folder = options.out if len(found.reports) == 1 else options.out / str(number)
            try:
                print(f"report      {write_report(folder, report)}")
            except OSError as error:
                raise UserError(f"{folder} cannot be written ({error.strerror}); name another --out") from error


if __name__ == "__main__":
    run(main)
