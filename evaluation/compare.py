"""Two photos to a score: `python -m evaluation.compare A.jpg B.jpg --checkpoint MODEL`.

The score is the cosine of their embeddings, -1 to 1. Without landmarks each picture is taken whole, which is right
for faces that are aligned already and for cut-out faces of a model trained so. With --results, a results.json of the
same model, it says at which false accept rates the score would pass.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from shards.command import Parser, UserError, run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from evaluation.models.pictures import Picture
    from shards.format import Preprocessing


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m evaluation.compare", description=__doc__)
    add = command.add_argument
    add("pictures", type=Path, nargs=2, metavar="PICTURE", help="two picture files")
    add("--checkpoint", required=True, metavar="MODEL", help=CHECKPOINT_HELP)
    add(
        "--landmarks",
        type=Path,
        metavar="CSV",
        help="a row each: path or file name, x and y of five points in pixels (default: pictures are taken whole)",
    )
    for which in ("first", "second"):
        add(
            f"--{which}",
            type=float,
            nargs=10,
            metavar=("X1", "Y1", "X2", "Y2", "X3", "Y3", "X4", "Y4", "X5", "Y5"),
            help=f"landmarks of the {which} picture in pixels: left eye, right eye, nose, "
            "mouth left, mouth right (default: the picture is taken whole)",
        )
    add(
        "--results",
        type=Path,
        metavar="JSON",
        help="results.json of an evaluation of the same model, for its thresholds (default: no thresholds printed)",
    )
    add_model_options(command)
    return command


def main() -> None:
    """Score two photos."""
    options = parser().parse_args()
    for path in options.pictures:
        if not path.is_file():
            raise UserError(f"no picture {path}; name two picture files")
    embedder, loaded = open_embedder(options.checkpoint, options, device_of(options), watched=False)
    from evaluation.metrics.identification import pair_cosines
    from evaluation.reporting.results import thresholds_of

    thresholds = thresholds_of(options.results, loaded, flip=options.flip) if options.results else []

    points = _landmarks(options)
    pictures = [_picture(path, own, loaded.preprocessing) for path, own in zip(options.pictures, points, strict=True)]
    embedded = embedder.embed(pictures)
    for name, reason in embedded.faults.items():
        raise UserError(f"{name} cannot be used: {reason}; give another picture or other landmarks")
    score = float(pair_cosines(embedded.vectors[:1], embedded.vectors[1:])[0])
    print(f"score       {score:.4f} (cosine, -1 to 1)")
    for picture in pictures:
        print(f"picture     {_told(picture)}")
    for protocol, name, threshold in thresholds:
        passes = "passes" if score > threshold else "does not pass"
        print(f"{passes:<15}{protocol}: {name.replace('TAR at ', '')}, threshold {threshold:.4f}")
    if thresholds:
        print("These rates were measured on the pictures of that data set; other pictures have others.")


def _landmarks(options: Any) -> "list[NDArray[np.float64] | None]":
    """Return the (5, 2) landmarks of each picture, or None where there are none."""
    import numpy as np

    given = [options.first, options.second]
    if options.landmarks is not None:
        if any(given):
            raise UserError("landmarks given by --landmarks and on the command line; give one of the two")
        return [_listed(options.landmarks, path) for path in options.pictures]
    # (10,) -> (5, 2)
    return [None if numbers is None else np.array(numbers, dtype=np.float64).reshape(5, 2) for numbers in given]


def _listed(path: Path, picture: Path) -> "NDArray[np.float64]":
    """Find a picture's row by its path, by an end of its path, or by its file name alone."""
    from pipeline.sources.landmark_list import LANDMARK_COLUMNS, read_landmarks

    table = read_landmarks(path)
    names = table["name"].str.replace("\\", "/", regex=False)
    whole = picture.as_posix()
    exact = names.map(lambda name: whole == name or whole.endswith(f"/{name}"))
    rows = table[exact] if exact.any() else table[names.map(lambda name: Path(name).name) == picture.name]
    if len(rows) != 1:
        raise UserError(f"{path} has {len(rows)} rows for {picture}; expected one: its path or file name, ten numbers")
    # (1, 10) -> (5, 2)
    found: NDArray[np.float64] = rows[LANDMARK_COLUMNS].to_numpy().reshape(5, 2)
    return found


def _picture(path: Path, points: "NDArray[np.float64] | None", form: "Preprocessing") -> "Picture":
    from evaluation.models.preparation import aligned, require_template, whole

    if points is None:
        return whole(str(path), path, form)
    require_template(form, "--landmarks")
    return aligned(str(path), path, points, form)


def _told(picture: "Picture") -> str:
    """Return how a picture was prepared."""
    from evaluation.models.pictures import read_picture

    height, width = read_picture(picture.path).shape[:2]
    form = picture.preparation
    if form.framing == "whole":
        return f"{picture.name}: {width} x {height} pixels, taken whole, resized to {form.size} x {form.size}"
    return f"{picture.name}: {width} x {height} pixels, aligned to {form.size} x {form.size}, template {form.template}"


if __name__ == "__main__":
    run(main)
