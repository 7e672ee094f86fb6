"""Bytes of files by (file, offset, size): how photos come from tars, and how faults of the storage are told.

Files are read, never mapped: a mapped file that is truncated, or whose storage fails, ends a process without a word.
"""

import errno
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError
from shards.open_files import OpenFiles, shared

T = TypeVar("T")
# These may pass: a cable, a server that starts anew.
_PASSING = {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.ECONNRESET, errno.ENOTCONN, errno.EREMOTEIO}
_PAUSES_S = (0.1, 0.4, 1.6)
# Faults of the machine, not of a file.
_OWN = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
# Storage that takes longer for a range is read by threads; for less they cost more than they save.
_PROBED = 16
_SLOW_S = 100e-6
_THREADS = 32


class Range(NamedTuple):
    """Some bytes: the file's number, where they begin in it, how many they are, and their CRC-32 where it is known."""

    file: int
    offset: int
    size: int
    crc32: int | None = None


@dataclass(frozen=True)
class Unread:
    """Bytes that could not be read, and why: what the file holds, and which bytes were asked for."""

    reason: str


Bytes = NDArray[np.uint8]


class RangeReader(Protocol):
    """Where ranges of numbered files come from: a disk, or a bucket. Threads may share it."""

    def read(self, ranges: Sequence[Range]) -> list[Bytes | Unread]:
        """Return the bytes of each range, (size,) uint8, or why they could not be read.

        Raises:
            UserError: the machine or the way to the storage, not a file, is at fault.
        """

    def fetch_ahead(self, ranges: Sequence[Range]) -> bool:
        """Begin to fetch ranges that will be read soon, each once; return False where there is no room for them now.

        Ranges should be named in the order in which they will be read.
        """

    @property
    def latency_s(self) -> float:
        """How long what is fetched takes at present, in seconds; 0 where nothing is fetched ahead."""

    def size(self, file: int) -> int:
        """Return the size of a file in bytes.

        Raises:
            OSError: it cannot be opened.
            UserError: the way to the storage is at fault.
        """


class LocalFiles:
    """Reads ranges of files of a mounted file system.

    Args:
        paths: the files, by their numbers.
        files: keeps them open; by default shared by all readers of the process.
    """

    def __init__(self, paths: Sequence[Path], files: OpenFiles | None = None) -> None:
        self._given = files
        self._paths = [os.fspath(path) for path in paths]
        self._failed: set[int] = set()

    def read(self, ranges: Sequence[Range]) -> list[Bytes | Unread]:
        """See `RangeReader`. A fault that may pass is tried again for two seconds; the order does not change."""
        return read_by_threads(self._several, ranges)

    def fetch_ahead(self, ranges: Sequence[Range]) -> bool:
        """See `RangeReader`. A disk answers at once: nothing is fetched."""
        return False

    @property
    def latency_s(self) -> float:
        """See `RangeReader`."""
        return 0.0

    def size(self, file: int) -> int:
        """See `RangeReader`."""
        return Path(self._paths[file]).stat().st_size

    @property
    def _files(self) -> OpenFiles:
        return shared() if self._given is None else self._given

    def _several(self, ranges: Sequence[Range]) -> list[Bytes | Unread]:
        """Read ranges one after another into one piece of memory."""
        starts = [0, *accumulate(max(0, one.size) for one in ranges)]
        memory = np.empty(starts[-1], dtype=np.uint8)
        view, paths, read_into = memoryview(memory.data), self._paths, self._files.read_into
        found: list[Bytes | Unread] = []
        for (file, offset, size, _), start, stop in zip(ranges, starts, starts[1:], strict=False):
            try:
                whole = read_into(view[start:stop], paths[file], offset) == size
            except (OSError, OverflowError):
                whole = False
            found.append(memory[start:stop] if whole else self._again(Range(file, offset, size)))
        return found

    def _again(self, wanted: Range) -> Bytes | Unread:
        """Read a range that was not given at once."""
        file, offset, size, _ = wanted
        where = f"bytes {offset} to {offset + size}"
        if offset < 0 or size < 0:
            return Unread(f"the index names its {where}")
        memory = np.empty(size, dtype=np.uint8)
        try:
            filled = self._patiently(memoryview(memory.data), file, offset)
            end = offset + filled if filled else self.size(file)
        except OSError as error:
            if error.errno in _OWN:
                raise UserError(
                    f"{self._paths[file]} cannot be opened ({error.strerror}): this machine has no more; "
                    "end other programs, or raise the number of open files with `ulimit -n`"
                ) from error
            return Unread(f"{error.strerror} at {where}")
        return memory if filled == size else Unread(f"its tar ends at {end} bytes, {where} asked for")

    def _patiently(self, memory: memoryview, file: int, offset: int) -> int:
        """Read, and try again where a fault may pass; less patiently with a file that has failed before."""
        for pause in () if file in self._failed else _PAUSES_S:
            try:
                return self._files.read_into(memory, self._paths[file], offset)
            except OSError as error:
                if error.errno not in _PASSING:
                    raise
            self._files.forget(self._paths[file])
            time.sleep(pause)
        try:
            return self._files.read_into(memory, self._paths[file], offset)
        except OSError:
            self._failed.add(file)
            raise


def read_by_threads(several: Callable[[Sequence[Range]], list[T]], ranges: Sequence[Range]) -> list[T]:
    """Return what a function reads of ranges, by threads where the storage turns out to be slow.

    Args:
        several: reads ranges one after another.
        ranges: to be read.
    """
    start = time.perf_counter()
    found, rest = several(ranges[:_PROBED]), ranges[_PROBED:]
    if not rest or time.perf_counter() - start < _SLOW_S * len(found):
        return found + several(rest)
    # A thread takes every so-many-th range: one task for each would cost more than reading it.
    parts = list(_pool().map(several, [rest[first::_THREADS] for first in range(_THREADS)]))
    return found + [parts[place % _THREADS][place // _THREADS] for place in range(len(rest))]


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(_THREADS, thread_name_prefix="reading")
