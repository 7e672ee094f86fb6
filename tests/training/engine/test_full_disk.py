"""Runs whose disk is full or may not be written."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from shards.command import UserError, storage_mistake
from tests.campaigns.full_disk import run, sound_checkpoints
from tests.campaigns.kill_trainer import losses
from tests.campaigns.small_disk import PAGE, room_taken
from tests.training.worlds import on_world
from training.engine.loop import train
from training.engine.run import Run
from training.ranks.world import ALONE, World
from training.settings.recipes import TINY

CONFIG = replace(TINY, steps=3, checkpoint_every=1, log_every=1)


@pytest.mark.soak
def test_every_checkpoint_may_be_the_one_without_room(
    shards: Path, tmp_path: Path, small_disk: Callable[[str], Path]
) -> None:
    whole = tmp_path / "whole"
    train(Run(CONFIG, "tiny", (shards,), whole, resume=True), ALONE)
    first, second = (path.stat().st_size for path in sorted((whole / "checkpoints").iterdir())[:2])
    # In the second checkpoint, and in that of the last step, whose second name takes no room.
    for room in (first + second // 3, first + 2 * second + second // 2):
        job = Run(CONFIG, "tiny", (shards,), small_disk(f"size={room}") / f"run-{room}", resume=True)
        with pytest.raises(UserError, match="No space left on device; make room there"):
            train(job, ALONE)
        sound_checkpoints(job.run_dir)
        small_disk("size=1g")
        assert train(job, ALONE) == CONFIG.steps
        assert losses(job.run_dir) == losses(whole)
        shutil.rmtree(job.run_dir)
    read_only = small_disk("ro") / "run"
    with pytest.raises(UserError, match="Read-only file system"):
        train(Run(CONFIG, "tiny", (shards,), read_only, resume=True), ALONE)


@pytest.mark.soak
def test_no_room_for_the_log_is_one_line(shards: Path, tmp_path: Path, small_disk: Callable[[str], Path]) -> None:
    train(Run(replace(CONFIG, steps=1), "tiny", (shards,), tmp_path / "whole", resume=True), ALONE)
    pages = room_taken(tmp_path / "whole" / "checkpoints" / "step-0000000.pt") // PAGE
    # Beside the checkpoint there is room for config.json, the lock and the provenance, not for TensorBoard's thread.
    run_dir = small_disk(f"size={(pages + 3) * PAGE}") / "run"
    words = ["training/main.py", "--recipe", "tiny", "--device", "cpu", "--shards", shards]
    done = run([*words, "--log_every", "1", "--run-dir", run_dir])
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].endswith("run the command again")


def refused_by_all(world: World, shards: Path, run_dir: Path) -> dict[str, Tensor]:
    with pytest.raises(SystemExit) as ended:
        train(Run(CONFIG, "tiny", (shards,), run_dir, resume=False), world)
    assert ended.value.code == 2
    return {}


@pytest.mark.slow
def test_many_processes_tell_a_full_disk_once_and_end_alike(
    shards: Path, tmp_path: Path, small_disk: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    on_world(2, refused_by_all, tmp_path, shards, small_disk("size=2m") / "run")
    said = capsys.readouterr().err
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "step-0000000.pt: No space left on device" in line
    assert "lost another process" not in said


def test_other_errors_of_files_are_no_mistake() -> None:
    assert storage_mistake(FileNotFoundError(2, "No such file or directory", "x")) is None
