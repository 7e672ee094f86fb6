"""Ranges of files in a bucket or on a web server: merged, fetched ahead within bounds, checked, and kept."""

import threading
import zlib
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np

from shards.byte_ranges import Bytes, Range, Unread
from shards.command import UserError
from shards.storage.limits import share_of_process
from shards.storage.merging import merged
from shards.storage.places import RemotePath
from shards.storage.range_cache import content_key
from shards.storage.requests import FileState

# Damage on the way is unlike from one answer to the next; that of the file is always the same.
_TRIES = 5
# What was fetched ahead for so many calls before the one last read, and not read since, nobody will read.
_CALLS_KEPT = 32


@dataclass(frozen=True)
class _Piece:
    """Some bytes of an answer that may still be on its way."""

    answer: Future[bytes]
    start: int
    size: int

    def wait(self) -> Bytes:
        """Return a copy of the bytes, so that those around them are not held."""
        return np.frombuffer(self.answer.result(), dtype=np.uint8, count=self.size, offset=self.start).copy()


@dataclass(frozen=True)
class _Ahead:
    """What was asked for ahead, and by which calls."""

    piece: _Piece | Bytes
    calls: deque[int]


class RemoteFiles:
    """Reads ranges of the files of a folder in a bucket or on a web server; a `RangeReader`.

    Args:
        folder: the folder.
        files: name and SHA-256 of each, by their numbers.
    """

    def __init__(self, folder: RemotePath, files: Sequence[tuple[str, str]]) -> None:
        self._folder = folder
        self._names = [name for name, _ in files]
        # Where a tar lies says nothing of its content, its SHA-256 does.
        self._contents = [content_key(sha256) for _, sha256 in files]
        self._storage, self._cache = folder.storage, folder.cache
        self._most_ahead = share_of_process(folder.kept.memory)
        self._states: dict[int, FileState] = {}
        self._lock = threading.Lock()
        self._ahead: dict[Range, _Ahead] = {}
        self._held = self._calls = self._reached = 0

    def read(self, ranges: Sequence[Range]) -> list[Bytes | Unread]:
        """See `RangeReader`. Bytes whose CRC-32 is given are held against it, and fetched again where they differ.

        Raises:
            UserError: the storage refuses or does not answer, or a file has changed since it was first looked at.
        """
        impossible = [self._impossible(one) for one in ranges]
        pieces = [self._taken(one) if fault is None else None for one, fault in zip(ranges, impossible, strict=True)]
        absent = [place for place, piece in enumerate(pieces) if piece is None and impossible[place] is None]
        for place, begun in zip(absent, self._begin([ranges[place] for place in absent]), strict=True):
            pieces[place] = begun
        found: list[Bytes | Unread] = []
        fetched: list[int] = []
        for place, (one, fault, piece) in enumerate(zip(ranges, impossible, pieces, strict=True)):
            if not isinstance(piece, _Piece):
                data = fault if piece is None else piece
            elif not isinstance(data := self._checked(one, piece), Unread):
                fetched.append(place)
            assert data is not None
            found.append(data)
        if self._cache is not None and fetched:
            bytes_of = [data for place in fetched if not isinstance(data := found[place], Unread)]
            self._cache.put(self._contents, [ranges[place] for place in fetched], bytes_of)
        return found

    def fetch_ahead(self, ranges: Sequence[Range]) -> bool:
        """See `RangeReader`. What is held is bounded by the folder's memory, and the ranges of one call."""
        with self._lock:
            if self._held >= self._most_ahead:
                return False
            self._calls += 1
            call = self._calls
            new = []
            for one in dict.fromkeys(ranges):
                if one in self._ahead:
                    self._ahead[one].calls.append(call)
                elif self._impossible(one) is None:
                    new.append(one)
            for one, piece in zip(new, self._begin(new), strict=True):
                self._ahead[one] = _Ahead(piece, deque([call]))
                self._held += one.size
        return True

    @property
    def latency_s(self) -> float:
        """See `RangeReader`."""
        return self._storage.latency_s

    def size(self, file: int) -> int:
        """See `RangeReader`. The first call asks for the sizes of all files at once."""
        if not self._states:
            asked = [self._storage.state(name) for name in self._names]
            for number, waiting in enumerate(asked):
                try:
                    self._states[number] = waiting.result()
                except FileNotFoundError:
                    continue
        if file not in self._states:
            raise FileNotFoundError(2, "No such file", f"{self._folder}/{self._names[file]}")
        return self._states[file].size

    def _impossible(self, wanted: Range) -> Unread | None:
        """Return why the files cannot hold a range."""
        file, offset, size, _ = wanted
        where = f"bytes {offset} to {offset + size}"
        if offset < 0 or size < 0:
            return Unread(f"the index names its {where}")
        try:
            end = self.size(file)
        except FileNotFoundError as error:
            return Unread(f"{error.strerror} at {where}")
        return Unread(f"its tar ends at {end} bytes, {where} asked for") if offset + size > end else None

    def _begin(self, ranges: Sequence[Range]) -> list[_Piece | Bytes]:
        """Read ranges from the cache, and begin to fetch those that are not in it."""
        if self._cache is None:
            return list(self._fetch(ranges))
        kept = self._cache.get(self._contents, ranges)
        fetched = iter(self._fetch([one for one, data in zip(ranges, kept, strict=True) if data is None]))
        return [next(fetched) if data is None else data for data in kept]

    def _fetch(self, ranges: Sequence[Range]) -> list[_Piece]:
        """Begin to fetch ranges from the storage."""
        pieces: dict[int, _Piece] = {}
        for (file, start, size, _), places in merged(ranges):
            answer = self._storage.fetch(self._names[file], start, start + size)
            for place in places:
                pieces[place] = _Piece(answer, ranges[place].offset - start, ranges[place].size)
        return [pieces[place] for place in range(len(ranges))]

    def _taken(self, wanted: Range) -> _Piece | Bytes | None:
        """Return a piece that was asked for ahead, and let go of it and of what nobody will read."""
        with self._lock:
            if (ahead := self._ahead.get(wanted)) is None:
                return None
            self._reached = max(self._reached, ahead.calls.popleft())
            if not ahead.calls:
                self._let_go(wanted)
            while self._ahead and (oldest := next(iter(self._ahead))):
                if self._ahead[oldest].calls[-1] >= self._reached - _CALLS_KEPT:
                    break
                self._let_go(oldest)
            return ahead.piece

    def _let_go(self, one: Range) -> None:
        del self._ahead[one]
        self._held -= one.size

    def _checked(self, one: Range, piece: _Piece) -> Bytes | Unread:
        """Wait for bytes and hold them against their CRC-32."""
        data, before = self._wait(one, piece), None
        for _ in range(_TRIES):
            found = zlib.crc32(data.data)
            if one.crc32 in (None, found):
                return data
            if found == before:
                break
            before = found
            self._storage.note("bytes with another CRC-32 than was written")
            data = self._wait(one, self._fetch([one])[0])
        self._refuse_changed(one.file)
        return Unread(f"bytes {one.offset} to {one.offset + one.size} with another CRC-32 than {one.crc32:08x}")

    def _wait(self, one: Range, piece: _Piece) -> Bytes:
        try:
            return piece.wait()
        except FileNotFoundError as error:
            raise UserError(
                f"{self._folder}/{self._names[one.file]} was there and is gone; put the folder back as it was, then "
                "run the command again (training: --resume)"
            ) from error

    def _refuse_changed(self, file: int) -> None:
        """Raise UserError where a file is no longer the one that it was at first."""
        path = self._folder / self._names[file]
        if (now := path.state()) != self._states[file]:
            raise UserError(
                f"{path} was changed while it was read: {self._states[file].size} bytes before, {now.size} now; "
                "a run keeps to one content: put the former file back, or begin a new run"
            )
