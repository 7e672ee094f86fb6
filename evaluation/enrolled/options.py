"""The options by which the commands on decisions take a model and find faces; light, so that --help is quick."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluation.models.options import CHECKPOINT_HELP, add_model_options, device_of, open_embedder
from shards.command import Parser, UserError

if TYPE_CHECKING:
    from evaluation.enrolled.measuring import Measuring


def add_face_options(command: Parser) -> None:
    """Add the options that say which model embeds faces, and how they are found."""
    add = command.add_argument
    add("--model", required=True, metavar="MODEL", help=CHECKPOINT_HELP)
    add("--aligned", action="store_true", help="pictures are aligned faces already, taken whole: no face is looked for")
    add("--score", type=float, default=0.9, help="how sure the detector must be of a face, 0 to 1")
    add_enrol_sizes(command)
    add_model_options(command, kept=False)


def add_enrol_sizes(command: Parser) -> None:
    """Add the option that says at which sizes people are enrolled."""
    command.add_argument(
        "--enrol-sizes",
        type=int,
        nargs="+",
        default=[],
        metavar="PIXELS",
        help="sizes in pixels to which people's photos are also reduced: a face is compared with the mean of a photo "
        "in full and at the nearest size (default: in full alone)",
    )


def open_measuring(options: Any) -> "Measuring":
    """Open the model, and say how faces are found for it.

    Raises:
        UserError: it cannot be loaded, or the detector is not installed.
    """
    from evaluation.enrolled.measuring import measuring

    if not 0 <= options.score <= 1:
        raise UserError(f"--score {options.score}; give a value from 0 to 1")
    embedder, loaded = open_embedder(options.model, options, device_of(options), watched=False)
    others = {"flip": options.flip, "precision": options.precision}
    return measuring(
        options.model,
        embedder,
        loaded,
        others,
        aligned=options.aligned,
        least_score=options.score,
        sizes=options.enrol_sizes,
    )


def private_folder(out: Path) -> Path:
    """Make an output folder that only its owner may enter; one that is there keeps its rights.

    Raises:
        UserError: it cannot be made.
    """
    try:
        if not out.is_dir():
            out.mkdir(parents=True, mode=0o700)
    except OSError as error:
        raise UserError(f"{out} cannot be written ({error.strerror}); name another --out") from error
    return out
