"""A file that is fetched in parts has the bytes of the whole, needs few of them at first, and keeps to one content."""

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from shards.array_file import ArrayFile
from shards.command import UserError
from shards.storage.limits import Kept, Limits
from shards.storage.places import RemotePath
from tests.shards.storage.http_server import Faults, serving
from tests.shards.storage.slow_network import network_before

ROWS = np.arange(1_300_000, dtype=np.int64)
Served = tuple[Path, RemotePath, Faults]


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    folder = tmp_path / "served"
    folder.mkdir()
    np.save(folder / "rows.npy", ROWS)
    with serving(folder) as (url, faults):
        yield folder, RemotePath(f"{url}/rows.npy", limits=Limits(timeout_s=2, patience_s=20)), faults


@pytest.fixture
def slow(served: Served) -> Iterator[RemotePath]:
    """The file behind a network over which a part of it comes soon, but a piece only after 16 seconds."""
    _, path, _ = served
    host, _, port = path.url.removeprefix("http://").partition("/")[0].partition(":")
    with network_before((host, int(port))) as network:
        network.bytes_per_s = 5e5
        limits = Limits(timeout_s=60, patience_s=60)
        yield RemotePath(f"http://{network.address}/rows.npy", limits=limits)


def wait_for_all(rows: ArrayFile) -> None:
    assert rows._grows is not None
    start = time.monotonic()
    while not rows._grows._there.all() and time.monotonic() < start + 30:
        time.sleep(0.01)
    assert rows._grows._there.all()


def test_rows_are_those_of_the_file(served: Served) -> None:
    _, path, faults = served
    faults.of = lambda number, name: "503" if number % 7 == 3 else ""
    rows = ArrayFile(path, held=0)
    draws = np.random.default_rng(0)
    for _ in range(5):
        some = draws.integers(0, len(ROWS), (20, 3))
        assert (rows[some] == ROWS[some]).all()
    assert (rows[5:400_000:3] == ROWS[5:400_000:3]).all()
    assert int(rows[len(ROWS) - 1]) == len(ROWS) - 1
    assert (np.concatenate([rows[chunk] for chunk in rows.chunks()]) == ROWS).all()
    with pytest.raises(IndexError):
        rows[len(ROWS)]


def test_the_first_rows_do_not_wait_for_the_rest(slow: RemotePath) -> None:
    rows = ArrayFile(slow, held=0)
    assert int(rows[700_000]) == 700_000
    assert rows._grows is not None
    assert rows._grows._there.sum() == 2, "a part for the header, and one for the row"


def test_with_a_cache_it_is_fetched_once(served: Served, tmp_path: Path) -> None:
    _, path, faults = served
    path = replace(path, kept=Kept(cache=tmp_path / "cache", cache_bytes=1 << 28))
    wait_for_all(ArrayFile(path, held=0))
    before = faults.bytes
    again = ArrayFile(path, held=0)
    wait_for_all(again)
    assert (again[:] == ROWS).all()
    assert faults.bytes - before < 200_000, "the first parts alone"


def test_processes_begin_with_other_pieces(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    _, path, _ = served
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    rows = ArrayFile(path, held=0)
    wait_for_all(rows)
    assert (rows[:] == ROWS).all()


def test_a_file_that_changes_is_not_mixed_with_the_first(served: Served, slow: RemotePath) -> None:
    folder, _, _ = served
    rows = ArrayFile(slow, held=0)
    np.save(folder / "other.npy", ROWS[::-1])
    (folder / "other.npy").replace(folder / "rows.npy")
    with pytest.raises(UserError, match=r"rows\.npy was changed while it was read"):
        rows[np.array([5, 1_200_000])]
