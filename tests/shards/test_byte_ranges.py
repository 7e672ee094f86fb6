"""Ranges of files are read as they stand there; what storage does not give is told with file and place."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from shards.array_file import ArrayFile
from shards.byte_ranges import Bytes, LocalFiles, Range, Unread
from shards.command import UserError
from shards.open_files import OpenFiles


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{number}.tar" for number in range(3)]
    for number, path in enumerate(paths):
        path.write_bytes(np.random.default_rng(number).bytes(5000))
    return paths


class Failing(OpenFiles):
    """Storage that fails as often as it is told."""

    def __init__(self, code: int, times: int) -> None:
        super().__init__(2)
        self.code, self.left, self.asked = code, times, 0

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        self.asked += 1
        if self.left > 0:
            self.left -= 1
            raise OSError(self.code, os.strerror(self.code), path)
        return super().read_into(memory, path, offset)


class Slow(OpenFiles):
    """Storage that takes a millisecond for every range, so that threads read."""

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        import time

        time.sleep(1e-3)
        return super().read_into(memory, path, offset)


def text(found: Bytes | Unread) -> str:
    assert isinstance(found, Unread)
    return found.reason


@pytest.mark.parametrize("opened", [OpenFiles(2), Slow(2)], ids=["in turn", "by threads"])
def test_ranges_come_in_order(files: list[Path], opened: OpenFiles) -> None:
    draws = np.random.default_rng(0).integers(0, (3, 4000, 1000), (100, 3)).tolist()
    found = LocalFiles(files, opened).read([Range(*draw) for draw in draws])
    for (number, offset, size), data in zip(draws, found, strict=True):
        assert not isinstance(data, Unread)
        assert data.tobytes() == files[number].read_bytes()[offset : offset + size]


def test_what_is_lacking_is_told_with_its_place(files: list[Path]) -> None:
    os.truncate(files[0], 2000)
    files[1].unlink()
    reader = LocalFiles(files, OpenFiles(2))
    cut, gone, negative, whole = reader.read([Range(0, 1500, 700), Range(1, 5, 6), Range(2, -9, 6), Range(2, 0, 10)])
    assert text(cut) == "its tar ends at 2000 bytes, bytes 1500 to 2200 asked for"
    assert text(gone) == "No such file or directory at bytes 5 to 11"
    assert "bytes -9 to -3" in text(negative)
    assert not isinstance(whole, Unread)
    assert text(reader.read([Range(0, 3000, 10)])[0]) == "its tar ends at 2000 bytes, bytes 3000 to 3010 asked for"


def test_a_fault_that_passes_is_not_seen(files: list[Path]) -> None:
    (data,) = LocalFiles(files, Failing(errno.EIO, 2)).read([Range(0, 0, 50)])
    assert not isinstance(data, Unread)
    assert data.tobytes() == files[0].read_bytes()[:50]


@pytest.mark.slow
def test_a_fault_that_stays_is_told_and_then_waited_for_no_more(files: list[Path]) -> None:
    failing = Failing(errno.EIO, 1000)
    reader = LocalFiles(files, failing)
    assert "Input/output error at bytes 0 to 50" in text(reader.read([Range(0, 0, 50)])[0])
    tries = failing.asked
    assert "Input/output error" in text(reader.read([Range(0, 50, 50)])[0])
    assert tries >= 4
    assert failing.asked - tries == 2, "once, and once more"


@pytest.mark.slow
def test_real_storage_that_fails_is_told() -> None:
    """The first page of a process's memory can be opened, but not read."""
    (found,) = LocalFiles([Path("/proc/self/mem")]).read([Range(0, 0, 8)])
    assert "Input/output error at bytes 0 to 8" in text(found)


def test_a_machine_without_file_handles_is_no_fault_of_the_photo(files: list[Path]) -> None:
    with pytest.raises(UserError, match="ulimit -n"):
        LocalFiles(files, Failing(errno.EMFILE, 9)).read([Range(0, 0, 1)])


@pytest.mark.parametrize("memory", [0, 1 << 20])
def test_rows_of_an_array_are_those_that_numpy_reads(tmp_path: Path, memory: int) -> None:
    rows = np.zeros(1000, dtype=[("a", "<i8"), ("b", "<u2")])
    rows["a"], rows["b"] = np.arange(1000), np.arange(1000)[::-1]
    np.save(tmp_path / "rows.npy", rows)
    held = ArrayFile(tmp_path / "rows.npy", memory)
    chosen = np.random.default_rng(0).integers(0, 1000, (30, 4))
    chosen[:10] = np.arange(40).reshape(10, 4)
    assert (held[chosen] == rows[chosen]).all()
    assert held[chosen].shape == (30, 4)
    assert (held[5:20] == rows[5:20]).all()
    assert held[7] == rows[7]
    assert (held.column("b") == rows["b"]).all()
    assert held[np.empty(0, dtype=np.int64)].shape == (0,)
    for wrong in (1000, np.array([3, 1000])):
        with pytest.raises(IndexError):
            held[wrong]


def test_an_array_cut_short_while_in_use_ends_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.npy"
    np.save(path, np.arange(1000))
    held = ArrayFile(path, held=0)
    os.truncate(path, 4000)
    with pytest.raises(UserError, match="ends before byte 8128"):
        held[999]
    with pytest.raises(ValueError, match="rows of 1000"):
        ArrayFile(path)
