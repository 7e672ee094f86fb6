"""A large file of a bucket or web server, fetched in parts as they are needed, and the rest meanwhile."""

import os
import tempfile
import threading
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError
from shards.storage.range_cache import RangeCache, content_key
from shards.storage.requests import PIECE, Storage

_PART = 16 << 10
_PARTS_OF_PIECE = PIECE // _PART


class GrowingFile:
    """A temporary copy of a file, with holes where nothing was needed yet. Threads may share it.

    A thread fills the holes in pieces of 8 MiB, from the cache where they are in it. A fault of the storage is raised
    in the thread that needs what is missing.

    Args:
        storage: of the file.
        name: of the file.
        cache: keeps the pieces, if there is one.

    Attributes:
        file: the copy; read it only where `need` has been called.

    Raises:
        FileNotFoundError, UserError: see `Storage.fetch`.
    """

    def __init__(self, storage: Storage, name: str, cache: RangeCache | None) -> None:
        self._storage, self._name = storage, name
        self._state = storage.state(name).result()
        self._cache = cache if self._state.tag else None
        self.file = tempfile.TemporaryFile("w+b", buffering=0)  # noqa: SIM115 - closed with this object
        self.file.truncate(self._state.size)
        self._there = np.zeros(-(-self._state.size // _PART), dtype=np.bool_)
        threading.Thread(target=self._fill, name=f"fetching {name}", daemon=True).start()

    def need(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """Wait until bytes are there.

        Args:
            starts: (N,) int64, where ranges begin.
            stops: (N,) int64, one past their ends.

        Raises:
            UserError: the storage fails, or the file has changed since it was first looked at.
        """
        first, last = starts // _PART, np.minimum(stops - 1, self._state.size - 1) // _PART
        near = bool((last - first <= 1).all())
        wanted = (
            np.concatenate([first, last])
            if near
            else np.concatenate([np.arange(low, high + 1) for low, high in zip(first, last, strict=True)])
        )
        absent = np.unique(wanted[~self._there[wanted]])
        if not len(absent):
            return
        asked = [
            (low, high, self._storage.fetch(self._name, low * _PART, min(high * _PART, self._state.size)))
            for low, high in _runs(absent)
        ]
        answers = [(low, high, answer.result()) for low, high, answer in asked]
        self._refuse_changed()
        for low, high, data in answers:
            self._write(low, high, data)

    def _fill(self) -> None:
        """Fetch what is not there yet, piece by piece; each process of a machine begins with other ones."""
        content = content_key(f"{self._storage.url}/{self._name} {self._state.size} {self._state.tag}")
        pieces = -(-self._state.size // PIECE)
        world, rank = (int(os.environ.get(name, "0")) for name in ("LOCAL_WORLD_SIZE", "LOCAL_RANK"))
        for turn in range(pieces):
            number = (turn + rank * pieces // max(1, world)) % pieces
            low = number * _PARTS_OF_PIECE
            high = min(low + _PARTS_OF_PIECE, len(self._there))
            kept = self._cache.piece(content, number) if self._cache is not None else None
            if kept is None and self._cache is None and self._there[low:high].all():
                continue
            try:
                data = kept or self._piece(low, high)
                self._write(low, high, data)
            except (UserError, OSError, RuntimeError):  # the last at the end of the interpreter
                return
            if kept is None and self._cache is not None:
                self._cache.put_piece(content, number, data)

    def _piece(self, low: int, high: int) -> bytes:
        data = self._storage.fetch(self._name, low * _PART, min(high * _PART, self._state.size)).result()
        self._refuse_changed()
        return data

    def _write(self, low: int, high: int, data: bytes) -> None:
        written = memoryview(data)
        offset = low * _PART
        while written:
            count = os.pwrite(self.file.fileno(), written, offset)
            written, offset = written[count:], offset + count
        self._there[low:high] = True

    def _refuse_changed(self) -> None:
        """Refuse bytes that came from another file than the first, which a look after their coming shows."""
        try:
            same = self._storage.state(self._name).result() == self._state
        except FileNotFoundError:
            same = False
        if not same:
            raise UserError(
                f"{self._storage.url}/{self._name} was changed while it was read; a run keeps to one content: put the "
                "former file back, or begin a new run"
            )


def _runs(parts: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Yield the first and one past the last of parts that follow one another, at most a piece of them at a time.

    >>> list(_runs(np.array([3, 4, 5, 9])))
    [(3, 6), (9, 10)]
    """
    ends = np.flatnonzero(np.diff(parts) != 1) + 1
    for start, stop in pairwise([0, *ends.tolist(), len(parts)]):
        for low in range(int(parts[start]), int(parts[stop - 1]) + 1, _PARTS_OF_PIECE):
            yield low, min(low + _PARTS_OF_PIECE, int(parts[stop - 1]) + 1)
