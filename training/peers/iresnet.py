"""IResNet, the residual network of arcface_torch, with the keys of its files (`backbone.pth`, `model.pt`)."""

from torch import Tensor, nn

IRESNET_UNITS = {
    "iresnet18": (2, 2, 2, 2),
    "iresnet34": (3, 4, 6, 3),
    "iresnet50": (3, 4, 14, 3),
    "iresnet100": (3, 13, 30, 3),
    "iresnet200": (6, 26, 60, 6),
}
"""Units in each of the four stages."""

_WIDTHS = (64, 128, 256, 512)


class IResNetUnit(nn.Module):
    """BN - 3 x 3 - BN - PReLU - 3 x 3 (stride) - BN, added to the input."""

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample: nn.Module | None = None
        if stride > 1 or channels != width:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H / stride, W / stride)."""
        residual = self.bn3(self.conv2(self.prelu(self.bn2(self.conv1(self.bn1(x))))))
        out: Tensor = residual + (x if self.downsample is None else self.downsample(x))
        return out


class IResNet(nn.Module):
    """A stem, four stages and a linear embedding between two batch norms.

    The dropout before the embedding, which arcface_torch sets to 0 in its recipes, is left out.
    """

    def __init__(self, units: tuple[int, ...], size: int, embedding_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _WIDTHS[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(_WIDTHS[0])
        self.prelu = nn.PReLU(_WIDTHS[0])
        channels = _WIDTHS[0]
        for stage, (width, number) in enumerate(zip(_WIDTHS, units, strict=True), start=1):
            layers = []
            for unit in range(number):
                layers.append(IResNetUnit(channels, width, 1 if unit else 2))
                channels = width
            self.add_module(f"layer{stage}", nn.Sequential(*layers))
        self.bn2 = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels * (size // 16) ** 2, embedding_size)
        self.features = nn.BatchNorm1d(embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D)."""
        x = self.prelu(self.bn1(self.conv1(x)))
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        # (N, 512, S / 16, S / 16) -> (N, 512 (S / 16)^2)
        out: Tensor = self.features(self.fc(self.bn2(x).flatten(1)))
        return out


def build_iresnet(name: str, size: int, embedding_size: int) -> nn.Module:
    """Build an IResNet: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `IRESNET_UNITS`.
        size: side of the input in pixels, a multiple of 16; 112 in the files.
        embedding_size: length of the embedding.
    """
    return IResNet(IRESNET_UNITS[name], size, embedding_size)
