"""Any model as a backbone ready to embed: a file, or the user's own code by its import path."""

import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.alignment.align import TEMPLATES
from pipeline.alignment.align import preprocessing as preprocessing_of
from shards.command import UserError
from shards.format import WHOLE, Preprocessing
from training.networks.backbone_file import LoadedBackbone, load_backbone
from training.networks.exported_file import carries_metadata, exported_format, load_exported, load_foreign
from training.networks.input_adapter import adapt_input
from training.peers.onnx_graph import input_of_onnx
from training.settings.import_path import imported, is_import_path


def load_model(
    name: str,
    *,
    template: str | None = None,
    size: int | None = None,
    colour: str | None = None,
    mean: float | None = None,
    deviation: float | None = None,
    beside_others: bool = False,
    averaged: bool = False,
) -> LoadedBackbone:
    """Load a model by the name of its file or its import path.

    Args:
        name: a checkpoint of ours, the authors' or another project's, a safetensors or ONNX file, or
            `package.module:callable`. The
            callable is called with `size=`, or with nothing where it takes no such argument, and returns an
            `nn.Module` or any callable from (N, 3, size, size) float32 RGB in [-1, 1] to (N, D); an `nn.Module`
            named so is taken as it is.
        template: "paper", "centred" or "whole", of a model that does not say itself how it was trained; another one
            must say the same.
        size: side of the model's pictures in pixels, likewise; an ONNX file mostly says it.
        colour: "RGB" or "BGR", in place of what the model or its project says.
        mean: a level x, 0..255, goes in as (x - mean) / deviation, likewise.
        deviation: see `mean`.
        beside_others: whether template and size may be meant for other models: a difference is a warning, not an error.
        averaged: take the moving average of the weights that one of our checkpoints may hold.

    Raises:
        UserError: the file or the module cannot be loaded, does not say how its pictures are prepared and neither
            do `template` and `size`, or says it otherwise than they do.
    """
    loaded = _load(name, template, size, beside_others, averaged)
    own = loaded.preprocessing
    form = replace(
        own,
        colour=own.colour if colour is None else colour,
        mean=own.mean if mean is None else mean,
        deviation=own.deviation if deviation is None else deviation,
    )
    adapt_input(loaded.backbone, form)
    return replace(loaded, preprocessing=form)


def _load(name: str, template: str | None, size: int | None, beside_others: bool, averaged: bool) -> LoadedBackbone:
    code = is_import_path(name) and not Path(name).exists()
    if averaged and (code or exported_format(Path(name))):
        raise UserError(f"--averaged for {name}; only the checkpoint of a run holds an average, leave it out")
    if code:
        return _from_code(name, _given(name, template, size))
    path = Path(name)
    kind = exported_format(path)
    says = kind is not None and carries_metadata(path)
    if kind == "onnx" and not says:
        return _of_onnx(path, template, size)
    if kind is None:
        loaded = load_backbone(path, averaged)
    else:
        loaded = load_exported(path) if says else load_foreign(path, None)
    if not says and loaded.recipe is None and template is not None:
        # A plain state dict implies its size, not its template; its project's is a guess that the user may mend.
        own = loaded.preprocessing
        loaded = replace(loaded, preprocessing=preprocessing_of(template, own.size).with_input_of(own))
    own = loaded.preprocessing
    for option, given, found in (("template", template, own.template), ("size", size, own.size)):
        if given is not None and given != found:
            told = f"{name} was trained with {option} {found}, --{option} {given} is given"
            if not beside_others:
                raise UserError(f"{told}; leave it out, or name the checkpoint that was trained so")
            print(f"warning: {told}: it keeps its own", file=sys.stderr)
    return loaded


def _of_onnx(path: Path, template: str | None, size: int | None) -> LoadedBackbone:
    """Load an ONNX file that does not say how its pictures are prepared: its input may say their size and scale."""
    own_size, scale = input_of_onnx(path)
    form = _given(str(path), template, own_size if size is None else size)
    return load_foreign(path, replace(form, mean=scale[0], deviation=scale[1]))


def _given(name: str, template: str | None, size: int | None) -> Preprocessing:
    if template is None or size is None:
        raise UserError(
            f"{name} does not say how its pictures are prepared; say it with "
            f"--template ({', '.join([*TEMPLATES, WHOLE])}) and --size (pixels)"
        )
    return preprocessing_of(template, size)


class _Wrapped(nn.Module):
    """A callable that is no module."""

    def __init__(self, function: Callable[[Tensor], object]) -> None:
        super().__init__()
        self._function = function

    def forward(self, pictures: Tensor) -> object:
        """(N, 3, S, S) -> whatever the callable gives, checked once by `_from_code`."""
        return self._function(pictures)


def _from_code(path: str, form: Preprocessing) -> LoadedBackbone:
    """Build a model with the user's own code, and see that it gives embeddings."""
    found = imported(path, "model")
    network = found if isinstance(found, nn.Module) else _called(path, found, form.size)
    if not callable(network):
        raise UserError(f"{path} returned a {type(network).__name__}; expected an nn.Module or a callable")
    backbone = (network if isinstance(network, nn.Module) else _Wrapped(network)).eval()
    grey = torch.zeros(2, 3, form.size, form.size)
    with torch.inference_mode():
        embeddings = _told(path, lambda: backbone(grey))
    if not isinstance(embeddings, Tensor) or embeddings.ndim != 2 or len(embeddings) != 2:
        found_shape = tuple(embeddings.shape) if isinstance(embeddings, Tensor) else type(embeddings).__name__
        raise UserError(f"{path} gives {found_shape} for 2 pictures of {form.size} x {form.size}; expected (2, D)")
    return LoadedBackbone(backbone, form, path, None, None, "")


def _called(path: str, build: Callable[..., object], size: int) -> object:
    try:
        takes_size = "size" in inspect.signature(build).parameters
    except (TypeError, ValueError):
        takes_size = False
    return _told(path, lambda: build(size=size) if takes_size else build())


def _told(path: str, call: Callable[[], object]) -> object:
    """Call the user's code; an exception in it becomes one line that says where it was raised."""
    try:
        return call()
    except UserError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        raise UserError(
            f"{path} failed: {type(error).__name__}: {error} ({Path(place.filename).name}, line {place.lineno})"
        ) from error
