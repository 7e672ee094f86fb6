"""The backbones by their names: pictures to embeddings."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from shards.command import UserError, first_line
from training.networks.ir_net import IR_NAMES, build_ir_net
from training.networks.resnet import RESNET_UNITS, build_resnet
from training.networks.spherenet import SPHERENET_UNITS, build_spherenet
from training.peers.keypoint_transformer import KEYPOINT_TRANSFORMERS
from training.peers.onnx_network import ONNX, OnnxNetwork
from training.peers.state_dicts import PEER_BACKBONES
from training.peers.vision_transformer import Dropping, PatchTransformer
from training.settings.config import Model
from training.settings.import_path import imported

BACKBONES: dict[str, Callable[[str, int, int], nn.Module]] = {
    **dict.fromkeys(SPHERENET_UNITS, build_spherenet),
    **dict.fromkeys(RESNET_UNITS, build_resnet),
    **dict.fromkeys(IR_NAMES, build_ir_net),
    **PEER_BACKBONES,
}

_REDUCTION = 16

NetworkT = TypeVar("NetworkT", bound=nn.Module)


def build_backbone(name: str, size: int, embedding_size: int = 512) -> nn.Module:
    """Build a backbone with PyTorch's own initialisation.

    Args:
        name: a name in `BACKBONES`, or `package.module:callable` of an installed module, which is imported; the
            callable is called with the keyword arguments `size` and `embedding_size` and returns an `nn.Module`.
        size: side of the input in pixels; of our own networks a multiple of 16.
        embedding_size: length of the embedding.

    Returns:
        a network from (N, 3, size, size) float32 in [-1, 1], and for one that `takes_points` (N, 5, 2) float32 in units
        of the side, to (N, embedding_size) float32, not normalised.
        SphereNet-20 at 128 x 128 has 28,437,824 parameters.

    Raises:
        UserError: unknown name, a size that the network cannot have, or a callable that does not do this.
    """
    if ":" in name:
        return _imported_backbone(name, size, embedding_size)
    if name == ONNX:
        raise UserError(f"backbone {ONNX} without a file; name the ONNX file with --teacher or --init-from")
    if name not in BACKBONES:
        raise UserError(f"no backbone {name!r}; choose one of {', '.join(BACKBONES)}, or package.module:callable")
    if size < _REDUCTION or size % _REDUCTION:
        raise UserError(f"faces of {size} pixels for {name}; the size must be a multiple of {_REDUCTION}")
    return BACKBONES[name](name, size, embedding_size)


def fitting_backbone(name: str, size: int, embedding_size: int, state: Mapping[str, Any]) -> nn.Module:
    """Build a backbone with the weights of a file, from what the file says of it.

    Args:
        name: as of `build_backbone`.
        size: side of the input in pixels.
        embedding_size: length of the embedding.
        state: state dict of the network.

    Raises:
        UserError: unknown name, or a size that the network cannot have.
        ValueError: the state dict is not that of this network; its message is one line.
    """
    if name == ONNX:
        return OnnxNetwork.from_state(state)
    try:
        if ":" not in name:
            # Without memory first: a network that a damaged file asks for may be larger than the machine.
            with torch.device("meta"):
                build_backbone(name, size, embedding_size).load_state_dict(state, assign=True)
        network = build_backbone(name, size, embedding_size)
        network.load_state_dict(state)
    except (RuntimeError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise ValueError(first_line(error)) from error
    return network


def named_with_points(name: str) -> bool:
    """Tell whether a network of a name in `BACKBONES` takes the face's five points beside its picture."""
    return name in KEYPOINT_TRANSFORMERS


def takes_points(network: nn.Module) -> bool:
    """Tell whether a network, perhaps compiled or data-parallel, takes the face's five points beside its picture."""
    return bool(getattr(_inner(network), "takes_points", False))


def draws_taken(network: nn.Module) -> int:
    """Return how many random numbers a network, perhaps compiled or data-parallel, takes for a picture in training."""
    return int(getattr(_inner(network), "draws", 0))


def _inner(network: nn.Module) -> nn.Module:
    return network.module if isinstance(network, DistributedDataParallel) else network


def leave_out(network: nn.Module, model: Model) -> None:
    """Let a network leave out in training what the settings say.

    Raises:
        UserError: the network is no transformer that can.
    """
    dropping = Dropping(model.dropped_paths, model.masked_patches)
    if dropping == Dropping():
        return
    if not isinstance(network, PatchTransformer):
        name = "dropped_paths" if dropping.paths else "masked_patches"
        raise UserError(
            f"model.{name} {getattr(model, name)} for {model.backbone}, which cannot leave them out; give 0, or take a "
            "vision transformer such as vit_s"
        )
    network.drop(dropping)


def blank_input(network: nn.Module, number: int, size: int) -> tuple[Tensor, ...]:
    """Return grey pictures (number, 3, size, size), and points (number, 5, 2) for a network that takes them."""
    pictures = torch.zeros(number, 3, size, size)
    return (pictures, torch.zeros(number, 5, 2)) if takes_points(network) else (pictures,)


def channels_last(network: NetworkT) -> NetworkT:
    """Lay out a network's weights with channels last, which its convolutions run faster with."""
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _imported_backbone(path: str, size: int, embedding_size: int) -> nn.Module:
    """Build a backbone with a callable named by its import path, and see that it gives embeddings."""
    build = imported(path, "backbone")
    try:
        inspect.signature(build).bind(size=size, embedding_size=embedding_size)
    except (TypeError, ValueError) as error:
        raise UserError(f"backbone {path} takes no keyword arguments size and embedding_size: {error}") from error
    network = build(size=size, embedding_size=embedding_size)
    if not isinstance(network, nn.Module):
        raise UserError(f"backbone {path} returned a {type(network).__name__}; expected a torch.nn.Module")
    training = network.training
    try:
        with torch.no_grad():
            found = tuple(network.eval()(*blank_input(network, 1, size)).shape)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"backbone {path} does not take pictures of {size} x {size}: {error}") from error
    if found != (1, embedding_size):
        raise UserError(f"backbone {path} gives {found} for one picture; expected (1, {embedding_size})")
    return network.train(training)
