"""Compiled functions where their code can, and cannot, be kept."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.campaigns.small_disk import PAGE

ROOT = Path(__file__).parents[3]

WARP = """
import numpy as np
from pipeline.alignment.warp import _warp, warp
assert warp(np.full((9, 9, 3), 7, np.uint8), np.array([[1.0, 0, 0], [0, 1, 0]]), 4)[1, 1, 1] == 7
print(sum(_warp.stats.cache_hits.values()), sum(_warp.stats.cache_misses.values()))
"""


def hits_and_misses(kept: Path, project: Path = ROOT) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(kept), "PYTHONPATH": str(project)}
    done = subprocess.run(
        [sys.executable, "-c", WARP], env=environment, cwd=project, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.soak
def test_on_a_full_disk_it_works_without_being_kept(small_disk: Callable[[str], Path]) -> None:
    # Room for an empty file, and no more.
    disk = small_disk(f"size={PAGE}")
    (disk / "file").write_bytes(bytes(PAGE))
    assert hits_and_misses(disk) == "0 1"
    assert [path.name for path in disk.rglob("*.nbc")] == []


@pytest.mark.soak
def test_compiled_code_is_kept_for_the_next_process_and_not_for_another_kernel(tmp_path: Path) -> None:
    for package in ("shards", "pipeline"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    kept = tmp_path / "kept"
    assert [hits_and_misses(kept, tmp_path) for _ in range(2)] == ["0 1", "1 0"]
    kernel = tmp_path / "pipeline" / "pixels" / "weighted_sum.py"
    kernel.write_text(kernel.read_text() + "\n_CHANGED = True\n")
    assert [hits_and_misses(kept, tmp_path) for _ in range(2)] == ["0 1", "1 0"]
