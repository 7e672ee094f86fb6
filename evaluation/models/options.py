"""The options by which every command of the evaluation takes a model; nothing heavy, so that --help is quick."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from shards.command import Parser, UserError

if TYPE_CHECKING:
    from evaluation.models.embedder import Embedder
    from training.networks.backbone_file import LoadedBackbone

CHECKPOINT_HELP = (
    "a model of ours or another project's (.pt, .pth, .ckpt, .safetensors, .onnx), or package.module:callable"
)


def add_model_options(command: Parser, *, kept: bool = True) -> None:
    """Add the options that say how a model's pictures are prepared, what embeds them and what is kept.

    Args:
        command: the parser.
        kept: embeddings are kept for the next time; those of somebody's own people are not.
    """
    add = command.add_argument
    add(
        "--template",
        choices=["paper", "centred", "whole"],
        help="where landmarks go, of a model that does not say it itself; of another it must be the same "
        "(default: its own)",
    )
    add("--size", type=int, metavar="PIXELS", help="side of its pictures in pixels, likewise (default: its own)")
    add("--colour", choices=["RGB", "BGR"], help="order of the colours that it takes (default: its own)")
    add("--mean", type=float, help="a level x, 0..255, goes in as (x - mean) / deviation (default: its own)")
    add("--deviation", type=float, help="likewise (default: its own)")
    add(
        "--averaged",
        action="store_true",
        help="the moving average of the weights, which checkpoints of runs with --optimizer.average hold",
    )
    add("--flip", action="store_true", help="average each picture's embedding with its mirror image's")
    add(
        "--precision",
        choices=["float32", "bfloat16"],
        default="float32",
        help="of the network; bfloat16 takes half the time where the processor knows it, and moves scores a little",
    )
    add("--device", choices=["auto", "cpu", "gpu"], default="auto", help="auto: a GPU if there is one")
    if kept:
        add("--cache", type=Path, metavar="DIR", help="folder of kept embeddings (default: the user's cache folder)")
        add("--no-cache", action="store_true", help="neither use nor keep embeddings")


def device_of(options: Any) -> str:
    """Return "gpu" or "cpu".

    Raises:
        UserError: a GPU is asked for, and there is none.
    """
    from training.ranks.machine import chosen_device

    return chosen_device(options.device)


def open_embedder(
    name: str, options: Any, device: str, *, beside_others: bool = False, watched: bool = True
) -> "tuple[Embedder, LoadedBackbone]":
    """Open a model as the options say; beside others, template and size may be meant for them.

    If `watched`, it shows its progress on stderr.

    Raises:
        UserError: it cannot be loaded, or the named cache folder cannot be used.
    """
    from evaluation.models.embedder import Embedder
    from evaluation.models.embedding_cache import usable_folder
    from evaluation.models.load import load_model
    from training.networks.onnx_backbone import OnnxBackbone

    if options.size is not None and options.size < 1:
        raise UserError(f"--size {options.size}; give at least 1 pixel")
    # Without the options nothing is kept.
    cache = None if options.get("no_cache", True) else usable_folder(options.cache)
    if options.deviation is not None and options.deviation <= 0:
        raise UserError(f"--deviation {options.deviation}; give a number above 0")
    loaded = load_model(
        name,
        template=options.template,
        size=options.size,
        colour=options.colour,
        mean=options.mean,
        deviation=options.deviation,
        beside_others=beside_others,
        averaged=options.get("averaged", False),
    )
    if options.precision != "float32" and isinstance(loaded.backbone, OnnxBackbone):
        raise UserError(f"--precision {options.precision} for {name}; an ONNX file computes as it was written")
    embedder = Embedder(
        loaded, device=device, flip=options.flip, precision=options.precision, cache=cache, watched=watched
    )
    return embedder, loaded
