"""LoRA as an optimiser, held to torch's own parametrisation under torch's own AdamW."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from training.engine.low_rank import LowRankAdamW
from training.engine.optimizer import build_optimizer
from training.engine.step import Learner, build_learner
from training.settings.config import Optimizer
from training.settings.recipes import TINY


class LowRank(nn.Module):
    def __init__(self, weight: Tensor, down: Tensor) -> None:
        super().__init__()
        self.down = nn.Parameter(down.clone())
        self.up = nn.Parameter(weight.new_zeros(len(weight), len(down)))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + (self.up @ self.down).view(weight.shape)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    layers = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.PReLU(6), nn.Conv2d(6, 6, 3, groups=6), nn.Flatten(), nn.Linear(96, 5)
    )
    return layers.double()


def train(layers: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
    for step in steps:
        pictures = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
        optimizer.zero_grad()
        layers(pictures).square().mean().backward()
        optimizer.step()


def test_it_is_the_parametrisation_that_torch_has() -> None:
    ours, theirs = network(), network()
    optimizer = LowRankAdamW([{"params": list(ours.parameters())}], list(ours.parameters()), 2, 0.01, 0.1)
    begin = copy.deepcopy(ours.state_dict())
    train(ours, optimizer, range(1))
    theirs.requires_grad_(False)
    factors: list[nn.Parameter] = []
    for layer, parameter in ((theirs[place], ours[place].weight) for place in (0, 2, 4)):
        fresh = optimizer._begun(parameter, [id(one) for one in ours.parameters()].index(id(parameter)))
        low_rank = LowRank(layer.weight, fresh["down"])
        parametrize.register_parametrization(layer, "weight", low_rank)
        factors += [low_rank.up, low_rank.down]
    assert [tuple(one.shape) for one in factors] == [(6, 2), (2, 27), (6, 2), (2, 9), (5, 2), (2, 96)]
    reference = torch.optim.AdamW(factors, lr=0.01, weight_decay=0.1)
    train(theirs, reference, range(6))
    train(ours, optimizer, range(1, 6))
    for place in (0, 2, 4):
        torch.testing.assert_close(ours[place].weight, theirs[place].weight, rtol=0, atol=1e-12)
        assert not torch.equal(ours[place].weight, begin[f"{place}.weight"])
        assert torch.equal(ours[place].bias, begin[f"{place}.bias"])
    assert torch.equal(ours[1].weight, begin["1.weight"])


def test_it_continues_from_its_state() -> None:
    def optimizer(layers: nn.Module) -> LowRankAdamW:
        return LowRankAdamW([{"params": list(layers.parameters())}], list(layers.parameters()), 4, 0.01, 0.0)

    whole, first, second = network(), network(), network()
    train(whole, optimizer(whole), range(6))
    train(first, stopped := optimizer(first), range(3))
    second.load_state_dict(first.state_dict())
    resumed = optimizer(second)
    resumed.load_state_dict(copy.deepcopy(stopped.state_dict()))
    train(second, resumed, range(3, 6))
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


@pytest.mark.parametrize("backbone_rate", [1.0, 0.1])
def test_a_head_moves_in_full(backbone_rate: float) -> None:
    learner: Learner = build_learner(TINY, 5)
    settings = Optimizer(name="lora", rank=1, learning_rate=0.01, weight_decay=0.0, backbone_rate=backbone_rate)
    optimizer = build_optimizer(settings, learner)
    before = {name: value.clone() for name, value in learner.named_parameters()}
    for parameter in learner.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
    optimizer.step()
    for name, value in learner.named_parameters():
        moved = (value - before[name]).detach()
        if name.startswith("head."):
            assert moved.ndim < 2 or torch.linalg.matrix_rank(moved) > 1
            assert bool((moved != 0).all())
        elif moved.ndim < 2:
            assert not moved.any()
        else:
            assert torch.linalg.matrix_rank(moved.flatten(1), rtol=1e-4) == 1
