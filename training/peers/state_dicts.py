"""State dicts of other projects: unwrapped, and recognised by their keys and shapes alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from training.peers.inception_resnet import INCEPTION_RESNETS, build_inception_resnet
from training.peers.ir_backbone import IR_BACKBONE_NAMES, build_ir_backbone, ir_backbone_units
from training.peers.iresnet import IRESNET_UNITS, build_iresnet
from training.peers.keypoint_transformer import KEYPOINT_TRANSFORMERS, build_keypoint_transformer
from training.peers.mobilefacenet import MOBILEFACENETS, build_mobilefacenet
from training.peers.vision_transformer import VISION_TRANSFORMERS, build_vision_transformer

PEER_BACKBONES: dict[str, Callable[[str, int, int], nn.Module]] = {
    **dict.fromkeys(IRESNET_UNITS, build_iresnet),
    **dict.fromkeys(MOBILEFACENETS, build_mobilefacenet),
    **dict.fromkeys(VISION_TRANSFORMERS, build_vision_transformer),
    **dict.fromkeys(KEYPOINT_TRANSFORMERS, build_keypoint_transformer),
    **dict.fromkeys(IR_BACKBONE_NAMES, build_ir_backbone),
    **dict.fromkeys(INCEPTION_RESNETS, build_inception_resnet),
}
"""Builders of the peers' networks, called with name, size and embedding size."""

_CONTAINERS = ("state_dict_backbone", "state_dict", "model_state_dict", "backbone", "model", "net", "network", "ema")
_PREFIXES = ("_orig_mod.", "module.", "model.", "net.", "backbone.", "network.", "encoder.")
# Parts of a training run beside the backbone.
_BESIDE = ("head.", "logits.", "loss.", "classifier.", "cross_entropy_loss.")
_COUNT = "num_batches_tracked"
_INCEPTION_SIZE = 160


@dataclass(frozen=True)
class PeerNetwork:
    """What a state dict is.

    Attributes:
        name: in `PEER_BACKBONES`.
        size: side of its pictures in pixels.
        embedding_size: length of an embedding.
        state: the backbone's own entries, for `load_state_dict`.
        colour: the order of colours that the project trains with.
        mean, deviation: a picture's level x, 0..255, goes in as (x - mean) / deviation.
        template: "centred", or "whole" where the project aligns by no landmarks.
    """

    name: str
    size: int
    embedding_size: int
    state: dict[str, Tensor]
    colour: Literal["RGB", "BGR"] = "RGB"
    mean: float = 127.5
    deviation: float = 127.5
    template: str = "centred"


def plain_state(data: Mapping[str, Any]) -> dict[str, Tensor]:
    """Take the backbone's tensors out of what a training program saved.

    Containers such as `state_dict`, prefixes such as `module.` that all of a backbone's keys share, and the entries of
    a head beside it are removed. Anything that is no tensor is left out.

    Args:
        data: a state dict, or a dict that holds one.

    Returns:
        the state dict; empty where there is none.
    """
    for name in _CONTAINERS:
        inner = data.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            data = inner
            break
    state = {str(key): value for key, value in data.items() if isinstance(value, Tensor)}
    while True:
        own = {key: value for key, value in state.items() if not key.startswith(_BESIDE)}
        prefix = next((one for one in _PREFIXES if own and all(key.startswith(one) for key in own)), None)
        if prefix is None:
            return own
        state = {key.removeprefix(prefix): value for key, value in own.items()}


def recognised(data: Mapping[str, Any]) -> PeerNetwork | None:
    """Recognise a network of another project by its keys and shapes; None where it is none of them.

    AdaFace's own files, which Lightning writes with the prefix `model.`, want BGR; every other project's RGB.

    Args:
        data: a state dict, or a dict that holds one.
    """
    state = plain_state(data)
    names, sizes = _family(state)
    for name in names:
        for size, embedding_size in sizes:
            if (fitting := _fitting(name, size, embedding_size, state)) is None:
                continue
            if name in INCEPTION_RESNETS:
                return PeerNetwork(name, size, embedding_size, fitting, deviation=128.0, template="whole")
            return PeerNetwork(name, size, embedding_size, fitting, "BGR" if _is_of_lightning(data) else "RGB")
    return None


def keys_told(data: Mapping[str, Any]) -> str:
    """Say what the keys of a state dict look like, for a message."""
    state = plain_state(data)
    shown = [f"{key} {tuple(value.shape)}" for key, value in list(state.items())[:2] + list(state.items())[-1:]]
    return f"{len(state)} tensors ({', '.join(shown)})" if state else "no tensors"


def _is_of_lightning(data: Mapping[str, Any]) -> bool:
    """Tell whether a file is AdaFace's own: a Lightning module whose backbone is named `model`."""
    inner = data.get("state_dict", data)
    return isinstance(inner, Mapping) and any(str(key).startswith("model.input_layer.") for key in inner)


def _family(state: Mapping[str, Tensor]) -> tuple[tuple[str, ...], list[tuple[int, int]]]:
    """Return the names that a state dict may have, and the sizes and embedding sizes that its ends imply."""

    def rows(key: str) -> int:
        return state[key].shape[0] if state[key].ndim else 0

    def cells(linear: str, norm: str) -> int:
        """Side of the last feature map, from a linear layer over all of it; 0 where it is no square."""
        if state[linear].ndim != 2 or not rows(norm):
            return 0
        side = round((state[linear].shape[1] / rows(norm)) ** 0.5)
        return side if side * side * rows(norm) == state[linear].shape[1] else 0

    keys = state.keys()
    if {"fc.weight", "features.weight", "bn2.weight", "layer1.0.bn1.weight"} <= keys:
        return tuple(IRESNET_UNITS), [(16 * cells("fc.weight", "bn2.weight"), rows("fc.weight"))]
    if {"input_layer.0.weight", "output_layer.0.weight", "output_layer.3.weight"} <= keys:
        size = 16 * cells("output_layer.3.weight", "output_layer.0.weight")
        units = len({key.split(".")[1] for key in keys if key.startswith("body.")})
        names = [name for name in IR_BACKBONE_NAMES if sum(ir_backbone_units(name)) == units]
        return tuple(names), [(size, rows("output_layer.3.weight"))]
    if {"conv_sep.layers.0.weight", "features.layers.0.layers.0.weight", "features.layers.2.weight"} <= keys:
        kernel = state["features.layers.0.layers.0.weight"].shape
        return tuple(MOBILEFACENETS), [(16 * kernel[-1] if kernel else 0, rows("features.layers.2.weight"))]
    if {"patch_embed.proj.weight", "pos_embed", "feature.2.weight"} <= keys:
        shapes = KEYPOINT_TRANSFORMERS if "keypoint_linear.weight" in keys else VISION_TRANSFORMERS
        patches = state["pos_embed"].shape[1] if state["pos_embed"].ndim == 3 else 0
        *_, shape = shapes.values()
        fitting = [size for size in range(16, 513, 16) if shape.patches(size) == patches]
        return tuple(shapes), [(size, rows("feature.2.weight")) for size in fitting]
    if {"conv2d_1a.conv.weight", "last_linear.weight"} <= keys:
        return INCEPTION_RESNETS, [(_INCEPTION_SIZE, rows("last_linear.weight"))]
    return (), []


def _fitting(name: str, size: int, embedding_size: int, state: Mapping[str, Tensor]) -> dict[str, Tensor] | None:
    """Return a network's entries of a state dict, None where keys or shapes are others.

    Counts of batches, which old files lack, are 0 then; a file may hold numbers of half precision.
    """
    if size < 1 or embedding_size < 1:
        return None
    with torch.device("meta"):
        expected = PEER_BACKBONES[name](name, size, embedding_size).state_dict()
    optional = {key for key in expected if key.endswith(_COUNT)}
    if not expected.keys() - optional <= state.keys() <= expected.keys():
        return None
    if any(state[key].shape != expected[key].shape for key in state):
        return None
    missing = {key: torch.zeros((), dtype=torch.long) for key in optional - state.keys()}
    return {**{key: value.to(expected[key].dtype) for key, value in state.items()}, **missing}
