"""The command from nothing to tables, killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from experiments.findings.page import BEGIN, END
from shards.lock import locked_output


@pytest.mark.soak
def test_a_killed_ablation_continues_and_does_no_trial_twice(tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "out"
    words = ["experiments.ablation", "--out", str(out), "--size", "tiny", "--people", "orl", "--workers", "1"]
    words += ["--variants", "hr-only", "full"]
    process = subprocess.Popen(
        [sys.executable, "-m", *words], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    trials, deadline = out / "trials", time.monotonic() + 200
    while not list(trials.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    kept = {path: path.read_bytes() for path in trials.glob("*.json")}
    assert 0 < len(kept) < 4
    stamps = {path: path.stat().st_mtime_ns for path in kept}
    repeated = next(iter(kept))
    repeated.unlink()
    page = tmp_path / "page.md"
    page.write_text(f"{BEGIN.format('ablation')}\n{END}\n")
    done = command(*words, "--page", page)
    assert done.returncode == 0, done.stderr
    assert repeated.read_bytes() == kept[repeated], "the same trial gives the same figures"
    del stamps[repeated]
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps
    assert len(list(trials.glob("*.json"))) == 4
    assert not (out / "runs").exists()
    assert "| (d) full method |" in page.read_text()
    assert (tmp_path / "ablation-orl.png").read_bytes() == (out / "ablation-orl.png").read_bytes()
    (population,) = json.loads((out / "results.json").read_text())["populations"]
    assert (population["people"], population["seeds"], population["sizes"]) == (40, [0], [8, 32])


def test_mistakes_end_in_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "choose one of hour, tiny" in refused("experiments.ablation", "--out", tmp_path, "--size", "day")
    with locked_output(tmp_path / ".lock", tmp_path):
        assert "is in use by process" in refused("experiments.ablation", "--out", tmp_path)
    assert "choose from hr-only," in refused("experiments.ablation", "--out", tmp_path, "--variants", "best")
