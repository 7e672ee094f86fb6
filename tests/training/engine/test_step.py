"""World sizes 1, 2 and 4 give the same losses and gradients, divided and sharded too, with real processes."""

from dataclasses import replace
from itertools import combinations, product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pipeline.loading.batch import Batch
from tests.training.worlds import on_world
from training.engine.step import StepLosses, build_learner, embed, for_training, losses_and_gradients
from training.engine.step_losses import LossInputs
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import ALONE, World, gather_objects
from training.settings.config import Config, Head, Losses, Model
from training.settings.recipes import TINY

IDENTITIES, BATCH = 21, 8
CONFIG = Config(
    model=Model(backbone="spherenet4", embedding_size=16), size=32, views=TINY.views, batch=BATCH, head=Head(scale=10)
)
SHARDED = replace(CONFIG, head=Head(scale=10, sharded=True))
VARIANTS = {
    "undivided": CONFIG,
    "in two parts": replace(CONFIG, accumulate=2),
    "in three unequal parts": replace(CONFIG, accumulate=3),
    "sharded": SHARDED,
    "sharded in two parts": replace(SHARDED, accumulate=2),
}


def share_of_batch(rank: int = 0, size: int = 1) -> Batch:
    generator = torch.Generator().manual_seed(7)
    share = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    views = tuple(
        torch.randint(0, 256, (BATCH, s, s, 3), generator=generator, dtype=torch.uint8)[share]
        for s in CONFIG.views.sizes
    )
    labels = torch.randperm(IDENTITIES, generator=generator)[:BATCH][share]
    return Batch(0, labels, views, torch.zeros(len(labels), 4, dtype=torch.int64), 32)


def gradients_of(world: World, config: Config) -> dict[str, Tensor]:
    """The losses and gradients of a step on this rank; of a sharded head in one piece."""
    learner = build_learner(config, IDENTITIES, world)
    losses = losses_and_gradients(
        for_training(learner, config, world), share_of_batch(world.rank, world.size), config, world
    )
    found = {name: p.grad for name, p in learner.named_parameters() if p.grad is not None}
    found["losses"] = losses.values()
    if isinstance(learner.head, ShardedHead):
        found["head.weight"] = torch.cat(gather_objects(found["head.weight"]))
    return found


def every_variant(world: World) -> dict[str, Tensor]:
    return {
        f"{variant}: {name}": value
        for variant, config in VARIANTS.items()
        for name, value in gradients_of(world, config).items()
    }


@pytest.mark.slow
@pytest.mark.parametrize("size", [1, 2, 4])
def test_losses_and_gradients_are_those_of_one_undivided_process(size: int, tmp_path: Path) -> None:
    expected = gradients_of(ALONE, CONFIG)
    parts = on_world(size, every_variant, tmp_path)
    for variant in VARIANTS:
        for name, value in expected.items():
            key = f"{variant}: {name}"
            found = torch.stack([p[key] for p in parts]).mean(dim=0) if name == "losses" else parts[0][key]
            torch.testing.assert_close(found, value, atol=2e-5 * value.abs().max().item(), rtol=0, msg=key)


def losses_with(config: Config) -> StepLosses:
    return losses_and_gradients(
        for_training(build_learner(config, IDENTITIES), config, ALONE), share_of_batch(), config, ALONE
    )


@pytest.mark.slow
def test_the_total_is_the_published_sum() -> None:
    losses = losses_with(CONFIG)
    classified = losses.classification.mean()
    torch.testing.assert_close(losses.total, classified + losses.triplet)
    halved = losses_with(replace(CONFIG, losses=Losses(triplet_weight=0.5)))
    torch.testing.assert_close(halved.total, classified + 0.5 * losses.triplet)
    torch.testing.assert_close(losses_with(replace(CONFIG, losses=Losses(triplet_weight=0.0))).total, classified)


def test_the_seed_gives_the_weights() -> None:
    first, again = build_learner(CONFIG, IDENTITIES), build_learner(CONFIG, IDENTITIES)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    other = build_learner(replace(CONFIG, seed=1), IDENTITIES)
    assert not torch.equal(first.head.get_parameter("weight"), other.head.get_parameter("weight"))
    sharded = build_learner(SHARDED, IDENTITIES)
    assert torch.equal(first.head.get_parameter("weight"), sharded.head.get_parameter("weight"))


def test_the_loss_of_a_view_is_the_mean_over_its_samples() -> None:
    learner, batch = build_learner(CONFIG, IDENTITIES), share_of_batch()
    losses = losses_and_gradients(for_training(learner, CONFIG, ALONE), batch, CONFIG, ALONE)
    embeddings = learner.backbone(batch.network_input())
    for view, rows in enumerate(embeddings.chunk(len(batch.views))):
        expected = torch.nn.functional.cross_entropy(learner.head(rows, batch.labels), batch.labels)
        torch.testing.assert_close(losses.classification[view], expected)


def test_what_the_losses_know_of_each_view() -> None:
    batch = replace(share_of_batch(), photos=torch.arange(4 * BATCH).view(BATCH, 4) + 100)
    inputs = LossInputs.of(batch, CONFIG, World(1, 2, torch.device("cpu")), None)
    for view in range(4):
        rows = slice(view * BATCH, (view + 1) * BATCH)
        assert torch.equal(inputs.labels[rows], batch.labels)
        assert torch.equal(inputs.photos[rows], batch.photos[:, view])
        assert inputs.reduced[rows].tolist() == [CONFIG.views.sizes[view] != CONFIG.size] * BATCH
    # Behind the views of the first rank.
    assert inputs.rows.tolist() == list(range(4 * BATCH, 8 * BATCH))


def with_dropout(size: int, embedding_size: int) -> torch.nn.Module:
    return torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(3 * size * size, embedding_size)
    )


def test_a_step_drops_the_same_whenever_it_is_done_and_both_times_when_divided() -> None:
    config = replace(CONFIG, model=Model(backbone=f"{__name__}:with_dropout", embedding_size=16))
    for accumulate in (1, 2):
        found = []
        for _ in range(2):
            torch.rand(3)
            found.append(gradients_of(ALONE, replace(config, accumulate=accumulate)))
        assert torch.equal(found[0]["backbone.2.weight"], found[1]["backbone.2.weight"])


def test_steps_ranks_and_parts_drop_differently() -> None:
    config = replace(CONFIG, model=Model(backbone=f"{__name__}:with_dropout", embedding_size=16))
    trained, pictures = for_training(build_learner(config, IDENTITIES), config, ALONE), torch.ones(2, 3, 32, 32)
    found = [
        embed(trained, (pictures, None, None), config, World(rank, 2, torch.device("cpu")), step, part)
        for step, rank, part in product((0, 1), repeat=3)
    ]
    assert not any(torch.equal(one, other) for one, other in combinations(found, 2))


def test_the_parts_of_a_divided_batch_are_dropped_alike_in_both_passes() -> None:
    config = replace(CONFIG, model=Model(backbone=f"{__name__}:with_dropout", embedding_size=16), accumulate=4)
    learner = build_learner(config, IDENTITIES)
    weight = learner.backbone.get_parameter("2.weight")
    before = losses_and_gradients(for_training(learner, config, ALONE), share_of_batch(), config, ALONE)
    assert weight.grad is not None
    rate = 1e-4 / weight.grad.square().sum().item()
    with torch.no_grad():
        weight -= rate * weight.grad
    after = losses_and_gradients(for_training(learner, config, ALONE), share_of_batch(), config, ALONE)
    # The first-order change of the loss is that of the gradient, only if it is the gradient of this very loss.
    assert (before.total - after.total).item() == pytest.approx(1e-4, rel=0.2)
