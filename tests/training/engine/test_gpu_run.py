"""Runs on a GPU: the losses of a CPU, repeated bit by bit, and checkpoints that any device reads."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.loading.loader import Loader
from training.engine.optimizer import build_optimizer
from training.engine.step import build_learner, for_training, losses_and_gradients
from training.ranks.world import World
from training.settings.recipes import recipe

ROOT = Path(__file__).parents[3]
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
    assert np.abs(one - other).max() < 1e-5


def test_a_step_waits_for_nothing(shards: Path) -> None:
    """The host is free to ask for the next step while the GPU is at one; PyTorch refuses whatever would wait."""
    config = replace(recipe("tiny"), batch=8)
    device = torch.device("cuda")
    loader = Loader(shards, config.views, seed=0, global_batch=8, device="gpu")
    learner = build_learner(config, loader.identities).to(device)
    world = World(0, 1, device)
    trained, optimizer = for_training(learner, config, world), build_optimizer(config.optimizer, learner)
    for number in range(4):
        batch = next(loader)
        # The next batch is being made meanwhile, which does wait, in a thread and a stream of its own.
        time.sleep(1)
        torch.cuda.set_sync_debug_mode("error" if number else "default")
        try:
            losses_and_gradients(trained, batch.to(device), config, world)
            optimizer.step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    loader.close()


def test_batches_are_made_beside_the_training(shards: Path) -> None:
    """Batches come while the stream of the training is busy, and are those that come when it is not."""
    views = recipe("tiny").views
    quiet, busy = (Loader(shards, views, seed=0, global_batch=8, device="gpu") for _ in range(2))
    expected = [[tensor.cpu() for tensor in next(quiet).pixels()] for _ in range(7)]
    # The first ones ask for memory, for which a GPU stands still.
    found = [next(busy) for _ in range(4)]
    square = torch.randn(8192, 8192, device="cuda")
    for _ in range(60):
        square = square @ square / 8192
    done = torch.cuda.Event()
    done.record()
    # One was ready, the next were not.
    found += [next(busy) for _ in range(3)]
    assert not done.query(), "the batches came only after the work that was asked for before them"
    for batch, tensors in zip(found, expected, strict=True):
        assert all(torch.equal(one.cpu(), other) for one, other in zip(batch.pixels(), tensors, strict=True))
    quiet.close()
    busy.close()


def test_more_processes_than_gpus_train_on_the_cpu_or_are_refused(shards: Path, tmp_path: Path) -> None:
    many = torch.cuda.device_count() + 1
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(many)]
    words = [*start, *TINY[:3], "--batch", str(4 * many), "--steps", "3", "--shards", str(shards)]
    for device, status in (("gpu", 1), ("auto", 0)):
        where = ["--run-dir", str(tmp_path / device), "--device", device]
        done = subprocess.run([*words, *where], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == status, done.stderr
        assert (f"{many} processes on a machine with" in done.stderr) == (device == "gpu")
    assert len(losses(tmp_path / "auto")) == 3
