"""Runs on a GPU: the losses of a CPU, repeated bit by bit, and checkpoints that any device reads."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

ROOT = Path(__file__).parents[2]
TINY = ["training/main.py", "--recipe", "tiny", "--device", "gpu"]
GOLDEN = Path(__file__).with_name("golden_losses.json")

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")]


def losses(run_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole_run(shards: Path, command: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe, never interrupted."""
    run_dir = tmp_path_factory.mktemp("run") / "whole"
    done = command(*TINY, "--shards", shards, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    return run_dir


def test_its_losses_are_those_of_a_cpu(whole_run: Path) -> None:
    pinned = json.loads(GOLDEN.read_text())
    found = losses(whole_run)
    # Rounding differs, and grows from step to step.
    assert found[:5] == pytest.approx(pinned[:5], rel=2e-3)
    assert found == pytest.approx(pinned, rel=0.05)


def test_killed_it_resumes_bit_identically(whole_run: Path, shards: Path, tmp_path: Path) -> None:
    words = [sys.executable, *TINY, "--shards", str(shards), "--run-dir", str(tmp_path), "--resume"]
    words += ["--checkpoint_every", "3"]
    for stop_at in ("step 8/", "step 20/", None):
        process = subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            if stop_at is not None and line.startswith(stop_at):
                process.send_signal(signal.SIGKILL)
                break
        process.communicate(timeout=120)
    assert process.returncode == 0
    assert losses(tmp_path) == losses(whole_run)


@pytest.mark.parametrize(
    ("options", "within"),
    [
        (["--precision", "bfloat16"], 0.05),
        (["--compile", "true"], 0.02),
        (["--accumulate", "2"], 0.01),
        (["--head.sharded", "true"], 0.01),
    ],
)
def test_every_way_of_computing_begins_alike(
    whole_run: Path, shards: Path, tmp_path: Path, command: Callable, options: list[str], within: float
) -> None:
    done = command(*TINY, "--steps", "5", *options, "--shards", shards, "--run-dir", tmp_path)
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == pytest.approx(losses(whole_run)[:5], rel=within)


@pytest.mark.parametrize("recipe", [["--views.degradation.probability", "0.8"], ["--sampling", "photo"]])
def test_degraded_views_and_single_photos_are_trained_on(
    shards: Path, tmp_path: Path, command: Callable, recipe: list[str]
) -> None:
    for name in ("one", "other"):
        done = command(*TINY, "--steps", "6", *recipe, "--shards", shards, "--run-dir", tmp_path / name)
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "one") == losses(tmp_path / "other")
    assert np.isfinite(losses(tmp_path / "one")).all()


def test_a_cpu_goes_on_with_its_checkpoint(whole_run: Path, shards: Path, tmp_path: Path, command: Callable) -> None:
    where = ["--shards", shards, "--run-dir", tmp_path, "--resume"]
    assert command(*TINY, *where, "--steps", "10").returncode == 0
    done = command(*TINY[:3], "--device", "cpu", *where, "--steps", "12")
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path) == pytest.approx(losses(whole_run)[:12], rel=0.02)


def test_any_device_embeds_alike(whole_run: Path, rendered: Path, tmp_path: Path, command: Callable) -> None:
    photos = rendered / "VGGFace2" / "test"
    embeddings = {}
    for device in ("cpu", "gpu"):
        out = tmp_path / f"{device}.npz"
        options = ["--checkpoint", whole_run / "final.pt", "--images", photos, "--device", device]
        done = command("evaluation.embed", *options, "--no-cache", "--out", out)
        assert done.returncode == 0, done.stderr
        with np.load(out) as stored:
            embeddings[device] = stored["vectors"]
    one, other = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in embeddings.values())
    assert (one * other).sum(axis=1).min() > 0.9999
