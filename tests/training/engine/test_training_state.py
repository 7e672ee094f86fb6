"""What a run keeps: the newest checkpoints and the best, who holds its folder, and the state of a sharded head."""

import fcntl
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.alignment.align import preprocessing
from shards.command import UserError
from tests.training.worlds import on_world, share
from training.checkpoints.checkpoint import Best, Checkpoint, load_checkpoint, save_checkpoint
from training.checkpoints.run_folder import checkpoint_path
from training.engine.loop import train
from training.engine.optimizer import build_optimizer
from training.engine.run import Run
from training.engine.step import Learner, for_training
from training.engine.training_state import TrainingState
from training.objectives.class_shards import shard_range
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import ALONE, World
from training.settings.config import Config, Head, Optimizer
from training.settings.recipes import TINY

CONFIG = replace(TINY, steps=6, checkpoint_every=2, validate_every=1, keep_checkpoints=1)
FIGURES = {1: 0.1, 2: 0.4, 3: 0.3, 4: 0.4, 5: 0.9, 6: 0.2}


def figures(backbone: nn.Module, step: int) -> dict[str, float]:
    assert not backbone.training
    return {"rank-1": FIGURES[step], "other": float(step)}


def test_the_best_checkpoint_is_kept_and_known_after_resuming(shards: Path, tmp_path: Path) -> None:
    for steps in (3, 4, 6):
        run = Run(replace(CONFIG, steps=steps), "tiny", (shards,), tmp_path, resume=True)
        assert train(run, ALONE, figures) == steps
        best = load_checkpoint(tmp_path / "best.pt")
        expected = Best(5, "rank-1", 0.9) if steps > 4 else Best(2, "rank-1", 0.4)
        assert (best.step, best.best) == (expected.step, expected)
        assert load_checkpoint(checkpoint_path(tmp_path, steps)).best == expected
        assert load_checkpoint(tmp_path / "final.pt").step == steps
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == ["step-0000000.pt", "step-0000006.pt"]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    told = {line["step"]: line["validation/rank-1"] for line in lines if "validation/rank-1" in line}
    assert told == FIGURES


def test_a_folder_in_use_is_refused(shards: Path, tmp_path: Path) -> None:
    run = Run(replace(TINY, steps=1), "tiny", (shards,), tmp_path, resume=True)
    with (tmp_path / ".lock").open("w") as file:
        file.write("process 7 on elsewhere\n")
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(UserError, match="is in use by process 7 on elsewhere"):
            train(run, ALONE)
    assert train(run, ALONE) == 1


def test_a_run_goes_on_beside_damaged_notes(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = replace(TINY, steps=2, checkpoint_every=1)
    assert train(Run(config, "tiny", (shards,), tmp_path, resume=True), ALONE) == 2
    about, metrics, provenance = (tmp_path / name for name in ("config.json", "metrics.jsonl", "provenance.json"))
    sound = about.read_bytes()
    about.write_bytes(sound[:100])
    provenance.write_text('{"starts": 3}')
    first, second = metrics.read_text().splitlines()
    metrics.write_text(f"{first[:30]}\n[1]\n{second}\n" + '{"step": 3, "lo')
    with pytest.raises(UserError, match="add --resume"):
        train(Run(config, "tiny", (shards,), tmp_path, resume=False), ALONE)
    with pytest.raises(UserError, match="started with batch 8, now 4"):
        train(Run(replace(config, batch=4), "tiny", (shards,), tmp_path, resume=True), ALONE)
    capsys.readouterr()
    assert train(Run(replace(config, steps=3), "tiny", (shards,), tmp_path, resume=True), ALONE) == 3
    said = capsys.readouterr().err
    assert f"{about} is damaged" in said
    assert f"{provenance} is damaged" in said
    assert f"2 damaged lines of {metrics}" in said
    assert json.loads(about.read_text())["config"]["steps"] == 3
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [2, 3]


def test_a_checkpoint_of_other_tensors_is_refused_in_one_line(shards: Path, tmp_path: Path) -> None:
    config = replace(TINY, steps=1)
    train(Run(config, "tiny", (shards,), tmp_path, resume=True), ALONE)
    newest = checkpoint_path(tmp_path, 1)
    sound = load_checkpoint(newest)
    run = Run(replace(config, steps=2), "tiny", (shards,), tmp_path, resume=True)
    for damaged in (replace(sound, backbone={}), replace(sound, optimizer={"state": 3}), replace(sound, head={"x": 1})):
        save_checkpoint(newest, damaged)
        with pytest.raises(UserError, match="checkpoint of step 1 does not fit the run"):
            train(run, ALONE)


CLASSES, LENGTH, BATCH = 11, 6, 8


def sharded_state(world: World, saved: dict[str, Any] | None = None, name: str = "sgd") -> TrainingState:
    """A small backbone and a sharded head, as they begin or as they were saved."""
    torch.manual_seed(5)
    backbone = nn.Linear(9, LENGTH).double()
    learner = Learner(backbone, ShardedHead(Head(), CLASSES, LENGTH, world, sampling=0.5).double())
    optimizer = build_optimizer(Optimizer(name=name, learning_rate=0.2, weight_decay=1e-3), learner)
    state = TrainingState(learner, optimizer)
    if saved is not None:
        about = {"config": {}, "recipe": "", "preprocessing": preprocessing("paper", 32), "shards_sha256": ""}
        state.restore(Checkpoint(step=0, identities=CLASSES, **about, **saved))
    return state


def losses_of_steps(state: TrainingState, world: World, steps: range) -> Tensor:
    """Train for some steps; the losses (steps,) of this rank's samples."""
    trained = for_training(state.learner, Config(), world)
    losses = []
    for step in steps:
        generator = torch.Generator().manual_seed(step)
        pictures = share(torch.randn(BATCH, 9, generator=generator, dtype=torch.float64), world)
        labels = share(torch.randint(CLASSES, (BATCH,), generator=generator), world)
        per_sample, _ = trained.head(trained.backbone(pictures), labels, step)
        state.optimizer.zero_grad()
        per_sample.mean().backward()
        state.optimizer.step()
        losses.append(per_sample.mean().detach())
    return torch.stack(losses)


def part_of_run(world: World, steps: range, saved: dict[str, Any] | None) -> dict[str, Any]:
    state = sharded_state(world, saved)
    return {"losses": losses_of_steps(state, world, steps), "saved": state.gathered()}


@pytest.mark.slow
def test_a_sharded_head_resumes_on_the_same_and_on_another_number_of_ranks(tmp_path: Path) -> None:
    whole = part_of_run(ALONE, range(9), None)
    saved, losses = None, []
    for size, first in ((2, 0), (2, 3), (1, 6)):
        what = (range(first, first + 3), saved)
        parts = [part_of_run(ALONE, *what)] if size == 1 else on_world(size, part_of_run, tmp_path, *what)
        assert all(part["saved"] is None for part in parts[1:])
        saved = parts[0]["saved"]
        losses.append(torch.stack([part["losses"] for part in parts]).mean(dim=0))
    assert saved is not None
    torch.testing.assert_close(torch.cat(losses), whole["losses"], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(saved, whole["saved"], rtol=1e-9, atol=1e-12)
    assert len(saved["optimizer"]["state"]) == 3


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_rank_restores_the_momentum_of_its_own_classes(name: str) -> None:
    state = sharded_state(ALONE, name=name)
    losses_of_steps(state, ALONE, range(3))
    saved = state.gathered()
    assert saved is not None
    moments = state.optimizer.state[state.learner.head.weight]
    for size in (1, 2, 3):
        for rank in range(size):
            restored = sharded_state(World(rank, size, torch.device("cpu")), saved, name)
            mine = shard_range(CLASSES, rank, size)
            weight = restored.learner.head.weight
            found = restored.optimizer.state[weight]
            assert found.keys() == moments.keys()
            assert torch.equal(weight, state.learner.head.weight[mine.start : mine.stop])
            for moment, whole in moments.items():
                assert whole.abs().sum() > 0
                expected = whole if whole.dim() == 0 else whole[mine.start : mine.stop]
                assert torch.equal(found[moment], expected), (size, rank, moment)
