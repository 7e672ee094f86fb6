"""Learning rates over whole runs, gradients that are shortened, and weights without decay."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR, PolynomialLR

from shards.command import UserError
from shards.format import read_manifest
from tests.training.worlds import on_world, share
from training.engine.gradient_norm import clip_gradients
from training.engine.optimizer import build_optimizer, learning_rate, set_learning_rate
from training.engine.step import Learner
from training.objectives.heads import build_head
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import ALONE, World
from training.settings.config import Config, Head, Optimizer, refuse_changes
from training.settings.epochs import in_steps
from training.settings.recipes import TINY


def rates(settings: Optimizer, steps: int) -> list[float]:
    """The rates that an optimiser is given over a whole run."""
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    return [set_learning_rate(optimizer, settings, step, steps) for step in range(steps + 3)]


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize(("schedule", "power"), [("cosine", 1.0), ("polynomial", 1.0), ("polynomial", 2.5)])
def test_falling_rates_equal_pytorchs_own(schedule: str, power: float, warmup: int) -> None:
    settings = Optimizer(learning_rate=0.3, schedule=schedule, power=power, warmup_steps=warmup)  # type: ignore[arg-type]
    found, falling = rates(settings, 60), 60 - warmup
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = CosineAnnealingLR(optimizer, falling) if schedule == "cosine" else PolynomialLR(optimizer, falling, power)
    expected = [0.3 * step / warmup for step in range(warmup)]
    for _ in range(falling + 1):
        expected.append(theirs.get_last_lr()[0])
        optimizer.step()
        theirs.step()
    assert found[:61] == pytest.approx(expected, abs=1e-12)
    assert found[60:] == [0, 0, 0]


@pytest.mark.parametrize("warmup", [0, 9])
def test_the_polynomial_equals_the_recurrence_of_arcface_torch(warmup: int) -> None:
    """Its scheduler multiplies the rate of the step before; at step 0, before its first call, it has the full rate."""
    steps, base = 90, 0.1
    found, rate = rates(Optimizer(learning_rate=base, schedule="polynomial", warmup_steps=warmup), steps), base
    for step in range(1, steps + 1):
        if step <= warmup:
            rate = base * step / warmup
        else:
            rate *= (1 - (step - warmup) / (steps - warmup)) / (1 - (step - 1 - warmup) / (steps - warmup))
        assert found[step] == pytest.approx(rate, abs=1e-12)
    assert found[0] == (0 if warmup else base)


def test_milestones_stay_as_they_were() -> None:
    found = [learning_rate(s, base=1.0, milestones=(3, 5), factor=0.1, warmup_steps=2) for s in range(6)]
    assert found == pytest.approx([0.5, 1, 1, 0.1, 0.1, 0.01])


def test_epochs_become_steps(shards: Path) -> None:
    manifest = read_manifest(shards)
    optimizer = Optimizer(milestones=(), milestone_epochs=(1, 2.5), warmup_epochs=0.5)
    told = replace(TINY, batch=4, steps=0, epochs=3, sampling="photo", optimizer=optimizer)
    each = manifest.photos // 4
    found = in_steps(told, [shards])
    assert (found.steps, found.epochs) == (3 * each, 0)
    assert found.optimizer.milestones == (each, round(2.5 * each))
    assert found.optimizer.warmup_steps == round(0.5 * each)
    assert in_steps(replace(told, sampling="identity"), [shards]).steps == 3 * (manifest.identities // 4)
    assert in_steps(TINY, [Path("nowhere")]) == TINY
    assert in_steps(found, [shards]) == found
    with pytest.raises(UserError, match="for a batch of 9000: no epoch; give a smaller --batch"):
        in_steps(replace(told, batch=9000), [shards])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Config(epochs=3), "epochs 3 and steps 100000; give one"),
        (lambda: Config(steps=0), "steps 0; give at least 1"),
        (lambda: Config(steps=0, epochs=-1.0), "steps 0; give at least 1"),
        (lambda: Optimizer(milestone_epochs=(2,)), "milestones .* and optimizer.milestone_epochs .* give one of them"),
        (lambda: Optimizer(warmup_steps=2, warmup_epochs=1), "give one of them"),
        (lambda: Optimizer(average=1.0), "from 0 .none. to below 1"),
        (lambda: Optimizer(largest_norm=-1.0), "largest_norm -1.0; give at least 0"),
        (lambda: Optimizer(largest_norm=math.nan), "largest_norm nan; give at least 0"),
        (lambda: Optimizer(power=-1.0), "power -1.0; give at least 0"),
        (lambda: Config(steps=5, optimizer=Optimizer(schedule="cosine", warmup_steps=5)), "of a run of 5 steps"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(UserError, match=message) as told:
        make()
    assert "\n" not in str(told.value)


def test_where_the_rate_falls_to_the_end_the_end_must_stay() -> None:
    for schedule in ("cosine", "polynomial"):
        begun = Config(optimizer=Optimizer(schedule=schedule))  # type: ignore[arg-type]
        with pytest.raises(UserError, match="with steps 100000, now 7"):
            refuse_changes(begun.to_dict(), replace(begun, steps=7).to_dict())
    refuse_changes(Config().to_dict(), Config(steps=7).to_dict())


def test_what_has_no_decay_forms_groups_of_its_own() -> None:
    backbone = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2), nn.PReLU(), nn.Flatten(), nn.Linear(2, 4))
    learner = Learner(backbone, build_head(Head(), 3, 4))
    conv, norm, prelu, _, linear = backbone
    rows = learner.head.get_parameter("weight")
    cases = {
        "none": [],
        "norms": [norm.weight, norm.bias],
        "norms-and-biases": [conv.bias, norm.weight, norm.bias, linear.bias],
    }
    for undecayed, expected in cases.items():
        for layer_decay in (1.0, 0.5):
            settings = Optimizer(undecayed=undecayed, layer_decay=layer_decay, weight_decay=0.1)  # type: ignore[arg-type]
            groups = build_optimizer(settings, learner).param_groups
            without = [one for group in groups if group["weight_decay"] == 0 for one in group["params"]]
            assert {id(one) for one in without} == {id(one) for one in expected}
            every = [id(one) for group in groups for one in group["params"]]
            assert sorted(every) == sorted(id(one) for one in learner.parameters())
            decayed = {id(one) for group in groups if group["weight_decay"] == 0.1 for one in group["params"]}
            assert {id(prelu.weight), id(rows), id(conv.weight)} <= decayed


def learner_with_gradients(world: World, sharded: bool) -> Learner:
    """A linear backbone and a head, with the gradients of a batch."""
    torch.manual_seed(0)
    backbone = nn.Linear(4, 6).double()
    torch.manual_seed(1)
    head = ShardedHead(Head(), 9, 6, world) if sharded else build_head(Head(), 9, 6)
    learner = Learner(backbone, head.double())
    generator = torch.Generator().manual_seed(2)
    pictures = share(torch.randn(8, 4, generator=generator, dtype=torch.float64), world)
    labels = share(torch.arange(8), world)
    if isinstance(head, ShardedHead):
        head.entropy(backbone(pictures), labels, 0).mean().backward()
    else:
        nn.functional.cross_entropy(head(backbone(pictures), labels), labels).backward()
    for parameter in backbone.parameters():
        if world.size > 1:
            torch.distributed.all_reduce(parameter.grad, op=torch.distributed.ReduceOp.SUM)
            parameter.grad /= world.size
    return learner


@pytest.mark.parametrize("clipped", ["all", "backbone"])
@pytest.mark.parametrize("bound", [0.5, 1e6])
def test_gradients_are_shortened_as_pytorch_does(clipped: str, bound: float) -> None:
    settings = Optimizer(largest_norm=bound, clipped=clipped)  # type: ignore[arg-type]
    theirs = learner_with_gradients(ALONE, False)
    chosen = theirs.backbone if clipped == "backbone" else theirs
    expected = torch.nn.utils.clip_grad_norm_(chosen.parameters(), bound)
    assert expected > 0.5
    for sharded in (False, True):
        ours = learner_with_gradients(ALONE, sharded)
        found = clip_gradients(ours, settings)
        assert found is not None
        torch.testing.assert_close(found, expected)
        for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(one.grad, other.grad)
    assert clip_gradients(theirs, Optimizer()) is None


def shortened(world: World) -> dict[str, Tensor]:
    learner = learner_with_gradients(world, True)
    total = clip_gradients(learner, Optimizer(largest_norm=0.5))
    assert total is not None
    return {"total": total} | {name: one.grad for name, one in learner.named_parameters() if one.grad is not None}


@pytest.mark.slow
def test_the_length_of_a_gradient_is_that_over_all_ranks(tmp_path: Path) -> None:
    (one,) = on_world(1, shortened, tmp_path)
    parts = on_world(2, shortened, tmp_path)
    for part in parts:
        for name in ("total", "backbone.weight", "backbone.bias"):
            torch.testing.assert_close(part[name], one[name])
    torch.testing.assert_close(torch.cat([part["head.weight"] for part in parts]), one["head.weight"])
