"""What the options of an adaptation say, checked, and the recogniser that they name."""

from dataclasses import replace
from typing import Any

from shards.command import UserError
from training.networks.backbone_file import LoadedBackbone
from training.networks.exported_file import carries_metadata, exported_format, load_trainable
from training.networks.initial_weights import as_told
from training.settings.config import Model


def refuse_unusable(options: Any) -> None:
    """Refuse options that are wrong or exclude each other, and folders that are not there.

    Raises:
        UserError: naming the option.
    """
    for folder, expected in (
        (options.photos, "a folder that holds a folder of photos for each person"),
        (options.crops, "a folder of small pictures for each person"),
        (options.unlabelled, "a folder of photos"),
    ):
        if folder and not folder.is_dir():
            raise UserError(f"no folder {folder}; expected {expected}")
    if options.crop_landmarks and not options.crops:
        raise UserError("--crop-landmarks without --crops; give both or neither")
    if options.unlabelled_landmarks and not options.unlabelled:
        raise UserError("--unlabelled-landmarks without --unlabelled; give both or neither")
    if (options.landmarks or options.crop_landmarks or options.unlabelled_landmarks) and options.aligned:
        raise UserError("--landmarks and --aligned exclude each other; give one of them")
    if not 0 < options.set_aside < 1:
        raise UserError(f"--set-aside {options.set_aside}; give a share above 0 and below 1, such as 0.25")
    steps = 1 if options.steps is None else options.steps
    if min(options.processes, steps, *options.sizes) < 1:
        raise UserError("--processes, --sizes and --steps; give numbers of at least 1")
    if options.out.suffix != ".onnx" or not options.out.absolute().parent.is_dir():
        raise UserError(f"--out {options.out}; name a file that ends in .onnx, in a folder that is there")


def open_recogniser(options: Any) -> LoadedBackbone:
    """Load the recogniser as the options tell it.

    Raises:
        UserError: its file does not say how pictures go in, and neither do the options.
    """
    loaded = load_trainable(options.model)
    form = as_told(loaded.preprocessing, Model(**told(options)))
    if not options.template and exported_format(options.model) == "onnx" and not carries_metadata(options.model):
        raise UserError(
            f"{options.model} does not say how its pictures are prepared; say it with --template centred, as most "
            f"recognisers of 112 pixels are trained, and where it is not {form.input_told} with --colour, --mean and "
            "--deviation"
        )
    if not form.points:
        raise UserError(
            f"{options.model} takes pictures that are not aligned (template {form.template}); "
            "adapt it by the commands of docs/adapt.md, with shards of such pictures"
        )
    return replace(loaded, preprocessing=form)


def told(options: Any) -> dict[str, Any]:
    """Return what the options say of the recogniser's pictures."""
    return {name: getattr(options, name) for name in ("template", "colour", "mean", "deviation")}
