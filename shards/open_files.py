"""Files open for reading, at most so many at a time however many there are."""

import errno
import os
import resource
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path

from shards.command import UserError

_MOST_OPEN = 16_384
_FEWEST_OPEN = 16
# For what else a process opens: sockets, a checkpoint, libraries.
_KEPT_FREE = 256


class _Descriptor:
    """A file descriptor, closed with the last reference: another thread may still read from one that was put away."""

    def __init__(self, path: str) -> None:
        self.number = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        # Photos are drawn at random: reading ahead would fetch neighbours that are not needed.
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self.number, 0, 0, os.POSIX_FADV_RANDOM)

    def __del__(self, close: Callable[[int], None] = os.close) -> None:
        # Bound here, for `os` is gone when an interpreter ends.
        if hasattr(self, "number"):
            close(self.number)


class OpenFiles:
    """Keeps the files opened last open. Threads may share it.

    Args:
        most: most files open at a time, at least 1.

    Attributes:
        reading: the file that a thread began to read last, for messages.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.reading = ""
        self._open: dict[str, _Descriptor] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._open)

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        """Fill memory with the bytes of a file from `offset` on; return how many there were.

        Raises:
            OSError: the file cannot be opened or read.
        """
        self.reading = path
        # A lock is for what changes: looking up is one step of the interpreter.
        descriptor = self._open.get(path) or self._opened(path)
        filled = os.preadv(descriptor.number, [memory], offset)
        while 0 < filled < len(memory) and (more := os.preadv(descriptor.number, [memory[filled:]], offset + filled)):
            filled += more
        return filled

    def forget(self, path: str) -> None:
        """Open a file anew when it is next read."""
        with self._lock:
            self._open.pop(path, None)

    def _opened(self, path: str) -> _Descriptor:
        # Opening may take long on a network: meanwhile other threads read.
        try:
            opened = _Descriptor(path)
        except OSError as error:
            if error.errno not in (errno.EMFILE, errno.ENFILE):
                raise
            with self._lock:
                self._most = max(1, len(self._open) // 2)
                self._put_away(self._most - 1)
            opened = _Descriptor(path)
        with self._lock:
            self._open[path] = opened
            self._put_away(self._most)
        return opened

    def _put_away(self, most: int) -> None:
        while len(self._open) > most:
            del self._open[next(iter(self._open))]


def raise_limit() -> int:
    """Raise the number of files that this process may have open to what the system allows it, and return that."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):  # some systems bound it further
            pass
    return _MOST_OPEN * 4 if soft == resource.RLIM_INFINITY else soft


@cache
def most_open() -> int:
    """Return how many files this process may keep open for reading, and raise its limit first.

    Raises:
        UserError: the limit leaves too few.
    """
    limit = raise_limit()
    left = limit - _used()
    most = min(_MOST_OPEN, max(left // 2, left - _KEPT_FREE))
    if most < _FEWEST_OPEN:
        raise UserError(
            f"this process may have {limit} files open (`ulimit -Hn`), which leaves {max(left, 0)}; "
            "expected at least 256: raise the limit with `ulimit -n 1024` or in /etc/security/limits.conf"
        )
    return most


def _used() -> int:
    """Return how many files this process has open."""
    listing = Path("/proc/self/fd")
    return len(os.listdir(listing)) if listing.is_dir() else 64  # noqa: PTH208 - the names alone


@cache
def shared() -> OpenFiles:
    """Return the open files that all readers of this process share.

    Raises:
        UserError: the process may open too few.
    """
    return OpenFiles(most_open())
