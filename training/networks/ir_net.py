"""IR and IR-SE networks: the improved residual networks of face recognition.

After Deng et al., 2019 ("ArcFace", section 3.2.2): a 3 x 3 stem of stride 1 with batch norm and PReLU, four stages of
64, 128, 256 and 512 channels of which each halves the map in its first unit, and units BN - 3 x 3 - BN - PReLU -
3 x 3 (stride) - BN added to the input. IR-SE weighs the channels of every unit by squeeze and excitation (Hu et al.,
2018), reduced 16 times. The names are those in use: 101 has 100 layers, as the paper calls it, and 152 has the units
of ResNet-152, which with two convolutions each make 102 layers.

At 112 x 112 ir50 has 43.6 and ir101 65.2 million parameters, as published. The weights start as PyTorch initialises
them. The paper keeps the scale of the last batch norm at 1; here it is learnt.
"""

from torch import Tensor, nn

IR_UNITS = {"50": (3, 4, 14, 3), "101": (3, 13, 30, 3), "152": (3, 8, 36, 3)}
"""Units in each of the four stages, by the number in the name."""

IR_NAMES = tuple(f"{kind}{layers}" for kind in ("ir", "irse") for layers in IR_UNITS)

_WIDTHS = (64, 128, 256, 512)
_SQUEEZE = 16


class SqueezeExcitation(nn.Module):
    """Multiplies every channel by a number in 0..1 that the means of all channels give."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weights = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(channels, channels // _SQUEEZE, 1, bias=False),
            nn.ReLU(inplace=True),
            nn.Conv2d(channels // _SQUEEZE, channels, 1, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        out: Tensor = x * self.weights(x)
        return out


class IRUnit(nn.Module):
    """BN - conv - BN - PReLU - conv (stride) - BN (- squeeze and excitation), added to the input."""

    def __init__(self, channels: int, width: int, stride: int, squeeze: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.PReLU(width),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            *([SqueezeExcitation(width)] if squeeze else []),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != width:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H / stride, W / stride)."""
        out: Tensor = self.residual(x) + self.shortcut(x)
        return out


def build_ir_net(name: str, size: int, embedding_size: int) -> nn.Sequential:
    """Build an IR or IR-SE network: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `IR_NAMES`.
        size: side of the input in pixels, a multiple of 16.
        embedding_size: length of the embedding.
    """
    squeeze = name.startswith("irse")
    layers: list[nn.Module] = [
        nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(_WIDTHS[0]),
        nn.PReLU(_WIDTHS[0]),
    ]
    channels = _WIDTHS[0]
    for width, units in zip(_WIDTHS, IR_UNITS[name.removeprefix("irse").removeprefix("ir")], strict=True):
        for unit in range(units):
            layers.append(IRUnit(channels, width, 1 if unit else 2, squeeze))
            channels = width
    return nn.Sequential(nn.Sequential(*layers), embedding_output(channels, size // 16, embedding_size))


def embedding_output(channels: int, side: int, embedding_size: int) -> nn.Sequential:
    """Return BN - flatten - linear - BN: (N, channels, side, side) -> (N, embedding_size).

    The output of Deng et al., 2019, section 3.2.2 ("option E"), which keeps the places of the map where an average
    over it would not: in an aligned face they mean something. Its dropout is left out: what is dropped would depend on
    the number of processes.

    Args:
        channels: of the feature map.
        side: of the feature map, in cells.
        embedding_size: length of the embedding.
    """
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Flatten(),
        nn.Linear(channels * side * side, embedding_size),
        nn.BatchNorm1d(embedding_size),
    )
