"""What a run keeps: the newest checkpoints and the best, who holds its folder, and the state of a sharded head."""

import fcntl
import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from pipeline.alignment.align import preprocessing
from shards.command import UserError
from tests.training.worlds import on_world, share
from training.checkpoints.checkpoint import Best, Checkpoint, latest_checkpoint, load_checkpoint, save_checkpoint
from training.checkpoints.class_rows import read_rows
from training.checkpoints.run_folder import checkpoint_path, rows_path
from training.engine.loop import train
from training.engine.optimizer import build_optimizer
from training.engine.run import Run
from training.engine.saving import Saver
from training.engine.step import Learner, for_training
from training.engine.training_state import Origin, TrainingState
from training.objectives.class_shards import shard_range
from training.objectives.sharded_head import ShardedHead
from training.ranks.world import ALONE, World, wait_for_all
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


CLASSES, LENGTH, BATCH = 11, 6, 12
FORM = preprocessing("paper", 32)


ORIGIN = Origin(config=TINY.to_dict(), recipe="", preprocessing=FORM, identities=CLASSES, shards_sha256="")
KEEPING = replace(TINY, keep_checkpoints=2)


def sharded_state(
    world: World, saved: Checkpoint | None = None, folder: Path | None = None, name: str = "sgd"
) -> TrainingState:
    """A small backbone and a sharded head, as they begin or as they were saved."""
    torch.manual_seed(5)
    backbone = nn.Linear(9, LENGTH).double()
    learner = Learner(backbone, ShardedHead(Head(), CLASSES, LENGTH, world, sampling=0.5).double())
    optimizer = build_optimizer(Optimizer(name=name, learning_rate=0.2, weight_decay=1e-3), learner)
    state = TrainingState(learner, optimizer)
    if saved is not None:
        state.restore(saved, folder)
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


def part_of_run(world: World, steps: range, run_dir: Path) -> dict[str, Any]:
    """Go on with a run from its newest checkpoint, and write one at the end."""
    newest = latest_checkpoint(run_dir)
    begun = load_checkpoint(newest) if newest else None
    # Every rank reads before any writes.
    wait_for_all(world)
    state = sharded_state(world, begun, run_dir / "checkpoints")
    losses = losses_of_steps(state, world, steps)
    state.step = steps.stop
    Saver(run_dir, ORIGIN, KEEPING, world).save(state)
    return {"losses": losses}


@pytest.mark.slow
def test_a_sharded_head_resumes_on_the_same_and_on_another_number_of_ranks(tmp_path: Path) -> None:
    folders = [tmp_path / "whole", tmp_path / "parts"]
    for folder in folders:
        (folder / "checkpoints").mkdir(parents=True)
    whole = part_of_run(ALONE, range(9), folders[0])
    losses = []
    for size, first in ((2, 0), (3, 3), (1, 6)):
        what = (range(first, first + 3), folders[1])
        parts = [part_of_run(ALONE, *what)] if size == 1 else on_world(size, part_of_run, tmp_path, *what)
        losses.append(torch.stack([part["losses"] for part in parts]).mean(dim=0))
    torch.testing.assert_close(torch.cat(losses), whole["losses"], rtol=1e-12, atol=1e-12)
    one, other = (
        read_rows(folder / "checkpoints", of_step(folder, 9).rows or [], range(CLASSES)) for folder in folders
    )
    assert one.keys() == {"weight", "momentum_buffer"}
    torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
    names = [path.name for path in (folders[1] / "checkpoints").iterdir()]
    kept = [f"rows-{step:07d}-{rank}-of-{size}.pt" for step, size in ((6, 3), (9, 1)) for rank in range(size)]
    assert sorted(names) == sorted([*kept, "step-0000006.pt", "step-0000009.pt"])


def of_step(run_dir: Path, step: int) -> Checkpoint:
    return load_checkpoint(checkpoint_path(run_dir, step))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_every_rank_restores_the_momentum_of_its_own_classes(name: str, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    state = sharded_state(ALONE, name=name)
    losses_of_steps(state, ALONE, range(3))
    Saver(tmp_path, ORIGIN, KEEPING, ALONE).save(state)
    saved = of_step(tmp_path, 0)
    moments = state.optimizer.state[state.learner.head.weight]
    for size in (1, 2, 3):
        for rank in range(size):
            restored = sharded_state(World(rank, size, torch.device("cpu")), saved, tmp_path / "checkpoints", name)
            mine = shard_range(CLASSES, rank, size)
            weight = restored.learner.head.weight
            found = restored.optimizer.state[weight]
            assert found.keys() == moments.keys()
            assert torch.equal(weight, state.learner.head.weight[mine.start : mine.stop])
            for moment, whole in moments.items():
                assert whole.abs().sum() > 0
                expected = whole if whole.dim() == 0 else whole[mine.start : mine.stop]
                assert torch.equal(found[moment], expected), (size, rank, moment)


def test_checkpoints_that_hold_the_whole_matrix_are_still_read(tmp_path: Path) -> None:
    """As a head in one piece leaves them, and as those in shards did up to version 2."""
    state = sharded_state(ALONE)
    losses_of_steps(state, ALONE, range(3))
    whole, rows, _ = state.divided()
    assert rows is not None
    place = max(whole["optimizer"]["state"])
    whole["head"] = {**whole["head"], "weight": rows["weight"]}
    whole["optimizer"]["state"][place] = {"momentum_buffer": rows["momentum_buffer"]}
    path = checkpoint_path(tmp_path, 3)
    path.parent.mkdir()
    save_checkpoint(path, Checkpoint(step=3, **vars(ORIGIN), **whole))
    mine = shard_range(CLASSES, 1, 3)
    restored = sharded_state(World(1, 3, torch.device("cpu")), load_checkpoint(path))
    weight = restored.learner.head.weight
    assert torch.equal(weight, rows["weight"][mine.start : mine.stop])
    found = restored.optimizer.state[weight]["momentum_buffer"]
    assert torch.equal(found, rows["momentum_buffer"][mine.start : mine.stop])


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    state = sharded_state(ALONE)
    losses_of_steps(state, ALONE, range(2))
    rows = state.learner.head.weight.detach().clone()
    weights = {name: value.clone() for name, value in state.learner.backbone.state_dict().items()}
    moment = state.optimizer.state[state.learner.head.weight]["momentum_buffer"].clone()
    saver, begins = Saver(tmp_path, ORIGIN, KEEPING, ALONE), threading.Event()
    # The thread is busy until the next steps are done.
    saver._thread.submit(begins.wait)
    state.step = 2
    saver.save(state, background=True)
    losses_of_steps(state, ALONE, range(2, 4))
    state.step = 4
    assert not list((tmp_path / "checkpoints").iterdir())
    begins.set()
    saver.wait()
    saved = of_step(tmp_path, 2)
    assert not torch.equal(rows, state.learner.head.weight)
    found = read_rows(tmp_path / "checkpoints", saved.rows or [], range(CLASSES))
    torch.testing.assert_close(found, {"weight": rows, "momentum_buffer": moment}, rtol=0, atol=0)
    torch.testing.assert_close(dict(saved.backbone), weights, rtol=0, atol=0)
    saver.close()


def test_what_the_background_cannot_write_is_told_with_the_next_call(tmp_path: Path, small_disk: Any) -> None:
    run_dir = small_disk("size=8k") / "run"
    (run_dir / "checkpoints").mkdir(parents=True)
    saver = Saver(run_dir, ORIGIN, KEEPING, ALONE)
    saver.save(sharded_state(ALONE), background=True)
    with pytest.raises(UserError, match="No space left on device; make room there"):
        saver.wait()
    assert not list((run_dir / "checkpoints").glob("step-*"))
    saver.close()


def test_damaged_missing_and_foreign_rows_are_passed_over(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    state = sharded_state(ALONE)
    for step in (1, 2):
        losses_of_steps(state, ALONE, range(step, step + 1))
        state.step = step
        Saver(tmp_path, ORIGIN, KEEPING, ALONE).save(state)
    newest, older = checkpoint_path(tmp_path, 2), checkpoint_path(tmp_path, 1)
    path = rows_path(tmp_path, 2, 0, 1)
    sound = path.read_bytes()
    assert latest_checkpoint(tmp_path) == newest
    other = rows_path(tmp_path, 1, 0, 1).read_bytes()
    for content, told in (
        (sound[:1000] + bytes([sound[1000] ^ 1]) + sound[1001:], "is damaged"),
        (other, "is of another checkpoint"),
        (b"", "damaged or no checkpoint"),
        (None, "no checkpoint"),
    ):
        path.unlink() if content is None else path.write_bytes(content)
        assert latest_checkpoint(tmp_path) == older, told
        assert told in capsys.readouterr().err
    path.write_bytes(sound)
    rows = of_step(tmp_path, 2).rows or []
    with pytest.raises(UserError, match="lack those of class 11"):
        read_rows(folder, rows, range(CLASSES + 1))
    with pytest.raises(ValueError, match="is named"):
        replace(rows[0], name="../elsewhere.pt")
