"""What a run keeps: the newest checkpoints and the best, and who holds its folder."""

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from shards.command import UserError
from training.checkpoints.checkpoint import Best, load_checkpoint, save_checkpoint
from training.checkpoints.run_folder import checkpoint_path
from training.engine.loop import train
from training.engine.run import Run
from training.ranks.world import ALONE
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
    with pytest.raises(UserError, match="begun with batch 8, now 4"):
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
