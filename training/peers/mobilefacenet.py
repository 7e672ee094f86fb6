"""MobileFaceNet as arcface_torch builds it (`mbf`, `mbf_large`), with the keys of its files.

After Chen et al., 2018 ("MobileFaceNets"), twice or four times as wide as published.
"""

from torch import Tensor, nn

MOBILEFACENETS = {"mbf": ((1, 4, 6, 2), 2), "mbf_large": ((2, 8, 12, 4), 4)}
"""Blocks in each of the four stages, and the width as a factor of the published one."""


class _ConvBlock(nn.Module):
    """Convolution - BN - PReLU; a linear block has no PReLU."""

    def __init__(
        self, channels: int, width: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        padding = 1 if kernel == 3 else 0
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(width),
            *([] if linear else [nn.PReLU(width)]),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H / stride, W / stride)."""
        out: Tensor = self.layers(x)
        return out


class _DepthWise(nn.Module):
    """1 x 1 - depthwise 3 x 3 (stride) - linear 1 x 1, added to the input where the stride is 1."""

    def __init__(self, channels: int, width: int, groups: int, stride: int) -> None:
        super().__init__()
        self.residual = stride == 1
        self.layers = nn.Sequential(
            _ConvBlock(channels, groups, 1),
            _ConvBlock(groups, groups, 3, stride, groups),
            _ConvBlock(groups, width, 1, linear=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H / stride, W / stride)."""
        out: Tensor = self.layers(x)
        return x + out if self.residual else out


class _Residual(nn.Module):
    def __init__(self, channels: int, number: int, groups: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(_DepthWise(channels, channels, groups, 1) for _ in range(number)))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class _GlobalDepthWise(nn.Module):
    """A depthwise convolution over the whole map, a linear layer and BN."""

    def __init__(self, side: int, embedding_size: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            _ConvBlock(512, 512, side, groups=512, linear=True),
            nn.Flatten(),
            nn.Linear(512, embedding_size, bias=False),
            nn.BatchNorm1d(embedding_size),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


class MobileFaceNet(nn.Module):
    """Four stages of depthwise blocks, and an embedding by a depthwise convolution over the whole map."""

    def __init__(self, blocks: tuple[int, ...], scale: int, size: int, embedding_size: int) -> None:
        super().__init__()
        narrow, wide = 64 * scale, 128 * scale
        first = _ConvBlock(narrow, narrow, 3, groups=64) if blocks[0] == 1 else _Residual(narrow, blocks[0], 128)
        self.layers = nn.ModuleList(
            [
                _ConvBlock(3, narrow, 3, 2),
                first,
                _DepthWise(narrow, narrow, 128, 2),
                _Residual(narrow, blocks[1], 128),
                _DepthWise(narrow, wide, 256, 2),
                _Residual(wide, blocks[2], 256),
                _DepthWise(wide, wide, 512, 2),
                _Residual(wide, blocks[3], 256),
            ]
        )
        self.conv_sep = _ConvBlock(wide, 512, 1)
        self.features = _GlobalDepthWise(size // 16, embedding_size)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D)."""
        for layer in self.layers:
            x = layer(x)
        out: Tensor = self.features(self.conv_sep(x))
        return out


def build_mobilefacenet(name: str, size: int, embedding_size: int) -> nn.Module:
    """Build a MobileFaceNet: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `MOBILEFACENETS`.
        size: side of the input in pixels, a multiple of 16; 112 in the files.
        embedding_size: length of the embedding.
    """
    blocks, scale = MOBILEFACENETS[name]
    return MobileFaceNet(blocks, scale, size, embedding_size)
