"""Backbones: the published sizes and units, import paths, and the authors' state dicts under any numbering."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shards.command import UserError
from training.networks.backbones import BACKBONES, build_backbone
from training.networks.ir_net import IRUnit, SqueezeExcitation
from training.networks.resnet import Bottleneck, resnet_trunk
from training.networks.spherenet import SPHERENET_UNITS, load_flat_spherenet
from training.peers.state_dicts import PEER_BACKBONES


def test_the_published_number_of_parameters() -> None:
    with torch.device("meta"):
        network = build_backbone("spherenet20", 128)
    assert sum(p.numel() for p in network.parameters()) == 28_437_824


@pytest.mark.parametrize(("name", "layers"), [("spherenet4", 4), ("spherenet10", 10), ("spherenet36", 36)])
def test_the_name_counts_the_convolutions(name: str, layers: int) -> None:
    with torch.device("meta"):
        network = build_backbone(name, 112)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == layers


def test_the_embedding_has_no_normalisation() -> None:
    network = build_backbone("spherenet4", 32, 64)
    pictures = torch.rand(2, 3, 32, 32) * 2 - 1
    embeddings = network(pictures)
    assert embeddings.shape == (2, 64)
    with torch.no_grad():
        network[-1].weight *= 2  # type: ignore[union-attr,operator]
        network[-1].bias *= 2  # type: ignore[union-attr,operator]
    torch.testing.assert_close(network(pictures), 2 * embeddings)


class Unit(nn.Module):
    """A residual unit written here anew."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.resblock = nn.Sequential(nn.Conv2d(c, c, 3, 1, 1), nn.PReLU(c), nn.Conv2d(c, c, 3, 1, 1), nn.PReLU(c))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.resblock(x) + x


def flat(units: tuple[int, ...], size: int, empty_stages: bool) -> nn.Sequential:
    """The authors' layout, with or without a place for stages that have no units."""
    layers: list[nn.Module] = []
    channels = 3
    for width, count in zip((64, 128, 256, 512), units, strict=True):
        layers += [nn.Conv2d(channels, width, 3, 2, 1), nn.PReLU(width)]
        if count or empty_stages:
            layers.append(nn.Sequential(*[Unit(width) for _ in range(count)]))
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(512 * (size // 16) ** 2, 512))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["spherenet4", "spherenet10", "spherenet20"])
@pytest.mark.parametrize("empty_stages", [False, True])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_state_dicts_of_the_flat_sequential_load(name: str, empty_stages: bool, prefix: str) -> None:
    torch.manual_seed(0)
    theirs = flat(SPHERENET_UNITS[name], 48, empty_stages)
    for parameter in theirs.parameters():
        parameter.data += 0.01 * torch.randn_like(parameter)
    state = {prefix + key: value for key, value in theirs.state_dict().items()}
    found, size, ours = load_flat_spherenet(state)
    assert (found, size) == (name, 48)
    pictures = torch.rand(2, 3, 48, 48) * 2 - 1
    torch.testing.assert_close(ours(pictures), theirs(pictures), atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"0.weight": torch.zeros(64, 3, 3, 3)},
        {"conv.weight": torch.zeros(3)},
        {**flat((0, 0, 0, 0), 32, False).state_dict(), "9.weight": torch.zeros(512, 100)},
    ],
)
def test_other_state_dicts_are_refused(state: dict) -> None:
    with pytest.raises(ValueError, match=r"SphereNet|shapes"):
        load_flat_spherenet(state)


def test_unknown_names_and_sizes_are_refused() -> None:
    with pytest.raises(UserError, match="choose one of spherenet4"):
        build_backbone("resnet", 128)
    with pytest.raises(UserError, match="multiple of 16"):
        build_backbone("ir50", 40)
    with pytest.raises(UserError, match="multiple of 16"):
        build_backbone("spherenet4", 100)


@pytest.mark.parametrize(
    ("name", "parameters"), [("resnet50", 23_508_032), ("resnet101", 42_500_160), ("resnet152", 58_143_808)]
)
def test_the_published_numbers_of_parameters_of_resnet_trunks(name: str, parameters: int) -> None:
    """Those of the networks for ImageNet, without their last linear layer of 1000 x 2048 + 1000."""
    with torch.device("meta"):
        assert sum(p.numel() for p in resnet_trunk(name).parameters()) == parameters


@pytest.mark.parametrize(("name", "millions"), [("ir50", 43.59), ("ir101", 65.16)])
def test_the_published_numbers_of_parameters_of_ir_networks(name: str, millions: float) -> None:
    with torch.device("meta"):
        network = build_backbone(name, 112)
    assert round(sum(p.numel() for p in network.parameters()) / 1e6, 2) == millions


@pytest.mark.parametrize(
    ("name", "expected"),
    [("resnet50", 50), ("resnet101", 101), ("resnet152", 152), ("ir50", 50), ("irse101", 100), ("ir152", 102)],
)
def test_the_layers_are_as_many_as_documented(name: str, expected: int) -> None:
    with torch.device("meta"):
        network = build_backbone(name, 32)
    layers = [
        path
        for path, module in network.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear) and "shortcut" not in path and ".weights." not in path
    ]
    assert len(layers) == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "size"),
    [
        *((name, 16) for name in BACKBONES if name not in PEER_BACKBONES),
        *((smallest, 112) for smallest in ("spherenet4", "resnet50", "ir50", "irse50")),
    ],
)
def test_every_backbone_takes_every_multiple_of_sixteen(name: str, size: int) -> None:
    with torch.device("meta"):
        network = build_backbone(name, size, 64).eval()
        assert network(torch.empty(2, 3, size, size)).shape == (2, 64)


def norm(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    """Batch norm in evaluation mode, written out."""
    assert isinstance(layer, nn.BatchNorm2d)
    mean, variance = layer.running_mean, layer.running_var
    assert mean is not None
    assert variance is not None
    by = [value[:, None, None] for value in (mean, variance, layer.weight, layer.bias)]
    return (x - by[0]) / (by[1] + 1e-5).sqrt() * by[2] + by[3]


def shaken(unit: nn.Module) -> nn.Module:
    """The unit in evaluation mode, with weights and statistics that no layer could be left out for."""
    for name, value in unit.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.rand_like(value) + (0.5 if "running" in name else -0.4))
    return unit.eval()


@pytest.mark.parametrize("squeeze", [False, True])
@pytest.mark.parametrize(("channels", "width", "stride"), [(32, 32, 1), (16, 32, 2), (32, 32, 2)])
def test_the_ir_unit_is_that_of_the_paper(channels: int, width: int, stride: int, squeeze: bool) -> None:
    torch.manual_seed(0)
    unit = shaken(IRUnit(channels, width, stride, squeeze).double())
    x = torch.randn(2, channels, 8, 8, dtype=torch.float64)
    assert isinstance(unit.residual, nn.Sequential)
    layers = list(unit.residual)
    y = F.conv2d(norm(x, layers[0]), layers[1].weight, padding=1)
    y = F.prelu(norm(y, layers[2]), layers[3].weight)
    y = norm(F.conv2d(y, layers[4].weight, padding=1, stride=stride), layers[5])
    if squeeze:
        assert isinstance(layers[6], SqueezeExcitation)
        first, second = (m.weight for m in layers[6].modules() if isinstance(m, nn.Conv2d))
        hidden = torch.einsum("oc,nc->no", first[:, :, 0, 0], y.mean((2, 3))).relu()
        y = y * torch.einsum("oc,nc->no", second[:, :, 0, 0], hidden).sigmoid()[:, :, None, None]
    short = x
    if stride > 1 or channels != width:
        assert isinstance(unit.shortcut, nn.Sequential)
        short = norm(F.conv2d(x, unit.shortcut[0].weight, stride=stride), unit.shortcut[1])
    torch.testing.assert_close(unit(x), y + short)


@pytest.mark.parametrize(("channels", "width", "stride"), [(32, 8, 1), (16, 8, 1), (32, 16, 2)])
def test_the_bottleneck_is_that_of_the_paper(channels: int, width: int, stride: int) -> None:
    torch.manual_seed(0)
    unit = shaken(Bottleneck(channels, width, stride).double())
    x = torch.randn(2, channels, 8, 8, dtype=torch.float64)
    assert isinstance(unit.residual, nn.Sequential)
    layers = list(unit.residual)
    y = norm(F.conv2d(x, layers[0].weight), layers[1]).relu()
    y = norm(F.conv2d(y, layers[3].weight, padding=1, stride=stride), layers[4]).relu()
    y = norm(F.conv2d(y, layers[6].weight), layers[7])
    short = x
    if stride > 1 or channels != 4 * width:
        assert isinstance(unit.shortcut, nn.Sequential)
        short = norm(F.conv2d(x, unit.shortcut[0].weight, stride=stride), unit.shortcut[1])
    torch.testing.assert_close(unit(x), (y + short).relu())


THEIR_MODULE = """
from torch import nn

def linear(size, embedding_size=512):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, embedding_size))

def normed(*, size, embedding_size):
    return nn.Sequential(linear(size, embedding_size), nn.BatchNorm1d(embedding_size))

def short(size, embedding_size):
    return linear(size, 3)

def picky(size, embedding_size):
    return linear(size + 1, embedding_size)

def nothing(size, embedding_size):
    return None

def other(width):
    return None

number = 3
"""


@pytest.fixture
def their_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "their_networks.py").write_text(THEIR_MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    return "their_networks"


@pytest.mark.parametrize("name", ["linear", "normed"])
def test_a_callable_named_by_its_import_path_builds_a_backbone(their_module: str, name: str) -> None:
    network = build_backbone(f"{their_module}:{name}", 20, 8)
    assert network.training
    assert network(torch.zeros(2, 3, 20, 20)).shape == (2, 8)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module:thing", "No module named 'no_such_module'"),
        ("their_networks:missing", "no callable missing"),
        ("their_networks:number", "no callable number"),
        ("their_networks:other", "takes no keyword arguments size and embedding_size"),
        ("their_networks:nothing", "returned a NoneType"),
        ("their_networks:short", r"gives \(1, 3\) for one picture; expected \(1, 8\)"),
        ("their_networks:picky", "does not take pictures of 20 x 20"),
        ("their_networks:linear()", "looks like package.module:callable"),
        (":linear", "looks like"),
    ],
)
def test_import_paths_that_lead_nowhere_are_refused(their_module: str, path: str, message: str) -> None:
    assert their_module
    with pytest.raises(UserError, match=message):
        build_backbone(path, 20, 8)
