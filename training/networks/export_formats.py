"""A backbone as the bytes of a file that other programs read, with what they must know in its metadata.

Every format carries one entry of metadata, `METADATA_KEY`, a JSON text: how the pictures are prepared, what goes in
and what comes out. Nothing else of the run is in the file, and no path of the machine that wrote it.
"""

import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from shards.command import UserError
from shards.format import Preprocessing
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import blank_input, takes_points
from training.peers.onnx_network import OnnxNetwork

METADATA_KEY = "low_resolution_face_recognition"
METADATA_VERSION = 1
INPUT, POINTS, OUTPUT = "pictures", "points", "embeddings"


def metadata(loaded: LoadedBackbone) -> str:
    """Return the JSON text that every exported file carries under `METADATA_KEY`.

    Its fields: version (1), backbone (name), embedding_size, preprocessing (template, points, size, warp), step and
    recipe (null where the checkpoint does not say), input (shape, type and range of the pictures).
    """
    size = loaded.preprocessing.size
    points = (
        "; (N, 5, 2) float32, x and y of the five points in units of the side" if takes_points(loaded.backbone) else ""
    )
    fields = {
        "version": METADATA_VERSION,
        "backbone": loaded.name,
        "embedding_size": _embeddings(loaded, 1).shape[1],
        "preprocessing": loaded.preprocessing.to_dict(),
        "step": loaded.step,
        "recipe": loaded.recipe,
        "input": f"(N, 3, {size}, {size}) float32 {_input_told(loaded.preprocessing)}{points}",
    }
    return json.dumps(fields)


def _input_told(form: Preprocessing) -> str:
    in_unit_range = (form.mean, form.deviation) == (127.5, 127.5)
    return f"{form.colour} in [-1, 1]" if in_unit_range else f"{form.input_told} of levels x, 0..255"


def safetensors_bytes(loaded: LoadedBackbone) -> bytes:
    """Return the state dict as a safetensors file, the metadata in its header."""
    from safetensors.torch import save

    state = {name: value.contiguous() for name, value in loaded.backbone.state_dict().items()}
    content: bytes = save(state, metadata={METADATA_KEY: metadata(loaded)})
    return content


def torchscript_bytes(loaded: LoadedBackbone) -> bytes:
    """Return the traced network, for any number of pictures; the metadata is an extra file."""
    buffer = io.BytesIO()
    with _quiet(), torch.no_grad():
        traced = torch.jit.trace(loaded.backbone, _given(loaded, 2))
        torch.jit.save(traced, buffer, _extra_files={METADATA_KEY: metadata(loaded)})
    return buffer.getvalue()


def onnx_bytes(loaded: LoadedBackbone) -> bytes:
    """Return an ONNX model from `pictures` to `embeddings`, for any number of pictures, with the metadata.

    A network that takes the face's five points has a second input, `points`.
    A network that came from an ONNX file goes out in that file's own layout: its names, its batch, its operators.

    Raises:
        UserError: the network, for example one named by its import path, has parts that ONNX cannot say.
    """
    if isinstance(loaded.backbone, OnnxNetwork):
        return _with_metadata(loaded.backbone.to_model(), loaded)
    given = _given(loaded, 2)
    number = torch.export.Dim("N")
    try:
        with _quiet():
            program = torch.onnx.export(
                loaded.backbone,
                given,
                input_names=[INPUT, POINTS][: len(given)],
                output_names=[OUTPUT],
                dynamic_shapes=tuple({0: number} for _ in given),
                dynamo=True,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(f"{loaded.name} cannot be exported to ONNX: {str(error).splitlines()[0]}") from error
    assert program is not None
    model = program.model_proto
    _forget_origin(model)
    return _with_metadata(model, loaded)


def _with_metadata(model: Any, loaded: LoadedBackbone) -> bytes:
    kept = [entry for entry in model.metadata_props if entry.key != METADATA_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    entry = model.metadata_props.add()
    entry.key, entry.value = METADATA_KEY, metadata(loaded)
    content: bytes = model.SerializeToString()
    return content


FORMATS: dict[str, Callable[[LoadedBackbone], bytes]] = {
    "safetensors": safetensors_bytes,
    "onnx": onnx_bytes,
    "torchscript": torchscript_bytes,
}


def _given(loaded: LoadedBackbone, number: int) -> tuple[Tensor, ...]:
    return blank_input(loaded.backbone, number, loaded.preprocessing.size)


def _embeddings(loaded: LoadedBackbone, number: int) -> Tensor:
    with torch.no_grad():
        embeddings: Tensor = loaded.backbone(*_given(loaded, number))
    return embeddings


def _forget_origin(model: Any) -> None:
    """Remove the stack traces, which name folders of this machine, from every part of an ONNX model."""
    graph = model.graph
    for part in (graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        del part.metadata_props[:]


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporters' warnings about themselves from the screen."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
