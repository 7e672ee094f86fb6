"""What a run keeps: the newest checkpoints and the best, and who holds its folder."""

import fcntl
import json
from dataclasses import replace
from pathlib import Path

import pytest
from torch import nn

from shards.command import UserError
from training.checkpoint import Best, checkpoint_path, load_checkpoint
from training.distributed import ALONE
from training.loop import train
from training.recipes import TINY
from training.run import Run

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
