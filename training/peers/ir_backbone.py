"""The IR and IR-SE networks of AdaFace, CVLface and face.evoLVe, with the keys of their files.

AdaFace and CVLface normalise between the two convolutions of a unit, do not learn the scale of the last batch norm, and
build 152 and 200 of bottlenecks; face.evoLVe does none of the three.
"""

from torch import Tensor, nn

IR_BACKBONE_UNITS = {
    "18": (2, 2, 2, 2),
    "34": (3, 4, 6, 3),
    "50": (3, 4, 14, 3),
    "101": (3, 13, 30, 3),
    "152": (3, 8, 36, 3),
    "200": (3, 24, 36, 3),
}
"""Units in each of the four stages, by the number in the name; 101 has 100 layers, as its projects call it."""

IR_BACKBONE_NAMES = tuple(
    f"{project}-{kind}{layers}"
    for project in ("adaface", "evolve")
    for kind in ("ir", "irse")
    for layers in IR_BACKBONE_UNITS
)

_BOTTLENECKS = ("152", "200")
_SQUEEZE = 16


class _SqueezeExcitation(nn.Module):
    """Multiplies every channel by a number in 0..1 that the means of all channels give."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _SQUEEZE, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, H, W)."""
        weights = self.fc2(self.fc1(x.mean((2, 3), keepdim=True)).relu()).sigmoid()
        out: Tensor = x * weights
        return out


class _Unit(nn.Module):
    """The residual layers of a unit, added to its input."""

    def __init__(self, channels: int, width: int, stride: int, layers: nn.Sequential) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = nn.MaxPool2d(1, stride)
        if channels != width:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width)
            )
        self.res_layer = layers

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, width, H / stride, W / stride)."""
        out: Tensor = self.res_layer(x) + self.shortcut_layer(x)
        return out


class IRBackbone(nn.Module):
    """A stem, units and a linear embedding between two batch norms; without dropout."""

    def __init__(self, name: str, size: int, embedding_size: int) -> None:
        super().__init__()
        project, kind = name.split("-")
        layers = _layers(name)
        adaface, squeeze = project == "adaface", kind.startswith("irse")
        bottleneck = adaface and layers in _BOTTLENECKS
        self.input_layer = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64))
        units: list[nn.Module] = []
        channels = 64
        for width, number in zip((64, 128, 256, 512), IR_BACKBONE_UNITS[layers], strict=True):
            wide = width * 4 if bottleneck else width
            for unit in range(number):
                stride = 1 if unit else 2
                if bottleneck:
                    residual = _bottleneck(channels, width, stride)
                else:
                    residual = _basic(channels, width, stride, normalised=adaface)
                if squeeze:
                    residual.add_module("se_block" if adaface else str(len(residual)), _SqueezeExcitation(wide))
                units.append(_Unit(channels, wide, stride, residual))
                channels = wide
        self.body = nn.Sequential(*units)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Identity(),  # the place of the dropout, which has no key
            nn.Flatten(),
            nn.Linear(channels * (size // 16) ** 2, embedding_size),
            nn.BatchNorm1d(embedding_size, affine=not adaface),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D), not normalised."""
        out: Tensor = self.output_layer(self.body(self.input_layer(x)))
        return out


def ir_backbone_units(name: str) -> tuple[int, ...]:
    """Return the units in each of the four stages of a network in `IR_BACKBONE_NAMES`."""
    return IR_BACKBONE_UNITS[_layers(name)]


def build_ir_backbone(name: str, size: int, embedding_size: int) -> nn.Module:
    """Build an IR or IR-SE network of AdaFace or face.evoLVe: (N, 3, size, size) -> (N, embedding_size).

    Args:
        name: a name in `IR_BACKBONE_NAMES`; CVLface's networks are AdaFace's.
        size: side of the input in pixels, a multiple of 16; 112 in the files.
        embedding_size: length of the embedding.
    """
    return IRBackbone(name, size, embedding_size)


def _layers(name: str) -> str:
    return name.split("-")[1].removeprefix("irse").removeprefix("ir")


def _basic(channels: int, width: int, stride: int, normalised: bool) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, width, 3, padding=1, bias=False),
        *([nn.BatchNorm2d(width)] if normalised else []),
        nn.PReLU(width),
        nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False),
        nn.BatchNorm2d(width),
    )


def _bottleneck(channels: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.PReLU(width),
        nn.Conv2d(width, width, 3, padding=1, bias=False),
        nn.BatchNorm2d(width),
        nn.PReLU(width),
        nn.Conv2d(width, width * 4, 1, stride=stride, bias=False),
        nn.BatchNorm2d(width * 4),
    )
