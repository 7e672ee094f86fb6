"""Pictures to embeddings: `python -m evaluation.embed --checkpoint MODEL --images DIR --out X.npz`.

--images is a folder of pictures, each taken whole (faces that are aligned already, or pictures without landmarks), or
a CSV of a path and x, y of five points a row, whose faces are aligned as the model was trained. The file holds names
and vectors, and `python -m evaluation --embeddings X.npz` evaluates it.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    from evaluation.models.pictures import Picture
    from shards.format import Preprocessing


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.embed", description=__doc__)
    add = command.add_argument
    add("--checkpoint", required=True, metavar="MODEL", help=CHECKPOINT_HELP)
    add("--images", type=Path, required=True, metavar="DIR|CSV", help="a folder of pictures, or a landmark list")
    add("--out", type=Path, required=True, metavar="FILE", help="the .npz; an older one is replaced")
    add("--root", type=Path, metavar="DIR", help="of the CSV's paths (default: the CSV's folder)")
    add("--native", action="store_true", help="CSV: align at the size of the face in its photo, as SCface's probes")
    add(
        "--reduce",
        type=int,
        nargs="+",
        default=[],
        metavar="PIXELS",
        help="also embed every picture reduced to these sides, named with @ and the side (default: none)",
    )
    add_model_options(command)
    return command


def main() -> None:
    """Embed pictures and write the file."""
    options = parser().parse_args()
    if too_small := [side for side in options.reduce if side < 1]:
        raise UserError(f"--reduce {too_small[0]}; give sides of at least 1 pixel")
    if options.out.suffix != ".npz" or not options.out.absolute().parent.is_dir() or options.out.is_dir():
        raise UserError(f"{options.out} cannot be written; name an .npz file in a folder that is there")
    from evaluation.models.embedder import nothing_usable
    from evaluation.models.stored_embeddings import stored_name, write_embeddings

    embedder, loaded = open_embedder(options.checkpoint, options, device_of(options))
    pictures = _pictures(options, loaded.preprocessing)
    embedded = embedder.embed(pictures)
    used = embedded.usable
    if not used.any():
        raise nothing_usable(len(pictures), *next(iter(embedded.faults.items())), "name others with --images")
    names = [stored_name(p.name, p.preparation.low) for p, usable in zip(pictures, used, strict=True) if usable]
    write_embeddings(options.out, names, embedded.vectors[used], loaded, flip=options.flip, precision=options.precision)
    for name, reason in embedded.faults.items():
        print(f"not embedded: {name}: {reason}", file=sys.stderr)
    print(f"embeddings  {embedder.summary()}")
    print(f"{options.out}: {len(names):,} embeddings of {embedded.vectors.shape[1]} numbers")
    if embedded.faults:
        print(f"not embedded: {len(embedded.faults):,} of {len(pictures):,}; each is named on stderr")


def _pictures(options: Any, form: "Preprocessing") -> "list[Picture]":
    """Return every picture in full, then every one at each reduced side."""
    sides = [None, *(side for side in dict.fromkeys(options.reduce) if side < form.size)]
    if options.images.is_dir():
        if options.native or options.root:
            raise UserError("--native and --root go with a CSV of landmarks; the pictures of a folder are taken whole")
        return _folder(options.images, form, sides)
    if not options.images.is_file():
        raise UserError(f"no {options.images}; name a folder of pictures or a CSV of a path and five points x,y a row")
    return _listed(options.images, options.root or options.images.parent, form, sides, native=options.native)


def _folder(folder: Path, form: "Preprocessing", sides: list[int | None]) -> "list[Picture]":
    from evaluation.models.preparation import whole
    from pipeline.sources.picture_files import PICTURE_SUFFIXES, walk_pictures

    names = sorted(path for _, path in walk_pictures(folder))
    if not names:
        raise UserError(f"{folder} holds no picture; expected files ending in {', '.join(PICTURE_SUFFIXES)}")
    return [whole(name, folder / name, form, side) for side in sides for name in names]


def _listed(path: Path, root: Path, form: "Preprocessing", sides: list[int | None], *, native: bool) -> "list[Picture]":
    from evaluation.models.preparation import aligned, require_template
    from pipeline.sources.landmark_list import LANDMARK_COLUMNS, read_landmarks
    from pipeline.sources.picture_files import leads_out

    require_template(form, str(path))
    with path.open("rb") as file:
        header = file.read(7) == b"NAME_ID"
    table = read_landmarks(path, header=header).drop_duplicates("name")
    # (N, 10) -> (N, 5, 2)
    points = dict(zip(table["name"], table[LANDMARK_COLUMNS].to_numpy().reshape(-1, 5, 2), strict=True))
    if outside := next(filter(leads_out, points), None):
        raise UserError(f"{path} names a picture {outside[:60]!r} outside {root}; name the folder of all with --root")
    return [aligned(name, root / name, points[name], form, side, native=native) for side in sides for name in points]


if __name__ == "__main__":
    run(main)
