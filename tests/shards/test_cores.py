"""How many processors a process may use: its affinity, and the time of its control group."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from shards import cores
from shards.cores import time_share, usable_cores


def test_never_more_than_the_affinity_allows() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
    one = next(iter(os.sched_getaffinity(0)))
    program = (
        f"import os; os.sched_setaffinity(0, [{one}]); from shards.cores import usable_cores; print(usable_cores())"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


@pytest.mark.parametrize(
    ("limits", "own", "share"),
    [
        ({}, "/a/b", math.inf),
        ({"a": "max 100000"}, "/a/b", math.inf),
        ({"a": "150000 100000", "a/b": "max 100000"}, "/a/b", 1.5),
        ({"a": "400000 100000", "a/b": "50000 100000"}, "/a/b", 0.5),
        ({"": "200000 100000"}, "/of/the/host", 2.0),
        ({"other": "100000 100000"}, "/a", math.inf),
        ({"a": "damaged"}, "/a", math.inf),
        ({"a": "100000 0"}, "/a", math.inf),
    ],
)
def test_the_tightest_group_counts(tmp_path: Path, limits: dict[str, str], own: str, share: float) -> None:
    for group, text in limits.items():
        (tmp_path / group).mkdir(parents=True, exist_ok=True)
        (tmp_path / group / "cpu.max").write_text(text + "\n")
    assert time_share(tmp_path, own) == share


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two processors")
def test_a_share_of_a_processor_counts_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    monkeypatch.setattr(cores, "_GROUPS", tmp_path)
    assert usable_cores() == 2


def test_processes_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cores, "usable_cores", lambda: 16)
    assert [cores.cores_of_a_process(processes) for processes in (0, 1, 2, 5, 16, 40)] == [16, 16, 8, 3, 1, 1]
