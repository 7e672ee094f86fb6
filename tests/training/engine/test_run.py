"""Whole runs: interrupted and continued, refused, and pinned to known losses."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.training.worlds import on_world
from training.checkpoints.checkpoint import load_checkpoint
from training.checkpoints.class_rows import read_rows
from training.engine.loop import train
from training.engine.run import Run
from training.ranks.world import ALONE, World
from training.settings.config import Config, Head
from training.settings.recipes import TINY as TINY_RECIPE

ROOT = Path(__file__).parents[3]
TINY = ["training/main.py", "--recipe", "tiny", "--device", "cpu"]
# Thirty losses of the tiny recipe on the rendered shards of the tests. Regenerate after a change that is
# meant to move them: `python -m pytest tests/training/engine/test_run.py -k golden --golden-losses`.
GOLDEN = Path(__file__).with_name("golden_losses.json")


def losses(run_dir: Path) -> list[tuple[int, float]]:
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    return [(line["step"], line["loss"]) for line in map(json.loads, lines)]


def torchrun(processes: int, *arguments: object) -> list[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*start, *TINY, *map(str, arguments)]


@pytest.fixture(scope="module")
def whole_run(shards: Path, command: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny recipe on one process, never interrupted."""
    run_dir = tmp_path_factory.mktemp("run") / "whole"
    done = command(*TINY, "--shards", shards, "--run-dir", run_dir)
    assert done.returncode == 0, done.stderr
    return run_dir


def test_a_run_leaves_what_it_should(whole_run: Path) -> None:
    names = {path.name for path in (whole_run / "checkpoints").iterdir()}
    assert names == {f"step-{step:07d}.pt" for step in (0, 10, 20, 30)}
    assert (whole_run / "final.pt").is_file()
    assert json.loads((whole_run / "config.json").read_text())["recipe"] == "tiny"
    assert [step for step, _ in losses(whole_run)] == list(range(1, 31))
    line = json.loads((whole_run / "metrics.jsonl").read_text().splitlines()[0])
    assert {"triplet", "classification/8px", "learning_rate", "share_waiting_for_data"} <= line.keys()
    assert any((whole_run / "tensorboard").iterdir())
    assert "Finished: 30 of 30 steps" in (whole_run / "summary.html").read_text()


def test_training_lowers_the_loss(whole_run: Path) -> None:
    values = [loss for _, loss in losses(whole_run)]
    assert sum(values[-5:]) < 0.9 * sum(values[:5])


def test_golden_losses(whole_run: Path, request: pytest.FixtureRequest) -> None:
    found = [loss for _, loss in losses(whole_run)]
    if request.config.getoption("--golden-losses"):
        GOLDEN.write_text(json.dumps(found, indent=1) + "\n")
    assert found == pytest.approx(json.loads(GOLDEN.read_text()), rel=1e-3)


@pytest.mark.slow
def test_two_runs_are_bit_identical(whole_run: Path, shards: Path, tmp_path: Path, command: Callable) -> None:
    assert command(*TINY, "--shards", shards, "--run-dir", tmp_path, "--steps", 12).returncode == 0
    assert losses(tmp_path) == losses(whole_run)[:12]


@pytest.mark.soak
def test_killed_at_random_it_resumes_bit_identically(
    whole_run: Path, shards: Path, tmp_path: Path, command: Callable
) -> None:
    words = [*TINY, "--shards", str(shards), "--run-dir", str(tmp_path), "--resume", "--checkpoint_every", "3"]
    process = subprocess.Popen([sys.executable, *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    stop_after = random.Random(1).randint(4, 12)
    for line in process.stderr:
        stop_after -= line.startswith("step ")
        if stop_after <= 0:
            process.kill()
            break
    process.communicate(timeout=60)
    assert not (tmp_path / "final.pt").exists()
    assert command(*words).returncode == 0
    assert losses(tmp_path) == losses(whole_run)


def on_two_machines(*arguments: object) -> list[str]:
    """Return the command of either machine, here two launchers of a process each."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        port = probe.getsockname()[1]
    words = torchrun(1, *arguments)
    words[3:4] = ["--nnodes", "2", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"localhost:{port}"]
    return words


def go_on(world: World, config: Config, shards: Path, run_dir: Path) -> dict[str, Tensor]:
    train(Run(config, "tiny", (shards,), run_dir, resume=True), world)
    return {}


@pytest.mark.soak
def test_two_processes_and_two_machines_resume_and_equal_one(whole_run: Path, shards: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    on_world(2, go_on, tmp_path, replace(TINY_RECIPE, steps=7), shards, run_dir)
    words = on_two_machines("--shards", shards, "--run-dir", run_dir, "--resume", "--steps", 12)
    jobs = [subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [job.communicate(timeout=200)[1] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0], said
    found = losses(run_dir)
    assert [step for step, _ in found] == list(range(1, 13))
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in losses(whole_run)[:12]], rel=2e-3)


@pytest.mark.soak
def test_resumed_by_many_processes_it_is_the_same_to_the_bit(shards: Path, tmp_path: Path) -> None:
    """By more than two: the sum of two numbers does not depend on their order."""
    weights = []
    for name, stops in (("whole", [4]), ("resumed", [2, 4])):
        for steps in stops:
            on_world(4, go_on, tmp_path, replace(TINY_RECIPE, steps=steps), shards, tmp_path / name)
        final = load_checkpoint(tmp_path / name / "final.pt")
        weights.append({**final.backbone, **final.head})
    assert losses(tmp_path / "whole") == losses(tmp_path / "resumed")
    torch.testing.assert_close(*weights, rtol=0, atol=0)


@pytest.mark.slow
def test_in_shards_and_in_parts_it_equals_one_process_in_one_piece(
    whole_run: Path, shards: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    sharded = replace(TINY_RECIPE, head=replace(TINY_RECIPE.head, sharded=True), accumulate=2, checkpoint_every=3)
    on_world(2, go_on, tmp_path, replace(sharded, steps=6), shards, run_dir)
    halfway = load_checkpoint(run_dir / "final.pt")
    matrix = load_checkpoint(whole_run / "final.pt").head["weight"]
    rows = read_rows(run_dir / "checkpoints", halfway.rows or [], range(len(matrix)))
    assert {name: value.shape for name, value in rows.items()} == {
        "weight": matrix.shape,
        "momentum_buffer": matrix.shape,
    }
    go_on(ALONE, replace(TINY_RECIPE, steps=10), shards, run_dir)
    found = losses(run_dir)
    assert [step for step, _ in found] == list(range(1, 11))
    assert [loss for _, loss in found] == pytest.approx([loss for _, loss in losses(whole_run)[:10]], rel=2e-3)


def ranks_of(job: subprocess.Popen[str]) -> list[int]:
    words = ["ps", "-o", "pid=", "--ppid", str(job.pid)]
    return [int(pid) for pid in subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()[-2:]]


@pytest.mark.soak
def test_torchrun_starts_a_job_anew_that_resumes_by_itself(shards: Path, tmp_path: Path) -> None:
    words = torchrun(2, "--shards", shards, "--run-dir", tmp_path / "killed", "--steps", 9, "--checkpoint_every", 3)
    words[3:3] = ["--max-restarts", "1"]
    job = subprocess.Popen(words, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert job.stderr is not None
    for line in job.stderr:
        if line.startswith("step 5/"):
            os.kill(ranks_of(job)[1], signal.SIGKILL)
            break
    _, said = job.communicate(timeout=200)
    assert job.returncode == 0, said
    on_world(2, go_on, tmp_path, replace(TINY_RECIPE, steps=9, checkpoint_every=3), shards, tmp_path / "whole")
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def refused_by_all(world: World, config: Config, shards: Path, run_dir: Path) -> dict[str, Tensor]:
    with pytest.raises(SystemExit) as ended:
        go_on(world, config, shards, run_dir)
    assert ended.value.code == 2
    return {}


@pytest.mark.soak
def test_many_processes_tell_a_mistake_once(shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = torchrun(2, "--shards", shards, "--run-dir", tmp_path, "--batch", "many")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "exitcode  : 2" in done.stderr
    # After they have met, they agree on who tells it.
    on_world(2, refused_by_all, tmp_path, replace(TINY_RECIPE, head=Head(name="nothing")), shards, tmp_path / "run")
    for said, told in ((done.stderr, "batch"), (capsys.readouterr().err, "no head 'nothing'")):
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        assert told in line


def test_a_finished_run_stays_as_it_is(whole_run: Path, shards: Path, command: Callable) -> None:
    before = (whole_run / "final.pt").read_bytes()
    done = command(*TINY, "--shards", shards, "--run-dir", whole_run, "--resume")
    assert done.returncode == 0
    assert "is finished at step 30" in done.stdout
    assert (whole_run / "final.pt").read_bytes() == before


def test_mistakes_end_in_one_line(
    whole_run: Path, shards: Path, orl_shards: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    fresh = ["--run-dir", tmp_path / "run"]
    assert "choose one of paper, quickstart, tiny" in refused(
        "training/main.py", "--recipe", "x", "--shards", shards, *fresh
    )
    assert "no folder" in refused(*TINY, "--shards", tmp_path / "nowhere", *fresh)
    assert "faces of 64 pixels" in refused(*TINY, "--shards", orl_shards, *fresh)
    assert "a batch of 13 identities" in refused(*TINY, "--shards", shards, *fresh, "--batch", 13)
    assert not (tmp_path / "run").exists(), "a refused run leaves nothing behind"
    assert "add --resume" in refused(*TINY, "--shards", shards, "--run-dir", whole_run)
    resumed = ["--run-dir", whole_run, "--resume"]
    assert "head.margin 0.35, now 0.5" in refused(*TINY, "--shards", shards, *resumed, "--head.margin", 0.5)


def test_shards_of_another_run_are_refused(
    whole_run: Path, rendered: Path, tmp_path: Path, refused: Callable[..., str], command: Callable
) -> None:
    lists = rendered / "VGGFace2" / "bb_landmark"
    both = [lists / f"loose_landmark_{split}.csv" for split in ("train", "test")]
    other = tmp_path / "other"
    options = ["--dataset", "vggface2", "--root", rendered / "VGGFace2", "--size", 32, "--out", other]
    done = command("pipeline.shard", *options, "--landmarks", *both)
    assert done.returncode == 0, done.stderr
    line = refused(*TINY, "--shards", other, "--run-dir", whole_run, "--resume", "--steps", 40)
    assert "started on other shards" in line


def test_a_loss_that_is_not_finite_stops_the_run(shards: Path, tmp_path: Path, command: Callable) -> None:
    # Progress lines come before the error, so only the last line is the refusal.
    done = command(*TINY, "--shards", shards, "--run-dir", tmp_path, "--optimizer.learning_rate", "1e30")
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith("error: ")
    assert "at step" in last
