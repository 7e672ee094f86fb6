"""InceptionResnetV1 as facenet-pytorch builds it, with the keys of its files.

After Szegedy et al., 2017 (Inception-ResNet-v1). Its dropout and its classification layer are left out.
"""

import torch
from torch import Tensor, nn

from shards.command import UserError

INCEPTION_RESNETS = ("inception_resnet_v1",)

_EPS = 1e-3
_SMALLEST = 80


class _Conv(nn.Module):
    """Convolution - BN - ReLU."""

    def __init__(
        self, channels: int, width: int, kernel: int | tuple[int, int], stride: int = 1, same: bool = False
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(channels, width, sides, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, ...)."""
        out: Tensor = self.bn(self.conv(x)).relu()
        return out


class _Branches(nn.Module):
    """Branches side by side, their channels one after another; keys `branch0`, `branch1`, ..."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self._number = len(branches)
        for number, branch in enumerate(branches):
            self.add_module(f"branch{number}", branch)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, sum of the branches' channels, ...)."""
        return torch.cat([self.get_submodule(f"branch{number}")(x) for number in range(self._number)], 1)


class _Residual(_Branches):
    """Branches, a 1 x 1 convolution and a factor, added to the input."""

    def __init__(self, scale: float, activated: bool, width: int, channels: int, *branches: nn.Module) -> None:
        super().__init__(*branches)
        self._scale, self._activated = scale, activated
        self.conv2d = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        out: Tensor = self.conv2d(super().forward(x)) * self._scale + x
        return out.relu() if self._activated else out


def _block35() -> nn.Module:
    return _Residual(
        0.17,
        True,
        96,
        256,
        _Conv(256, 32, 1),
        nn.Sequential(_Conv(256, 32, 1), _Conv(32, 32, 3, same=True)),
        nn.Sequential(_Conv(256, 32, 1), _Conv(32, 32, 3, same=True), _Conv(32, 32, 3, same=True)),
    )


def _block17() -> nn.Module:
    seven = nn.Sequential(_Conv(896, 128, 1), _Conv(128, 128, (1, 7), same=True), _Conv(128, 128, (7, 1), same=True))
    return _Residual(0.10, True, 256, 896, _Conv(896, 128, 1), seven)


def _block8(scale: float, activated: bool) -> nn.Module:
    three = nn.Sequential(_Conv(1792, 192, 1), _Conv(192, 192, (1, 3), same=True), _Conv(192, 192, (3, 1), same=True))
    return _Residual(scale, activated, 384, 1792, _Conv(1792, 192, 1), three)


class InceptionResnetV1(nn.Module):
    """The network of facenet-pytorch; its embedding is divided by its length, as there."""

    def __init__(self, embedding_size: int) -> None:
        super().__init__()
        self.conv2d_1a = _Conv(3, 32, 3, 2)
        self.conv2d_2a = _Conv(32, 32, 3)
        self.conv2d_2b = _Conv(32, 64, 3, same=True)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = _Conv(64, 80, 1)
        self.conv2d_4a = _Conv(80, 192, 3)
        self.conv2d_4b = _Conv(192, 256, 3, 2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = _Branches(
            _Conv(256, 384, 3, 2),
            nn.Sequential(_Conv(256, 192, 1), _Conv(192, 192, 3, same=True), _Conv(192, 256, 3, 2)),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = _Branches(
            nn.Sequential(_Conv(896, 256, 1), _Conv(256, 384, 3, 2)),
            nn.Sequential(_Conv(896, 256, 1), _Conv(256, 256, 3, 2)),
            nn.Sequential(_Conv(896, 256, 1), _Conv(256, 256, 3, same=True), _Conv(256, 256, 3, 2)),
            nn.MaxPool2d(3, stride=2),
        )
        self.repeat_3 = nn.Sequential(*(_block8(0.20, True) for _ in range(5)))
        self.block8 = _block8(1.0, False)
        self.avgpool_1a = nn.AdaptiveAvgPool2d(1)
        self.last_linear = nn.Linear(1792, embedding_size, bias=False)
        self.last_bn = nn.BatchNorm1d(embedding_size, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D) of length 1."""
        # In the order in which they were added; the last two see a vector.
        *maps, linear, norm = self.children()
        for layer in maps:
            x = layer(x)
        return nn.functional.normalize(norm(linear(x.flatten(1))))


def build_inception_resnet(name: str, size: int, embedding_size: int) -> nn.Module:
    """Build an InceptionResnetV1: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: the one in `INCEPTION_RESNETS`.
        size: side of the input in pixels, at least 80; 160 in the files.
        embedding_size: length of the embedding.

    Raises:
        UserError: smaller pictures, of which nothing would be left.
    """
    if size < _SMALLEST:
        raise UserError(f"faces of {size} pixels for {name}; the size must be at least {_SMALLEST}")
    return InceptionResnetV1(embedding_size)
