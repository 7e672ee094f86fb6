"""Five landmarks for ordinary photos: `python -m pipeline.landmarks --images DIR --out landmarks.csv`.

Finds the faces in IMAGES/IDENTITY/PHOTO.jpg and writes the list that `pipeline.shard --dataset folder --landmarks`
takes. Beside it lie `landmarks.report.csv`, which says of every photo how many faces were found and what became of
it, and `landmarks.json`, which says how the list was made. The command may be killed at any moment: the same command
continues.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from shards.command import Parser, UserError, run
from shards.cores import usable_cores

if TYPE_CHECKING:
    from pipeline.alignment.landmark_run import Summary


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m pipeline.landmarks", description=__doc__)
    add = command.add_argument
    add("--images", type=Path, required=True, help="folder of identity folders with photos in them")
    add("--out", type=Path, required=True, metavar="CSV", help="landmark list to write or to continue")
    add(
        "--several",
        choices=["largest", "central", "none"],
        default="largest",
        help="which face of several is taken: the largest, the one nearest to the middle of the photo, or none",
    )
    add("--score", type=float, default=0.9, help="how sure the detector must be of a face, 0 to 1")
    add("--smallest", type=float, default=10.0, help="width in pixels of the smallest face that is looked for")
    add("--pictures", type=Path, metavar="DIR", help="folder for photos with boxes and points (default: none drawn)")
    add("--unlabelled", action="store_true", help="take photos that lie in no folder of a person, too")
    add("--workers", type=int, default=usable_cores(), help="processes")
    return command


def main() -> None:
    """Measure the landmarks of a folder of photos."""
    options = parser().parse_args()
    from pipeline.alignment.landmark_run import measure_folder

    if options.workers < 1:
        raise UserError(f"{options.workers} workers; give at least 1")
    if not 0 <= options.score <= 1:
        raise UserError(f"score {options.score}; give a value from 0 to 1")
    if not 4 <= options.smallest <= 10_000:
        raise UserError(f"--smallest {options.smallest}; give pixels from 4 to 10000")
    if options.out.suffix != ".csv":
        raise UserError(f"--out {options.out}; give a name that ends in .csv")
    found = measure_folder(
        options.images,
        options.out,
        several=options.several,
        least_score=options.score,
        workers=options.workers,
        smallest=options.smallest,
        pictures=options.pictures,
        unlabelled=options.unlabelled,
    )
    _summary(found, options.out)


def _summary(found: "Summary", out: Path) -> None:
    """Print what became of the photos."""
    from rich.console import Console
    from rich.table import Table

    print(f"{out}: {'was finished already' if found.already else 'finished'}, by {found.made['detector']}")
    table = Table()
    table.add_column("photos")
    table.add_column("count", justify="right")
    for outcome, count in found.outcomes.items():
        table.add_row(outcome, f"{count:,}")
    table.add_section()
    table.add_row("in the folder", f"{found.made['photos']:,}")
    if found.passed_over:
        table.add_row("passed over beside them: hidden files", f"{found.passed_over:,}")
    Console().print(table)


if __name__ == "__main__":
    run(main)
