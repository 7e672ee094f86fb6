"""The cache gives back what was put in, within its bound, over processes, kills, damage and a full disk."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from shards.byte_ranges import Bytes, Range
from shards.command import UserError
from shards.storage.cache_room import CacheRoom
from shards.storage.range_cache import RangeCache, content_key
from tests.forked import in_forked_process

MIB = 1 << 20
SIZE = 10_000
CONTENTS = [content_key("a.tar"), content_key("b.tar")]


def data_of(number: int) -> Bytes:
    return np.frombuffer(np.random.default_rng(number).bytes(SIZE), dtype=np.uint8)


def ranges(*numbers: int, file: int = 0) -> list[Range]:
    """Ranges that do not touch one another, some of which reach over the end of a block."""
    return [Range(file, number * 3 * SIZE, SIZE, crc32(data_of(number).data)) for number in numbers]


def put(cache: RangeCache, *numbers: int) -> None:
    cache.put(CONTENTS, ranges(*numbers), list(map(data_of, numbers)))


def kept(cache: RangeCache, *numbers: int) -> list[bool]:
    """Whether each is there; what is there must be what was put."""
    found = cache.get(CONTENTS, ranges(*numbers))
    assert all(one is None or (one == data_of(n)).all() for one, n in zip(found, numbers, strict=True))
    return [one is not None for one in found]


def on_disk(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def fill(folder: Path, first: int, stop: int) -> None:
    """Put ranges, as another process does."""
    put(RangeCache(folder, 100 * MIB), *range(first, stop))


def killed(folder: Path) -> None:
    """Put ranges and be killed while another is on its way."""
    fill(folder, 0, 20)
    cache = RangeCache(folder, 100 * MIB)
    os.pwrite = (
        lambda file, data, offset, write=os.pwrite: (  # type: ignore[assignment]
            write(file, bytes(data)[:5000], offset),
            os.kill(os.getpid(), signal.SIGKILL),
        )
    )
    put(cache, 20)


def test_what_was_put_is_given_back(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "new" / "folder", 100 * MIB, block=100_000)
    put(cache, *range(300))
    assert all(kept(cache, *range(300)))
    assert kept(cache, 300) == [False]
    assert cache.get(CONTENTS, ranges(3, file=1)) == [None], "another content"
    assert cache.get(CONTENTS, [ranges(3)[0]._replace(crc32=None)]) == [None], "not to be checked"
    assert cache.counts == {"kept": 300, "absent": 3}
    again = RangeCache(tmp_path / "new" / "folder", 100 * MIB, block=100_000)
    assert all(kept(again, *range(300))), "by the next run, too"
    assert all(one is None or one.flags.writeable for one in again.get(CONTENTS, ranges(1, 400)))


def test_pieces_come_with_a_check_of_their_own(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 100 * MIB)
    cache.put_piece(CONTENTS[0], 3, b"some bytes")
    assert cache.piece(CONTENTS[0], 3) == b"some bytes"
    assert cache.piece(CONTENTS[0], 2) is None
    path = tmp_path / CONTENTS[0] / "piece-000003"
    for damaged in (path.read_bytes()[:-1], b"abc", path.read_bytes().replace(b"some", b"same")):
        path.write_bytes(damaged)
        assert cache.piece(CONTENTS[0], 3) is None


@pytest.mark.slow
def test_it_stays_within_its_bound_and_keeps_what_was_used(tmp_path: Path) -> None:
    clock = [0.0]
    cache = RangeCache(tmp_path, MIB, lambda: clock[0], block=30_000)
    for number in range(300):
        clock[0] += 700
        put(cache, number)
        kept(cache, 0)
        assert on_disk(tmp_path) <= 1.05 * MIB
    there = kept(cache, *range(300))
    assert there[0], "used all the time"
    assert not any(there[1:100])
    assert all(there[-60:])


def test_a_smaller_bound_makes_it_smaller(tmp_path: Path) -> None:
    put(RangeCache(tmp_path, 100 * MIB, block=100_000), *range(300))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_bytes(bytes(3 * MIB))
    cache = RangeCache(tmp_path, 2 * MIB, block=100_000)
    assert on_disk(tmp_path) <= 5 * MIB, "and what is not of a cache is left alone"
    assert (tmp_path / "mine" / "file").stat().st_size == 3 * MIB
    assert 50 < sum(kept(cache, *range(300))) < 200


def test_processes_share_it_though_one_lets_go_what_another_has_open(tmp_path: Path) -> None:
    one, other = (RangeCache(tmp_path, 100 * MIB) for _ in range(2))
    put(one, 1, 2)
    assert kept(other, 1, 2) == [True, True]
    CacheRoom(tmp_path, 10).make()
    assert kept(other, 1, 2) == kept(one, 1, 2) == [False, False]
    put(other, 1)
    assert kept(one, 1, 2) == kept(other, 1, 2) == [True, False]


@pytest.mark.soak
def test_a_kill_leaves_it_whole(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r".*"):
        in_forked_process(killed, tmp_path)
    cache = RangeCache(tmp_path, 100 * MIB)
    assert kept(cache, *range(21)) == [True] * 20 + [False]
    in_forked_process(fill, tmp_path, 20, 30)
    assert all(kept(cache, *range(30)))


def test_damage_is_not_given_back_and_is_healed(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path, 100 * MIB)
    put(cache, 0, 1, 2)
    with (tmp_path / CONTENTS[0] / "000000").open("r+b") as file:
        file.seek(3 * SIZE + 77)
        file.write(b"\0\1\2")
    assert kept(cache, 0, 1, 2) == [True, False, True]
    put(cache, 1)
    assert all(kept(cache, 0, 1, 2))


def test_a_full_disk_is_told_once_and_costs_time_only(
    small_disk: Callable[[str], Path], capsys: pytest.CaptureFixture
) -> None:
    cache = RangeCache(small_disk("size=256k"), 100 * MIB)
    for _ in range(2):
        put(cache, *range(60))
    assert 5 < sum(kept(cache, *range(60))) < 26
    assert capsys.readouterr().err.count("reading goes on without it") == 1


def test_a_folder_that_goes_away_is_made_anew(tmp_path: Path) -> None:
    cache = RangeCache(tmp_path / "cache", 100 * MIB)
    put(cache, 1)
    shutil.rmtree(tmp_path / "cache")
    put(cache, 2)
    assert kept(cache, 1, 2) == [False, True]


def test_what_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"cannot be used .* name another --cache"):
        RangeCache(tmp_path / "file", MIB)
