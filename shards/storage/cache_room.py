"""The bound of a cache: what was used least recently is let go."""

import fcntl
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path

from shards.storage.limits import share_of_process

_OF_CACHE = re.compile(r"[0-9a-f]{32}")
_LOCK = ".lock"
# Room is made at once for so many parts of the bound, and looked for as often while it fills.
_PARTS = 16
_DISK_PAGE = 4096


class CacheRoom:
    """Keeps the files of a cache, of whatever processes, within a bound. Threads may share it.

    Args:
        folder: of the cache; only folders in it whose names are keys of contents are touched.
        most: bytes on the disk.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder, self._most = folder, most
        self._lock = threading.Lock()
        self._left = 0

    def written(self, size: int, ranges: int) -> None:
        """Take note of ranges that were written, of a size in bytes all together; make room where it may be needed.

        Raises:
            OSError: the disk fails.
        """
        with self._lock:
            self._left -= size + ranges * _DISK_PAGE
            if self._left >= 0:
                return
        self.make()

    def make(self) -> None:
        """Let go of the files used least recently until there is room for a part of the bound.

        Raises:
            OSError: the folder cannot be used.
        """
        with _alone(self._folder / _LOCK) as alone, self._lock:
            # Another process makes room: this one may write its share of it meanwhile.
            total = self._most if not alone else self._let_go()
            part = self._most // _PARTS
            self._left = share_of_process(max(_DISK_PAGE, min(part, self._most - total) if alone else part))

    def _let_go(self) -> int:
        """Return the bytes on the disk, once those that are too many are gone."""
        files = sorted(_files(self._folder), key=itemgetter(0))
        total = sum(size for _, size, _ in files)
        if total <= self._most:
            return total
        for _, size, path in files:
            with suppress(FileNotFoundError):
                # Its bytes are free at once, though others may have it open.
                os.truncate(path, 0)
                os.unlink(path)  # noqa: PTH108 - one of many
            total -= size
            if total <= self._most - self._most // _PARTS:
                break
        return total


def _files(folder: Path) -> Iterator[tuple[int, int, str]]:
    """Yield of each file of a cache when it was used last, its bytes on the disk, and its path."""
    for content in os.scandir(folder):
        if _OF_CACHE.fullmatch(content.name) and content.is_dir(follow_symlinks=False):
            for file in os.scandir(content):
                with suppress(FileNotFoundError):
                    about = file.stat(follow_symlinks=False)
                    yield about.st_mtime_ns, about.st_blocks * 512, file.path


@contextmanager
def _alone(lock: Path) -> Iterator[bool]:
    """Lock a file for as long as the context lasts; yield False where another process has it locked."""
    file = os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(file)
