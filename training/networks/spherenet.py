"""SphereNet as the published method uses it.

The layers form one flat `nn.Sequential`, as in the authors' release, so that its state dicts load here
(Lai and Lam, 2021; the architecture is that of SphereFace, Liu et al., 2017, table 2).
"""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

STAGE_CHANNELS = (64, 128, 256, 512)
SPHERENET_UNITS = {
    "spherenet4": (0, 0, 0, 0),
    "spherenet10": (0, 1, 2, 0),
    "spherenet20": (1, 2, 4, 1),
    "spherenet36": (2, 4, 8, 2),
    "spherenet64": (3, 8, 16, 3),
}
"""Residual units in each of the four stages."""

_REDUCTION = 2 ** len(STAGE_CHANNELS)


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions with PReLU, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.resblock = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.PReLU(channels),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.PReLU(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        out: Tensor = x + self.resblock(x)
        return out


def build_spherenet(name: str, size: int, embedding_size: int) -> nn.Sequential:
    """Build a SphereNet with PyTorch's own initialisation: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `SPHERENET_UNITS`.
        size: side of the input in pixels, a multiple of 16.
        embedding_size: length of the embedding.
    """
    layers: list[nn.Module] = []
    channels = 3
    for width, units in zip(STAGE_CHANNELS, SPHERENET_UNITS[name], strict=True):
        layers += [nn.Conv2d(channels, width, 3, stride=2, padding=1), nn.PReLU(width)]
        if units:
            layers.append(nn.Sequential(*(ResidualUnit(width) for _ in range(units))))
        channels = width
    # (N, 512, size/16, size/16) -> (N, 512 size/16 size/16)
    layers += [nn.Flatten(), nn.Linear(channels * (size // _REDUCTION) ** 2, embedding_size)]
    return nn.Sequential(*layers)


def load_flat_spherenet(state: Mapping[str, Tensor]) -> tuple[str, int, nn.Sequential]:
    """Rebuild a SphereNet from a plain state dict of the authors' flat Sequential.

    Layers without parameters take a number in some releases and none in others, so that layers are
    recognised by their order and shapes, not by their numbers.

    Args:
        state: keys `0.weight`, `0.bias`, `1.weight`, `2.0.resblock.0.weight` and so on, with or without the
            prefix `module.` of data-parallel training.

    Returns:
        the backbone's name, its input size in pixels, and the network with the weights.

    Raises:
        ValueError: the state dict is no SphereNet.
    """
    if not all(isinstance(key, str) for key in state):
        raise ValueError("not all of its keys are text")
    if not all(value.is_floating_point() for value in state.values()):
        raise ValueError("not all of its numbers are real")
    layers = dict(_in_order({key.removeprefix("module."): value for key, value in state.items()}))
    units = tuple(
        len({key.split(".")[1] for key, value in layers.items() if _is_unit_of(key, value, width)})
        for width in STAGE_CHANNELS
    )
    name = next((known for known, counts in SPHERENET_UNITS.items() if counts == units), None)
    last = next((value for key, value in reversed(layers.items()) if key.endswith("weight")), None)
    if name is None or last is None or last.ndim != 2:
        raise ValueError(f"no SphereNet has units {units} in its stages and ends so")
    embedding_size, features = last.shape
    side = round((features / STAGE_CHANNELS[-1]) ** 0.5)
    with torch.device("meta"):
        network = build_spherenet(name, max(side, 1) * _REDUCTION, embedding_size)
    expected = network.state_dict()
    if [value.shape for value in expected.values()] != [value.shape for value in layers.values()]:
        raise ValueError(f"the shapes are not those of {name}")
    network.load_state_dict(dict(zip(expected, layers.values(), strict=True)), assign=True)
    return name, side * _REDUCTION, network


def _in_order(state: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
    """Yield the entries by the numbers in their keys, weight before bias."""

    def place(key: str) -> tuple[list[int], bool]:
        return [int(number) for number in re.findall(r"\d+", key)], key.endswith("bias")

    for key in state:
        if not re.fullmatch(r"\d+(\.\d+\.resblock\.\d+)?\.(weight|bias)", key):
            raise ValueError(f"key {key!r} is none of a flat SphereNet")
    yield from sorted(state.items(), key=lambda item: place(item[0]))


def _is_unit_of(key: str, value: Tensor, width: int) -> bool:
    """Tell whether an entry is the first convolution of a residual unit of some width."""
    return key.endswith("resblock.0.weight") and value.ndim == 4 and value.shape[0] == width
