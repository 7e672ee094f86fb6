"""A stop request in long work: it is interrupted, and done again with the same result when the run continues."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.training.worlds import on_world
from training.checkpoints.checkpoint import load_checkpoint
from training.engine.loop import train
from training.engine.run import Run
from training.engine.validation import HeldOut, Validate
from training.ranks.stop_signals import StoppedEarly, stop_requests
from training.ranks.world import ALONE, World
from training.settings.config import Config
from training.settings.recipes import TINY

ROOT = Path(__file__).parents[3]
SLOW_AT = "TEST_SLOW_VALIDATION_AT"
CONFIG = replace(TINY, steps=6, batch=4, checkpoint_every=4, validate_every=2)


def figures(backbone: nn.Module, step: int) -> dict[str, float]:
    """Depend on the weights, and are best at step 4."""
    total = sum(float(one.detach().double().square().sum()) for one in backbone.parameters())
    return {"rank-1": total / (1 + abs(step - 4))}


def held_out(request: HeldOut) -> Validate:
    """A validation that takes an hour at the step that the environment names."""

    def validate(backbone: nn.Module, step: int) -> dict[str, float]:
        if os.environ.get(SLOW_AT) == str(step):
            print(f"validating at step {step}", file=sys.stderr, flush=True)
            time.sleep(3600)
        return figures(backbone, step)

    return validate


def go_on(world: World, config: Config, shards: Path, run_dir: Path) -> dict[str, Tensor]:
    train(Run(config, "tiny", (shards,), run_dir, resume=True), world, figures)
    return {}


def told(run_dir: Path) -> list[dict[str, Any]]:
    """Lines of metrics without what the clock says."""
    clock = ("pictures_per_second", "share_waiting_for_data")
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in clock} for line in lines]


def equal(one: Any, other: Any) -> bool:
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    return torch.equal(one, other) if isinstance(one, Tensor) else bool(one == other)


def assert_same_run(found: Path, whole: Path) -> None:
    assert told(found) == told(whole)
    for name in ("final.pt", "best.pt", "checkpoints/step-0000004.pt"):
        assert equal(vars(load_checkpoint(found / name)), vars(load_checkpoint(whole / name))), name


@pytest.mark.parametrize("step", [4, 6])
def test_a_validation_that_is_put_off_is_validate_pending(
    shards: Path, tmp_path: Path, step: int, capsys: pytest.CaptureFixture[str]
) -> None:
    go_on(ALONE, CONFIG, shards, tmp_path / "whole")
    asked: list[float] = []

    def stopped(backbone: nn.Module, at: int) -> dict[str, float]:
        if at == step:
            asked.append(time.monotonic())
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(3600)
        return figures(backbone, at)

    parts = tmp_path / "parts"
    run = Run(CONFIG, "tiny", (shards,), parts, resume=True)
    for _ in range(2):
        # The second time the validation itself is all there is to do.
        assert train(run, ALONE, stopped) == step
        assert time.monotonic() - asked[-1] < 30
        assert f"validation at step {step} interrupted" in capsys.readouterr().err
        assert load_checkpoint(parts / "checkpoints" / f"step-{step:07d}.pt").validation_due
        assert not (parts / "final.pt").exists()
    assert train(run, ALONE, figures) == 6
    assert_same_run(parts, tmp_path / "whole")


def test_without_the_validation_a_run_still_ends(shards: Path, tmp_path: Path) -> None:
    def stopped(backbone: nn.Module, step: int) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return figures(backbone, step)

    run = Run(replace(CONFIG, steps=2), "tiny", (shards,), tmp_path, resume=True)
    assert train(run, ALONE, stopped) == 2
    assert not (tmp_path / "final.pt").exists()
    assert train(run, ALONE) == 2
    assert not load_checkpoint(tmp_path / "final.pt").validation_due


@pytest.mark.soak
def test_two_processes_leave_a_long_validation_at_once_and_resume_bit_identically(shards: Path, tmp_path: Path) -> None:
    changes = {"steps": 6, "batch": 4, "checkpoint_every": 4, "validate_every": 2}
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["training/main.py", "--recipe", "tiny", "--device", "cpu", "--shards", str(shards)]
    words += ["--run-dir", str(tmp_path / "parts"), "--validation-shards", str(shards)]
    words += ["--validation-by", f"{__name__}:held_out"]
    words += [word for name, value in changes.items() for word in (f"--{name}", str(value))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", SLOW_AT: "4", "PYTHONPATH": str(ROOT)}
    job = subprocess.Popen(
        words, cwd=ROOT, env=environment, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert job.stderr is not None
    for line in job.stderr:
        if line.startswith("validating at step 4"):
            break
    asked = time.monotonic()
    job.send_signal(signal.SIGTERM)
    said = job.communicate(timeout=60)[1]
    assert time.monotonic() - asked < 30
    assert "validation at step 4 interrupted" in said
    assert "SIGKILL" not in said
    assert load_checkpoint(tmp_path / "parts" / "checkpoints" / "step-0000004.pt").validation_due
    for run_dir in ("parts", "whole"):
        on_world(2, go_on, tmp_path, CONFIG, shards, tmp_path / run_dir)
    assert_same_run(tmp_path / "parts", tmp_path / "whole")


def test_only_what_can_be_done_again_is_cut_short() -> None:
    with stop_requests() as stops:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stops.made
        with pytest.raises(StoppedEarly), stops.stops_early():
            raise AssertionError("a request had been made before")
        os.kill(os.getpid(), signal.SIGINT)
