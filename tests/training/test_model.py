"""SphereNet: the published sizes, and the authors' state dicts under any numbering."""

import pytest
import torch
from torch import nn

from shards.command import UserError
from training.model import SPHERENET_UNITS, build_backbone, load_flat_spherenet


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
        build_backbone("spherenet4", 100)
