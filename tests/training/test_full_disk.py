"""Runs whose disk is full or may not be written."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from shards.command import UserError, storage_mistake
from tests.campaigns.full_disk import sound_checkpoints
from tests.campaigns.kill_trainer import ROOT, losses
from training.distributed import ALONE
from training.loop import train
from training.recipes import TINY
from training.run import Run

CONFIG = replace(TINY, steps=3, checkpoint_every=1, log_every=1)


def test_every_checkpoint_may_be_the_one_without_room(
    shards: Path, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    whole = tmp_path / "whole"
    train(Run(CONFIG, "tiny", (shards,), whole, resume=True), ALONE)
    first, second = (path.stat().st_size for path in sorted((whole / "checkpoints").iterdir())[:2])
    # In a file, between two of them, and in the second file of the last step.
    for room in (first // 2, first + second // 3, first + 3 * second + second // 2):
        run = Run(CONFIG, "tiny", (shards,), small_disk(f"size={room}") / f"run-{room}", resume=True)
        with pytest.raises(UserError, match="No space left on device; make room there"):
            train(run, ALONE)
        sound_checkpoints(run.run_dir)
        small_disk("size=1g")
        assert train(run, ALONE) == CONFIG.steps
        assert losses(run.run_dir) == losses(whole)
        subprocess.run(["rm", "-r", str(run.run_dir)], check=True)
    read_only = small_disk("ro") / "run"
    with pytest.raises(UserError, match="Read-only file system"):
        train(Run(CONFIG, "tiny", (shards,), read_only, resume=True), ALONE)


@pytest.mark.slow
def test_many_processes_tell_a_full_disk_once_and_end_alike(shards: Path, small_disk: Callable[[str], Path]) -> None:
    run_dir = small_disk("size=2m") / "run"
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    words += ["training/main.py", "--recipe", "tiny", "--device", "cpu", "--shards", str(shards)]
    done = subprocess.run([*words, "--run-dir", str(run_dir)], cwd=ROOT, capture_output=True, text=True, check=False)
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "step-0000000.pt: No space left on device" in line
    assert "exitcode  : 2" in done.stderr
    assert "lost another process" not in done.stderr


def test_other_errors_of_files_are_no_mistake() -> None:
    assert storage_mistake(FileNotFoundError(2, "No such file or directory", "x")) is None
