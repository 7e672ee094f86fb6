"""Runs that begin with another run's backbone: frozen and thawed, at rates by layer, on the low-resolution sets."""

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipeline.loading.loader import Loader
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import low_resolution, scface
from shards.command import UserError
from shards.index import ShardIndex
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.run_folder import checkpoint_path
from training.engine.loop import train
from training.engine.optimizer import backbone_factors, build_optimizer, set_learning_rate
from training.engine.run import Run
from training.engine.step import build_learner
from training.networks.backbones import build_backbone
from training.ranks.world import ALONE
from training.settings.config import Config, Model, Optimizer
from training.settings.recipes import RECIPES, TINY

SMALL = replace(
    TINY, model=Model("spherenet4", 16), steps=4, batch=4, checkpoint_every=1, keep_checkpoints=9, log_every=4
)


@pytest.fixture(scope="module")
def begun(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on aligned faces of 32 pixels, to go on from."""
    run_dir = tmp_path_factory.mktemp("begun")
    train(Run(SMALL, "tiny", (shards,), run_dir, resume=False), ALONE)
    return run_dir / "final.pt"


@pytest.fixture(scope="module", params=["survface", "tinyface", "scface50"])
def low_resolution_shards(
    request: pytest.FixtureRequest, rendered: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Path]]:
    name, out = request.param, tmp_path_factory.mktemp("shards") / request.param
    if name == "scface50":
        plan = Plan(scface(rendered / "SCface", rendered / "lists"), Settings(size=32))
    else:
        root = rendered / {"survface": "QMUL-SurvFace", "tinyface": "TinyFace"}[name]
        plan = Plan(low_resolution(name, root), Settings(size=32, template="whole"))
    shard(plan, out, workers=1)
    yield name, out


def tuned(config: Config, shards: Path, run_dir: Path, init_from: Path, resume: bool = False) -> Path:
    return tuned_on_all(config, (shards,), run_dir, init_from, resume)


def tuned_on_all(
    config: Config, shards: tuple[Path, ...], run_dir: Path, init_from: Path, resume: bool = False
) -> Path:
    train(Run(config, "survface", shards, run_dir, resume, init_from), ALONE)
    return run_dir


def weights(run_dir: Path, step: int) -> dict[str, Tensor]:
    return load_checkpoint(checkpoint_path(run_dir, step)).backbone


@pytest.mark.soak
def test_the_recipes_run_on_their_sets(begun: Path, low_resolution_shards: tuple[str, Path], tmp_path: Path) -> None:
    name, folder = low_resolution_shards
    recipe = RECIPES[name]
    small = replace(SMALL, optimizer=replace(recipe.optimizer, frozen_steps=2), views=SMALL.views)
    tuned(small, folder, tmp_path, begun)
    final = load_checkpoint(tmp_path / "final.pt")
    assert final.initial is not None
    assert final.initial.file == str(begun)
    # Pictures taken whole have no template: the network keeps that of its aligned faces.
    assert final.preprocessing.template == "paper"
    first = load_checkpoint(begun).backbone
    for step, same in ((0, True), (2, True), (3, False)):
        found = weights(tmp_path, step)
        assert all(torch.equal(found[key], value) for key, value in first.items()) is same
    heads = [load_checkpoint(checkpoint_path(tmp_path, step)).head["weight"] for step in (0, 1)]
    assert not torch.equal(*heads)


def test_a_mix_of_aligned_faces_and_both_low_resolution_sets(
    begun: Path, shards: Path, rendered: Path, tmp_path: Path
) -> None:
    folders = [shards]
    for name, root in (("survface", "QMUL-SurvFace"), ("tinyface", "TinyFace")):
        folders.append(tmp_path / name)
        shard(Plan(low_resolution(name, rendered / root), Settings(size=32, template="whole")), folders[-1], workers=1)
    recipe = RECIPES["survface"].optimizer
    optimizer = replace(recipe, frozen_steps=2, layer_decay=0.5)
    config = replace(SMALL, optimizer=optimizer, mix=(2.0, 1.0, 1.0), log_every=1)
    run_dir = tuned_on_all(config, tuple(folders), tmp_path / "run", begun)

    loader = Loader(folders, config.views, seed=config.seed, global_batch=config.batch, mix=config.mix)
    people = [ShardIndex.open(folder).identities for folder in folders]
    for batch in islice(loader, config.steps):
        of_folder = np.searchsorted(np.cumsum(people), batch.labels.numpy(), side="right")
        # Half of a batch are aligned faces, a quarter is of each other set, in every step.
        assert np.bincount(of_folder, minlength=3).tolist() == [2, 1, 1]
    loader.close()

    losses = [json.loads(line)["loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    assert len(losses) == config.steps
    assert np.isfinite(losses).all()
    final = load_checkpoint(run_dir / "final.pt")
    assert final.identities == sum(people) == len(final.head["weight"])
    assert (final.preprocessing.template, final.config["mix"]) == ("paper", [2.0, 1.0, 1.0])
    first = load_checkpoint(begun).backbone
    for step, same in ((2, True), (3, False)):
        found = weights(run_dir, step)
        assert [torch.equal(found[key], value) for key, value in first.items()] == [same] * len(first)
    # Four convolutions with their activations, then the output; the head has the full rate.
    rates = [group["lr"] / recipe.learning_rate for group in final.optimizer["param_groups"]]
    assert rates == pytest.approx([0.1 * 0.5**layer for layer in reversed(range(len(rates) - 1))] + [1.0])
    assert len(rates) > 5


def test_a_resumed_run_thaws_at_the_same_step(begun: Path, shards: Path, tmp_path: Path) -> None:
    config = replace(SMALL, optimizer=replace(SMALL.optimizer, frozen_steps=3, backbone_rate=0.1, layer_decay=0.5))
    whole = tuned(config, shards, tmp_path / "whole", begun)
    parts = tmp_path / "parts"
    for steps in (2, 3, 4):
        tuned(replace(config, steps=steps), shards, parts, begun, resume=True)
    for key, value in weights(whole, 4).items():
        assert torch.equal(weights(parts, 4)[key], value)


@pytest.mark.slow
def test_a_frozen_batch_norm_keeps_its_statistics(shards: Path, tmp_path: Path) -> None:
    config = replace(SMALL, model=Model("mbf", 16), steps=1)
    train(Run(config, "tiny", (shards,), tmp_path / "first", resume=False), ALONE)
    frozen = replace(config, optimizer=Optimizer(frozen_steps=1), accumulate=2)
    found = tuned(frozen, shards, tmp_path / "tuned", tmp_path / "first" / "final.pt")
    before, after = weights(tmp_path / "first", 1), weights(found, 1)
    assert all(torch.equal(after[key], value) for key, value in before.items())


def test_the_authors_weights_can_be_begun_with(shards: Path, tmp_path: Path) -> None:
    network = build_backbone("spherenet4", 32, 16)
    torch.save(network.state_dict(), tmp_path / "0100000_net_backbone.pth")
    run_dir = tuned(replace(SMALL, steps=1), shards, tmp_path / "run", tmp_path / "0100000_net_backbone.pth")
    assert all(torch.equal(weights(run_dir, 0)[key], value) for key, value in network.state_dict().items())


def test_what_does_not_fit_is_refused_with_both_values(
    begun: Path, shards: Path, orl_shards: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    for config, folder, message in (
        (replace(SMALL, model=Model("spherenet10", 16)), shards, "a spherenet4, this run is of a spherenet10"),
        (replace(SMALL, model=Model("spherenet4", 8)), shards, "does not fit the network"),
        (replace(SMALL, size=64), orl_shards, "faces of 32 pixels, this run is of 64"),
    ):
        with pytest.raises(UserError, match=message):
            tuned(config, folder, run_dir, begun)
    with pytest.raises(UserError, match="random weights; name a checkpoint with --init-from"):
        train(Run(replace(SMALL, optimizer=Optimizer(frozen_steps=1)), "tiny", (shards,), run_dir, False), ALONE)
    assert not run_dir.exists()
    with pytest.raises(UserError, match="started with random weights, now --init-from"):
        tuned(replace(SMALL, steps=5), shards, begun.parent, begun, resume=True)


def test_another_template_is_refused(begun: Path, rendered: Path, tmp_path: Path) -> None:
    centred = tmp_path / "centred"
    shard(
        Plan(scface(rendered / "SCface", rendered / "lists"), Settings(size=32, template="centred")), centred, workers=1
    )
    with pytest.raises(UserError, match="differ in template paper against centred"):
        tuned(SMALL, centred, tmp_path / "run", begun)


def test_layers_have_the_rates_they_should() -> None:
    settings = Optimizer(learning_rate=1.0, milestones=(), backbone_rate=0.5, layer_decay=0.1)
    backbone = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), nn.Linear(2, 1))
    factors = backbone_factors(settings, backbone)
    assert list(factors) == pytest.approx([0.005, 0.05, 0.5])
    assert [len(parameters) for parameters in factors.values()] == [2, 2, 2]
    learner = build_learner(SMALL, 6)
    for optimizer_settings, groups in ((settings, 10), (replace(settings, layer_decay=1.0), 2), (Optimizer(), 1)):
        optimizer = build_optimizer(optimizer_settings, learner)
        assert set_learning_rate(optimizer, replace(optimizer_settings, learning_rate=2.0, milestones=()), 0) == 2.0
        assert len(optimizer.param_groups) == groups
        named = [id(one) for group in optimizer.param_groups for one in group["params"]]
        assert sorted(named) == sorted(id(one) for one in learner.parameters())
        assert optimizer.param_groups[-1]["lr"] == 2.0
        assert optimizer.param_groups[-1]["params"][-1] is learner.head.get_parameter("weight")
