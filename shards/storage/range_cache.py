"""A cache of ranges on a local disk: blocks of files at their own offsets, which all processes of a machine share.

A block is a file with holes where nothing was fetched yet. What says whether a range is there, whole and undamaged, is
its CRC-32, which whoever reads it knows: so nothing else has to be written, in any order, and a kill leaves no
half-truth behind.
"""

import hashlib
import os
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cache, partial
from itertools import accumulate
from pathlib import Path

import numpy as np

from shards.byte_ranges import Bytes, Range, read_by_threads
from shards.command import UserError
from shards.open_files import OpenFiles, shared
from shards.storage.cache_room import CacheRoom

# Small enough to be let go one by one, large enough that those of a data set can stay open.
_BLOCK = 4 << 20
# Of what was used within so long before, the order of use is not kept: to write it would cost more than it gives.
_USED_S = 600
_CRC32_BYTES = 4


def content_key(content: str) -> str:
    """Return the key of a content that a text names, such as the SHA-256 of a file."""
    return hashlib.sha256(content.encode()).hexdigest()[:32]


class RangeCache:
    """Keeps bytes of files, those used least recently no longer than there is room. Threads and processes may share it.

    Whatever goes wrong with it after its start is reported once, and costs only time.

    Args:
        folder: on a local disk; it is made where there is none.
        most: bytes on the disk.
        now: the time in seconds since 1970.
        block: bytes of a block.

    Attributes:
        counts: ranges "kept" that were asked for, and "absent" ones, among which are damaged ones.

    Raises:
        UserError: the folder cannot be used.
    """

    def __init__(self, folder: Path, most: int, now: Callable[[], float] = time.time, block: int = _BLOCK) -> None:
        self._folder, self._now, self._block = os.fspath(folder), now, block
        self._room = CacheRoom(folder, most)
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self._used: dict[str, int] = {}
        self.counts: Counter[str] = Counter()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._room.make()
        except OSError as error:
            raise UserError(f"the cache {folder} cannot be used ({error.strerror}); name another --cache") from error

    def get(self, contents: Sequence[str], ranges: Sequence[Range]) -> list[Bytes | None]:
        """Return the bytes of each range, (size,) uint8, None where they are not there whole and undamaged.

        Args:
            contents: keys (`content_key`) of the files, by their numbers.
            ranges: of these files; those without a CRC-32 are never there.
        """
        found = read_by_threads(partial(self._several, contents), ranges)
        kept = sum(one is not None for one in found)
        with self._lock:
            self.counts["kept"] += kept
            self.counts["absent"] += len(found) - kept
        return found

    def put(self, contents: Sequence[str], ranges: Sequence[Range], data: Sequence[Bytes]) -> None:
        """Keep the bytes of ranges whose CRC-32 is known, and make room for them."""
        by_block: dict[str, list[int]] = {}
        for place, (file, offset, _, crc32) in enumerate(ranges):
            if crc32 is not None:
                by_block.setdefault(self._path(contents[file], offset), []).append(place)
        for path, places in by_block.items():
            self._write(path, [(ranges[place].offset % self._block, data[place]) for place in places])

    def piece(self, content: str, number: int) -> bytes | None:
        """Return a numbered piece of a content, which was kept with its own CRC-32; None where it is not there."""
        path = self._piece_path(content, number)
        try:
            data = Path(path).read_bytes()
        except OSError:
            return None
        if len(data) < _CRC32_BYTES or zlib.crc32(data[_CRC32_BYTES:]) != int.from_bytes(data[:_CRC32_BYTES], "big"):
            return None
        self._note_use(path)
        return data[_CRC32_BYTES:]

    def put_piece(self, content: str, number: int, data: bytes) -> None:
        """Keep a numbered piece of a content."""
        written = zlib.crc32(data).to_bytes(_CRC32_BYTES, "big")
        self._write(self._piece_path(content, number), [(0, np.frombuffer(written + data, dtype=np.uint8))])

    def _several(self, contents: Sequence[str], ranges: Sequence[Range]) -> list[Bytes | None]:
        """Read ranges one after another into one piece of memory."""
        starts = [0, *accumulate(one.size for one in ranges)]
        memory = np.empty(starts[-1], dtype=np.uint8)
        view, files = memoryview(memory.data), shared()
        found: list[Bytes | None] = []
        for (file, offset, _, crc32), start, stop in zip(ranges, starts, starts[1:], strict=False):
            path = self._path(contents[file], offset)
            there = crc32 is not None and self._filled(files, view[start:stop], path, offset % self._block, crc32)
            found.append(memory[start:stop] if there else None)
        return found

    def _filled(self, files: OpenFiles, memory: memoryview, path: str, offset: int, crc32: int) -> bool:
        """Fill memory from a block; return whether it now holds what was written."""
        for _ in range(2):
            try:
                if files.read_into(memory, path, offset) == len(memory) and zlib.crc32(memory) == crc32:
                    self._note_use(path)
                    return True
            except FileNotFoundError:
                return False
            except OSError as error:
                self._tell(error)
                return False
            # The file that is open may have been let go, and there be another of its name.
            files.forget(path)
        return False

    def _write(self, path: str, parts: Sequence[tuple[int, Bytes]]) -> None:
        try:
            try:
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except FileNotFoundError:
                Path(path).parent.mkdir(parents=True, exist_ok=True)
                file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                for offset, data in parts:
                    os.pwrite(file, data.data, offset)
            finally:
                os.close(file)
            self._note_use(path)
            self._room.written(sum(len(data) for _, data in parts), len(parts))
        except OSError as error:
            self._tell(error)

    def _note_use(self, path: str) -> None:
        stamp = int(self._now()) // _USED_S * _USED_S
        if self._used.get(path, 0) < stamp:
            self._used[path] = stamp
            with suppress(OSError):  # let go by another process in between
                os.utime(path, (self._now(), self._now()))

    def _path(self, content: str, offset: int) -> str:
        return f"{self._folder}/{content}/{offset // self._block:06d}"

    def _piece_path(self, content: str, number: int) -> str:
        return f"{self._folder}/{content}/piece-{number:06d}"

    def _tell(self, error: OSError) -> None:
        """Say once what goes wrong; the bytes come from the storage then."""
        told = error.strerror or type(error).__name__
        with self._lock:
            if told in self._told:
                return
            self._told.add(told)
        print(f"warning: the cache {self._folder} fails ({told}); reading goes on without it", file=sys.stderr)


@cache
def cache_in(folder: Path, most: int, process: int) -> RangeCache:
    """Return the cache of a folder, one for each process."""
    return RangeCache(folder, most)
