"""ResNet-50, 101 and 152 with bottleneck units (He et al., 2016, table 1), with the output of face networks.

The trunk is the usual one: a 7 x 7 convolution of stride 2, a maximum over 3 x 3 of stride 2, then four stages whose
stride lies on the 3 x 3 convolution. It reduces 32 times, rounding up, and is left so at every size: of a face of 112
or 128 pixels remains a map of 4 x 4, of one of 32 or less a single cell. For faces so small the IR networks, which
begin at full size and reduce 16 times, keep more.

The weights start as PyTorch initialises them.
"""

from torch import Tensor, nn

from training.networks.ir_net import embedding_output

RESNET_UNITS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3), "resnet152": (3, 8, 36, 3)}
"""Bottleneck units in each of the four stages."""

_WIDTHS = (64, 128, 256, 512)
_EXPANSION = 4


class Bottleneck(nn.Module):
    """1 x 1, 3 x 3 and 1 x 1 convolutions, each with batch norm, added to the input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = _EXPANSION * width
        self.residual = nn.Sequential(
            nn.Conv2d(channels, width, 1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(inplace=True),
            nn.Conv2d(width, out, 1, bias=False),
            nn.BatchNorm2d(out),
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or channels != out:
            self.shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, 4 width, ceil(H / stride), ceil(W / stride))."""
        out: Tensor = self.activation(self.residual(x) + self.shortcut(x))
        return out


def resnet_trunk(name: str) -> nn.Sequential:
    """Return everything before the output: (N, 3, S, S) -> (N, 2048, ceil(S / 32), ceil(S / 32)).

    ResNet-50's has 23,508,032 parameters.
    """
    layers: list[nn.Module] = [
        nn.Conv2d(3, _WIDTHS[0], 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(_WIDTHS[0]),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]
    channels = _WIDTHS[0]
    for stage, (width, units) in enumerate(zip(_WIDTHS, RESNET_UNITS[name], strict=True)):
        for unit in range(units):
            layers.append(Bottleneck(channels, width, 2 if stage and not unit else 1))
            channels = _EXPANSION * width
    return nn.Sequential(*layers)


def build_resnet(name: str, size: int, embedding_size: int) -> nn.Sequential:
    """Build a ResNet: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `RESNET_UNITS`.
        size: side of the input in pixels.
        embedding_size: length of the embedding.
    """
    side = -(-size // 32)
    return nn.Sequential(resnet_trunk(name), embedding_output(_EXPANSION * _WIDTHS[-1], side, embedding_size))
