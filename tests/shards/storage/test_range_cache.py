"""The cache gives back what was put in, within its bound, over processes, kills and damage."""

import os
import signal
import sqlite3
from pathlib import Path

import pytest

from shards.command import UserError
from shards.storage.range_cache import FILE, RangeCache, key_of
from tests.forked import in_forked_process

MIB = 1 << 20


def keys(count: int) -> list[bytes]:
    return [key_of("content", number, 10) for number in range(count)]


def block(number: int) -> bytes:
    return number.to_bytes(4, "little") * 2500


def fill(folder: Path, first: int, stop: int) -> None:
    """Put blocks, as another process does."""
    cache = RangeCache(folder, 100 * MIB)
    for number in range(first, stop):
        cache.put([(key_of("content", number, 10), block(number))])


def killed(folder: Path) -> None:
    """Put blocks and be killed while another is on its way."""
    fill(folder, 0, 20)
    base = sqlite3.connect(folder / FILE, isolation_level=None)
    base.execute("BEGIN IMMEDIATE")
    base.execute("DELETE FROM ranges")
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_was_put_is_given_back(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "new" / "folder", 100 * MIB)
    cache.put(list(zip(keys(30), map(block, range(30)), strict=True)))
    assert cache.get([*keys(30), key_of("other", 0, 10)]) == [*map(block, range(30)), None]
    assert RangeCache(tmp_path / "new" / "folder", MIB).get(keys(2)) == [block(0), block(1)], "by the next run, too"


def test_it_stays_within_its_bound_and_keeps_what_was_used(tmp_path: Path) -> None:
    clock, known = [0.0], keys(300)
    cache = RangeCache(tmp_path, MIB, lambda: clock[0])
    for number in range(300):
        clock[0] += 700
        cache.put([(known[number], block(number))])
        cache.get(known[:1])
    assert (tmp_path / FILE).stat().st_size <= 1.2 * MIB
    kept = [data is not None for data in cache.get(known)]
    assert kept[0], "used all the time"
    assert not any(kept[1:100])
    assert all(kept[-30:])


def test_a_smaller_bound_shortens_the_file(tmp_path: Path) -> None:
    fill(tmp_path, 0, 500)
    RangeCache(tmp_path, 2 * MIB).put([(b"k", b"data")])
    sqlite3.connect(tmp_path / FILE).execute("PRAGMA wal_checkpoint(TRUNCATE)")
    assert (tmp_path / FILE).stat().st_size <= 2.2 * MIB


@pytest.mark.slow
def test_processes_share_it_and_a_kill_leaves_it_whole(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r".*"):
        in_forked_process(killed, tmp_path)
    in_forked_process(fill, tmp_path, 20, 30)
    assert RangeCache(tmp_path, 100 * MIB).get(keys(30)) == [block(number) for number in range(30)]


def test_damage_is_not_given_back(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 100 * MIB)
    cache.put(list(zip(keys(3), map(block, range(3)), strict=True)))
    sqlite3.connect(tmp_path / FILE, isolation_level=None).execute(
        "UPDATE ranges SET data = ? WHERE key = ?", (bytes(10_000), keys(3)[1])
    )
    assert cache.get(keys(3)) == [block(0), None, block(2)]
    assert cache.counts == {"kept": 2, "damaged": 1}


def test_a_database_that_breaks_is_told_once_and_costs_time_only(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    cache = RangeCache(tmp_path, 100 * MIB)
    sqlite3.connect(tmp_path / FILE, isolation_level=None).execute("DROP TABLE ranges")
    for _ in range(3):
        cache.put([(b"k", b"data")])
        assert cache.get([b"k"]) == [None]
    assert capsys.readouterr().err.count("reading goes on without it") == 1


def test_what_is_no_cache_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"no database at all, but long enough to be read" * 100)
    with pytest.raises(UserError, match=r"cannot be used .* name another --cache"):
        RangeCache(tmp_path, MIB)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="cannot be used"):
        RangeCache(tmp_path / "file", MIB)
