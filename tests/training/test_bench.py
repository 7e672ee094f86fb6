"""The training benchmark: every way does the same step, and the command reports them all."""

import ctypes
import json
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path

import pytest
import torch

from pipeline.loading.batch import Batch
from shards.command import UserError
from training.benchmarks.steps import (
    STRAIGHTFORWARD,
    TRAINER,
    arithmetic,
    one_pass_losses,
    straightforward_losses,
    ways,
)
from training.engine.compiling import compiled, compiler_fault
from training.engine.optimizer import build_optimizer
from training.engine.step import build_learner, for_training, losses_and_gradients
from training.networks.backbones import channels_last
from training.ranks.machine import keep_freed_memory, return_freed_memory
from training.ranks.world import ALONE
from training.settings.config import Model
from training.settings.recipes import TINY

CPU = torch.device("cpu")
LARGE_BLOCK = 32 << 20  # bytes


def batch() -> Batch:
    generator = torch.Generator().manual_seed(0)
    views = tuple(
        torch.randint(0, 256, (5, side, side, 3), generator=generator, dtype=torch.uint8) for side in (32, 8, 12, 16)
    )
    return Batch(0, torch.arange(5), views, torch.zeros(5, 4, dtype=torch.int64), 32)


@pytest.mark.slow
def test_every_way_has_the_loss_and_the_gradients_of_the_trainer() -> None:
    found = []
    for way in (straightforward_losses, one_pass_losses, None):
        learner = build_learner(TINY, 7)
        if way is None:
            losses = losses_and_gradients(for_training(learner, TINY, ALONE), batch(), TINY, ALONE).total
        else:
            losses = (
                way(learner, batch(), TINY)
                if way is straightforward_losses
                else one_pass_losses(learner, batch(), TINY, channels_last=False)
            )
            losses.backward()
        gradients = torch.cat([one.grad.flatten() for one in learner.parameters() if one.grad is not None])
        found.append((losses.detach(), gradients))
    for losses, gradients in found[:-1]:
        torch.testing.assert_close(losses, found[-1][0], rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(gradients, found[-1][1], rtol=1e-3, atol=1e-5)


@pytest.mark.slow
def test_the_fused_optimizer_takes_the_steps_of_the_plain_one() -> None:
    weights = []
    for fused in (True, False):
        learner = channels_last(build_learner(TINY, 7))
        optimizer = build_optimizer(TINY.optimizer, learner)
        assert optimizer.defaults["fused"]
        for group in optimizer.param_groups:
            group["fused"] = fused
        for _ in range(3):
            optimizer.zero_grad()
            losses_and_gradients(for_training(learner, TINY, ALONE), batch(), TINY, ALONE)
            optimizer.step()
        weights.append(torch.cat([one.detach().flatten() for one in learner.parameters()]))
    torch.testing.assert_close(*weights, rtol=1e-5, atol=1e-7)


def test_the_ladder_begins_straightforward_and_adds_one_lever_at_a_time() -> None:
    ladder = ways(compiling=True)
    assert ladder[0] == STRAIGHTFORWARD
    assert TRAINER in ladder
    levers = ("one_pass", "channels_last", "reads_loss", "keeps_memory", "fused", "trainer")
    for before, after in pairwise(ladder[: ladder.index(TRAINER) + 1]):
        assert sum(getattr(before, lever) != getattr(after, lever) for lever in levers) == 1, after.name


@pytest.mark.slow
def test_the_arithmetic_of_a_step_is_counted() -> None:
    config = replace(TINY, model=Model("tests.training.test_bench:one_layer", 8))
    # 3 x 32 x 32 inputs to 8 outputs: two operations a weight forwards, as many for the weights' gradient. The
    # pictures need none.
    assert arithmetic(config, 4, "cpu").tflop == pytest.approx(4 * 2 * 2 * 3 * 32 * 32 * 8 / 1e12)


def one_layer(size: int, embedding_size: int) -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * size * size, embedding_size))


@pytest.mark.slow
def test_a_compiled_step_has_the_losses_of_one_that_is_not() -> None:
    if (fault := compiler_fault(CPU)) is not None:
        pytest.skip(fault)
    found = []
    for compiling in (False, True):
        config = replace(TINY, compile=compiling, model=Model("tests.training.test_bench:one_layer", 8))
        learner = build_learner(config, 7)
        found.append(losses_and_gradients(for_training(learner, config, ALONE), batch(), config, ALONE).values())
        assert not any("_orig_mod" in name for name in learner.state_dict()), "checkpoints keep their names"
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)


def test_without_a_compiler_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(UserError, match=r"no C\+\+ compiler .* is installed"):
        compiled(torch.nn.Identity(), CPU)


def new_pages_kept_and_returned() -> tuple[int, int]:
    """Count the pages that the system hands out for large blocks while freed memory is kept, and while it is not."""
    import resource

    library = ctypes.CDLL(None)
    library.malloc.argtypes, library.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    library.free.argtypes = [ctypes.c_void_p]

    def new_pages() -> int:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(4):
            block = library.malloc(LARGE_BLOCK)
            ctypes.memset(block, 1, LARGE_BLOCK)
            library.free(block)
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    # A small block may lie where a large one was, which moves the next large one: so several rounds of each.
    keep_freed_memory()
    kept = min(new_pages() for _ in range(8))
    return_freed_memory()
    return kept, max(new_pages() for _ in range(8))


@pytest.mark.soak
def test_memory_that_is_kept_costs_no_new_pages() -> None:
    # In a process of its own, whose memory no other test has cut up.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        kept, returned = pool.submit(new_pages_kept_and_returned).result()
    if returned == 0:
        pytest.skip("this system does not count the pages that it hands out")
    assert kept < 0.1 * returned, f"{kept} new pages while freed memory is kept, {returned} while it is returned"


@pytest.mark.soak
def test_the_command_reports_every_way(tmp_path: Path, command: Callable) -> None:
    small = ["--backbone", "spherenet4", "--size", 32, "--batch", 4, "--identities", 16, "--threads", 1, "--no-compile"]
    done = command("training.bench", *small, "--rounds", 2, "--waiting-steps", 2, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    for text in ("straightforward", "+ channels last", "the trainer, bfloat16", "bound: ", "waiting for data: "):
        assert text in done.stdout, text
    found = json.loads((tmp_path / "training.json").read_text())
    assert list(found["seconds"]) == [way.name for way in ways(compiling=False)]
    assert all(len(seconds) == 2 and min(seconds) > 0 for seconds in found["seconds"].values())
    assert 0 <= found["waiting"] < 1


@pytest.mark.soak
def test_scale_measures_each_size(tmp_path: Path, command: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    # In this process: that each is measured in a fresh one is the runner's business.
    monkeypatch.setattr("training.benchmarks.scale.in_fresh_process", lambda function, *given: function(*given))
    small = ["--photos", 30_000, 90_000, "--batch", 16, "--ranks", 4, "--embedding-size", 8]
    done = command("training.bench", "scale", *small, "--scratch", tmp_path, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    runs = json.loads((tmp_path / "scale.json").read_text())["runs"]
    sizes = [(one["photos"], one["identities"], one["tars"]) for one in runs]
    assert sizes == [(30_000, 1428, 1), (90_000, 4285, 3)]
    names = ("open_s", "draw_s", "photo_draw_s", "verify_s", "rows_s", "sampled_s", "copy_s", "write_s")
    assert all(0 < one[name] < 60 for one in runs for name in names)
    assert "90,000 photos, 4,285" in done.stdout and "sampled classes" in done.stdout


def test_mistakes_end_in_one_line(shards: Path, refused: Callable[..., str]) -> None:
    assert "at least 2 identities" in refused("training.bench", "--batch", 1)
    assert "at least 100" in refused("training.bench", "scale", "--photos", 99)
    assert "below 1" in refused("training.bench", "scale", "--sampling", 1)
    assert "no folder" in refused("training.bench", "scale", "--scratch", shards / "manifest.json")
    assert "faces of 32 pixels; give --size 32" in refused("training.bench", "--shards", shards, "--batch", 2)


def test_each_network_and_head_is_measured_by_itself(command: Callable, refused: Callable, tmp_path: Path) -> None:
    words = ["--size", 32, "--batch", 2, "--rounds", 1, "--identities", 7, "--threads", 1]
    done = command("training.bench", "--parts", "mbf", "adaface", "sphereface", *words, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "parts.json").read_text())
    assert list(found) == ["mbf", "adaface", "sphereface"]
    assert found["adaface"]["parameters"] == 7 * 512
    assert all(len(part["seconds"]) == 1 and part["gflop"] > 0 for part in found.values())
    assert "no network and no head 'nothing'" in refused("training.bench", "--parts", "nothing", *words)
    assert "takes five points" in refused("training.bench", "--backbone", "vit_kprpe_small", *words)
