"""A run whose shards lie on a web server has the losses of one on a local folder, with a stop and a resume."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.shards.storage.http_server import serving


def losses(run_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.soak
def test_losses_are_those_of_the_local_folder(shards: Path, tmp_path: Path, command: Callable) -> None:
    words = ["training/main.py", "--recipe", "tiny", "--device", "cpu", "--checkpoint_every", 3]
    with serving(shards) as (url, faults):
        faults.of = lambda number, name: "503" if number % 100 == 99 else ""
        cached = ["--cache", tmp_path / "cache", "--cache-gb", 1]
        for run_dir, steps, place in (
            ("local", 12, [shards]),
            ("remote", 5, [url]),
            ("remote", 12, [url, *cached]),
            ("warm", 12, [url, *cached]),
        ):
            run = ["--run-dir", tmp_path / run_dir, "--resume", "--steps", steps]
            done = command(*words, "--shards", *place, *run)
            assert done.returncode == 0, done.stderr
    assert len(losses(tmp_path / "local")) == 12
    assert losses(tmp_path / "local") == losses(tmp_path / "remote") == losses(tmp_path / "warm")
