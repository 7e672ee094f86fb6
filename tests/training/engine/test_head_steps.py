"""Every head trains through the step, and equally on one process and on two."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.loading.batch import Batch
from tests.training.worlds import on_world, share
from training.engine.step import build_learner, for_training, losses_and_gradients
from training.objectives.heads import HEADS
from training.ranks.world import World
from training.settings.config import Config, Head, Losses, Model
from training.settings.recipes import TINY

IDENTITIES, BATCH, STEPS = 20, 4, 3


def small_network(size: int, embedding_size: int) -> torch.nn.Module:
    pooled = torch.nn.AvgPool2d(4)
    return torch.nn.Sequential(pooled, torch.nn.Flatten(), torch.nn.Linear(3 * (size // 4) ** 2, embedding_size))


CONFIG = Config(
    model=Model(backbone=f"{__name__}:small_network", embedding_size=16),
    size=32,
    views=TINY.views,
    batch=BATCH,
    losses=Losses(triplet_weight=0.5),
)


def config_of(name: str) -> Config:
    head = Head(
        name=name,
        margin=2 if name == "sphereface" else 0.35,
        scale=10,
        # Centres that pull harder than the published ones, and lengths of these embeddings, so that they show.
        center_weight=0.5,
        norm_rate=0.5,
        norm_range=(0.01, 0.5),
        elastic_sorted=name == "elastic-cosface",
        filter_above=0.2,
    )
    return replace(CONFIG, head=head)


def batch_of(step: int, world: World) -> Batch:
    generator = torch.Generator().manual_seed(step)
    views = tuple(
        share(torch.randint(0, 256, (BATCH, s, s, 3), generator=generator, dtype=torch.uint8), world)
        for s in CONFIG.views.sizes
    )
    labels = share(torch.randperm(IDENTITIES, generator=generator)[:BATCH], world)
    return Batch(step, labels, views, torch.zeros(len(labels), 4, dtype=torch.int64), 32)


def train_all(world: World) -> dict[str, torch.Tensor]:
    """A few steps of each head: the losses of this rank and the head's whole state at the end."""
    found = {}
    for name in HEADS:
        config = config_of(name)
        learner = build_learner(config, IDENTITIES)
        trained = for_training(learner, config, world)
        optimizer = torch.optim.SGD(learner.parameters(), lr=0.01, momentum=0.9)
        losses = []
        for step in range(STEPS):
            optimizer.zero_grad()
            losses.append(losses_and_gradients(trained, batch_of(step, world), config, world).total.detach())
            optimizer.step()
        found[f"{name} losses"] = torch.stack(losses)
        found |= {f"{name} {key}": value for key, value in learner.head.state_dict().items()}
        found[f"{name} backbone"] = learner.backbone.state_dict()["2.weight"]
    return found


@pytest.mark.slow
def test_every_head_trains_equally_on_one_process_and_on_two(tmp_path: Path) -> None:
    (one,) = on_world(1, train_all, tmp_path)
    first, second = on_world(2, train_all, tmp_path)
    assert {"adacos dynamic_scale", "center-loss centres", "sphereface passes", "adaface rule.norm_mean"} <= one.keys()
    for name, expected in one.items():
        assert torch.isfinite(expected).all(), name
        found = (first[name] + second[name]) / 2 if name.endswith("losses") else first[name]
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=2e-5, msg=lambda text, name=name: f"{name}: {text}")
        if not name.endswith("losses"):
            assert torch.equal(first[name], second[name]), name
    assert one["sphereface passes"] == STEPS


def test_the_penalty_of_center_loss_is_part_of_the_total() -> None:
    world = World(0, 1, torch.device("cpu"))
    learner = build_learner(config_of("center-loss"), IDENTITIES)
    config = config_of("center-loss")
    losses = losses_and_gradients(for_training(learner, config, world), batch_of(0, world), config, world)
    assert losses.penalty > 0
    torch.testing.assert_close(losses.total, losses.classification.mean() + 0.5 * losses.triplet + losses.penalty)
    assert losses.values()[4] == losses.penalty.detach()
