"""Exported files read back: safetensors and ONNX as backbones ready to embed, TorchScript refused with its reason.

Nothing in a file is run: safetensors hold numbers alone, and an ONNX graph is arithmetic that onnxruntime does.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from pipeline.alignment.align import preprocessing as preprocessing_of
from shards.command import UserError, first_line
from shards.format import Preprocessing
from shards.json_file import parse_object
from training.networks.backbone_file import LoadedBackbone, from_state, load_backbone, refuse_untrusted
from training.networks.backbones import fitting_backbone
from training.networks.export_formats import METADATA_KEY, METADATA_VERSION
from training.networks.input_adapter import adapt_input
from training.networks.onnx_backbone import OnnxBackbone
from training.peers.onnx_file import model_sha256
from training.peers.onnx_network import ONNX, OnnxNetwork, read_onnx

_AGREEMENT = 1e-4
# onnxruntime rounds what a network of half precision computes, after every operation.
_HALF_AGREEMENT = 1e-2
_USUAL_SIZE = 112

ExportFormat = Literal["safetensors", "onnx", "torchscript"]


@dataclass(frozen=True)
class ExportedMetadata:
    """What an exported file says of its network.

    Attributes:
        backbone: name of the architecture.
        embedding_size: length of an embedding.
        preprocessing: what its pictures must go through.
        step: steps of training, or None where the checkpoint did not say.
        recipe: name of the recipe, or None.
    """

    backbone: str
    embedding_size: int
    preprocessing: Preprocessing
    step: int | None
    recipe: str | None


def exported_format(path: Path) -> ExportFormat | None:
    """Recognise an exported file by its content; None for any other file, also one that is not there."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        start = file.read(16)
    try:
        if zipfile.is_zipfile(path):
            return "torchscript" if _torchscript_entry(path) else None
    except zipfile.BadZipFile:
        return None
    # Eight bytes of length, then a header of JSON.
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") < path.stat().st_size:
        return "safetensors"
    # The first field of an ONNX model is its version of the format, a small number.
    return "onnx" if start[:1] == b"\x08" else None


def read_metadata(path: Path) -> ExportedMetadata:
    """Read the metadata of an exported file of any format.

    Raises:
        UserError: the file is missing, damaged, of another program or of another version.
    """
    text = _metadata_text(path)
    if text is None:
        raise UserError(
            f"{path} carries no entry {METADATA_KEY}, so that nothing says how its pictures are prepared; "
            "export it with python -m training.export"
        )
    try:
        fields = parse_object(text)
        if fields["version"] != METADATA_VERSION:
            raise UserError(
                f"{path} has metadata of version {fields['version']}, this program reads {METADATA_VERSION}"
            )
        step, recipe = fields["step"], fields["recipe"]
        if not isinstance(step, int | None) or not isinstance(recipe, str | None):
            raise TypeError(f"step {step!r} of recipe {recipe!r}")
        form = Preprocessing.from_dict(fields["preprocessing"])
        return ExportedMetadata(str(fields["backbone"]), int(fields["embedding_size"]), form, step, recipe)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"the metadata of {path} cannot be read: {error!r}; export it again") from error


def carries_metadata(path: Path) -> bool:
    """Tell whether an exported file says how its pictures are prepared.

    Raises:
        UserError: the file is damaged or no exported network.
    """
    return _metadata_text(path) is not None


def load_exported(path: Path) -> LoadedBackbone:
    """Load a safetensors or ONNX file of `python -m training.export` as a backbone ready to embed.

    A safetensors file becomes the network itself, on the CPU; an ONNX file a module that onnxruntime computes on the
    CPU, wherever its input lies. A backbone named by an import path loads from safetensors only where the
    environment trusts it, as for a checkpoint.

    Raises:
        UserError: the file is missing, damaged, without metadata, or TorchScript, which is a program.
    """
    about = read_metadata(path)
    form = exported_format(path)
    if form == "torchscript":
        raise UserError(f"{path} is TorchScript, a program; export the checkpoint as safetensors or onnx instead")
    backbone = _safetensors_network(path, about) if form == "safetensors" else _onnx_network(path, about)
    form_of_pictures = about.preprocessing
    return LoadedBackbone(
        adapt_input(backbone.eval(), form_of_pictures),
        form_of_pictures,
        about.backbone,
        about.step,
        about.recipe,
        model_sha256(path),
    )


def load_foreign(path: Path, form: Preprocessing | None) -> LoadedBackbone:
    """Load a safetensors or ONNX file that says nothing of its pictures, as another program writes it.

    An ONNX file may hold any network from pictures to embeddings; a safetensors file the state dict of a network that
    `load_backbone` recognises.

    Args:
        path: the file.
        form: how its pictures are prepared; None for a state dict, whose project says it.

    Raises:
        UserError: the file is damaged, of another format, or does not fit the size of the pictures.
    """
    sha256 = model_sha256(path)
    if exported_format(path) == "onnx":
        assert form is not None
        network = OnnxBackbone(path, form.size).eval()
        return LoadedBackbone(adapt_input(network, form), form, ONNX, None, None, sha256)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from error
    loaded = from_state(path, state, sha256)
    if form is not None and loaded.preprocessing.size != form.size:
        raise UserError(
            f"{path} is a network for pictures of {loaded.preprocessing.size} pixels; {form.size} were asked for"
        )
    return loaded


def load_trainable(path: Path, averaged: bool = False) -> LoadedBackbone:
    """Load any file of a recogniser as a network that can be trained.

    As `load_backbone` for PyTorch files and safetensors; the network of an ONNX file is rebuilt operator by operator
    and held against onnxruntime. One that says nothing of its pictures is taken as InsightFace's are (centred template,
    RGB, scaled by itself or to [-1, 1]).

    Args:
        path: the file.
        averaged: take the moving average of the weights that a checkpoint of ours may hold.

    Raises:
        UserError: the file is missing, damaged, or no such network, holds no average, or onnxruntime computes something
            else.
    """
    kind = exported_format(path)
    if kind is None:
        return load_backbone(path, averaged)
    if averaged:
        raise UserError(f"--averaged for {path}; only the checkpoint of a run holds an average, leave it out")
    known = read_metadata(path) if carries_metadata(path) else None
    if kind != "onnx":
        return load_exported(path) if known else load_foreign(path, None)
    network = read_onnx(path).eval()
    if known:
        form = known.preprocessing
    else:
        mean, deviation = network.input_scale
        form = replace(preprocessing_of("centred", network.size or _USUAL_SIZE), mean=mean, deviation=deviation)
    _refuse_disagreement(path, network, form.size)
    step, recipe = (known.step, known.recipe) if known else (None, None)
    return LoadedBackbone(adapt_input(network, form), form, ONNX, step, recipe, model_sha256(path))


def _refuse_disagreement(path: Path, network: OnnxNetwork, size: int) -> None:
    """Refuse a network that onnxruntime computes otherwise than torch, for one picture or for several."""
    pictures = torch.from_numpy(np.random.default_rng(0).uniform(-1, 1, (3, 3, size, size)).astype(np.float32))
    way_out = "name the code that builds its network, as package.module:callable"
    theirs = torch.nn.functional.normalize(OnnxBackbone(path, size)(pictures))
    try:
        with torch.no_grad():
            ours = torch.nn.functional.normalize(network(pictures))
    except (RuntimeError, ValueError, TypeError, LookupError) as error:
        raise UserError(f"{path} cannot be computed by torch ({first_line(error)}); {way_out}") from error
    away = float((ours - theirs).abs().max())
    if not away <= (_HALF_AGREEMENT if network.half_precision else _AGREEMENT):
        raise UserError(
            f"{path} computes embeddings that differ by {away:.1g} between torch and onnxruntime; {way_out}"
        )


def _onnx_network(path: Path, about: ExportedMetadata) -> OnnxBackbone:
    network = OnnxBackbone(path, about.preprocessing.size)
    if network.embedding_size != about.embedding_size:
        raise UserError(
            f"{path} gives embeddings of {network.embedding_size} numbers; its metadata says {about.embedding_size}"
        )
    return network


def _safetensors_network(path: Path, about: ExportedMetadata) -> nn.Module:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    refuse_untrusted(path, about.backbone)
    try:
        state = load_file(path)
        return fitting_backbone(about.backbone, about.preprocessing.size, about.embedding_size, state)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged: {error}") from error
    except ValueError as error:
        raise UserError(f"{path} does not fit the backbone {about.backbone}: {error}") from error


def _metadata_text(path: Path) -> str | None:
    form = exported_format(path)
    if form is None:
        raise UserError(f"{path} is no exported network; expected a file of python -m training.export")
    read = {"safetensors": _safetensors_text, "onnx": _onnx_text, "torchscript": _torchscript_text}[form]
    return read(path)


def _safetensors_text(path: Path) -> str | None:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            found: str | None = (file.metadata() or {}).get(METADATA_KEY)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path} is damaged or no safetensors file: {error}") from error
    return found


def _onnx_text(path: Path) -> str | None:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise UserError(f"{path} is damaged or no ONNX model: {error}") from error
    return next((entry.value for entry in model.metadata_props if entry.key == METADATA_KEY), None)


def _torchscript_text(path: Path) -> str | None:
    name = _torchscript_entry(path)
    assert name is not None
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.read(name).decode()
    except Exception as error:  # zipfile raises anything between zlib.error and NotImplementedError
        raise UserError(f"{path} is damaged: {error}") from error


def _torchscript_entry(path: Path) -> str | None:
    """Return the name of the metadata inside a TorchScript archive, None in any other zip file."""
    try:
        with zipfile.ZipFile(path) as archive:
            return next((name for name in archive.namelist() if name.endswith(f"/extra/{METADATA_KEY}")), None)
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return None
