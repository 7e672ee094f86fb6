"""Rendered data sets: `python -m pipeline.synthetic --out DIR --identities 100 --photos 10 --layout all`.

Writes photos of rendered people in the directory layouts, file names and lists of the real data sets, with
true landmarks. The same seed gives the same bytes. `--layout video` renders people who walk up, cross and leave, with
the truth of every frame; `all` leaves it out.
"""

import time
from pathlib import Path

from shards.command import Parser, run
from shards.cores import usable_cores

_LAYOUTS = ["vggface2", "lfw", "scface", "survface", "tinyface", "xqlfw", "ijbc", "bin"]


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m pipeline.synthetic", description=__doc__)
    command.add_argument("--out", type=Path, required=True, help="folder to write the data sets into")
    command.add_argument("--identities", type=int, default=100, help="people in each data set")
    command.add_argument("--photos", type=int, default=10, help="photos of each, where the layout leaves it open")
    command.add_argument("--layout", choices=[*_LAYOUTS, "video", "all"], default="vggface2", help="which data set")
    command.add_argument("--seed", type=int, default=0, help="of everything")
    command.add_argument("--workers", type=int, default=usable_cores(), help="processes")
    return command


def main() -> None:
    """Render data sets."""
    options = parser().parse_args()
    from pipeline.synthetic.write import write_dataset

    for layout in _LAYOUTS if options.layout == "all" else [options.layout]:
        start = time.monotonic()
        pictures = write_dataset(
            options.out,
            layout,
            identities=options.identities,
            photos=options.photos,
            seed=options.seed,
            workers=max(1, options.workers),
        )
        seconds = time.monotonic() - start
        print(f"{layout}: {pictures:,} pictures in {seconds:.1f} s, {pictures / seconds:,.0f}/s: {options.out}")


if __name__ == "__main__":
    run(main)
