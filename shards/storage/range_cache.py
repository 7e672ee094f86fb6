"""A cache of ranges on a local disk, one SQLite database that all processes of a machine share."""

import hashlib
import sqlite3
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

from shards.command import UserError, first_line

FILE = "ranges.sqlite"
# Of what was used within so long before, the order of use is not kept: to write it would cost more than it gives.
_USED_S = 600
_WAIT_S = 10.0
_EVICTED = 32
_TABLE = """
CREATE TABLE IF NOT EXISTS ranges (
    key BLOB PRIMARY KEY, -- of the content of a file, an offset and a size
    crc32 INTEGER NOT NULL,
    used INTEGER NOT NULL, -- seconds since 1970, in steps
    data BLOB NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON ranges (used);
"""

Key = bytes


def key_of(content: str, offset: int, size: int) -> Key:
    """Return the key of a range of a file whose content a text names, such as by its SHA-256."""
    return hashlib.sha256(f"{content} {offset} {size}".encode()).digest()[:16]


class RangeCache:
    """Keeps bytes by key, those used least recently no longer than there is room. Threads and processes may share it.

    Transactions make it safe against a kill. Whatever goes wrong with it later is told once, and costs time only.

    Args:
        folder: on a local disk; it is made where there is none.
        most: bytes of the database.
        now: the time in seconds since 1970.

    Attributes:
        counts: ranges "kept" that were asked for, "absent" ones, and "damaged" ones, which count as absent.

    Raises:
        UserError: the folder cannot be used.
    """

    def __init__(self, folder: Path, most: int, now: Callable[[], float] = time.time) -> None:
        self._path, self._most, self._now = folder / FILE, most, now
        self._lock = threading.Lock()
        self._told: set[str] = set()
        self.counts: Counter[str] = Counter()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._base = sqlite3.connect(self._path, timeout=_WAIT_S, check_same_thread=False, isolation_level=None)
            self._base.executescript(
                f"PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; {_TABLE}"
            )
            self._page = int(self._base.execute("PRAGMA page_size").fetchone()[0])
        except (OSError, sqlite3.Error) as error:
            raise UserError(
                f"the cache {folder} cannot be used ({first_line(error)}); name another --cache, or empty this one"
            ) from error

    def get(self, keys: Sequence[Key]) -> list[bytes | None]:
        """Return the bytes of each key, None where there are none."""
        with self._lock:
            try:
                return self._get(keys)
            except sqlite3.Error as error:
                self._tell(error)
                return [None] * len(keys)

    def put(self, items: Sequence[tuple[Key, bytes]]) -> None:
        """Keep bytes by their keys, and make room for them."""
        stamp = self._stamp()
        rows = [(key, zlib.crc32(data), stamp, data) for key, data in items if len(data) < self._most // 4]
        with self._lock:
            try:
                self._base.execute("BEGIN IMMEDIATE")
                try:
                    self._base.executemany("INSERT OR REPLACE INTO ranges VALUES (?, ?, ?, ?)", rows)
                    self._make_room()
                finally:
                    self._base.execute("COMMIT" if sys.exc_info()[0] is None else "ROLLBACK")
                if self._bytes("page_count") > self._most:
                    # As a script: a statement without columns would be left after its first page.
                    self._base.executescript("PRAGMA incremental_vacuum")
            except sqlite3.Error as error:
                self._tell(error)

    def _get(self, keys: Sequence[Key]) -> list[bytes | None]:
        found: list[bytes | None] = []
        old, stamp = [], self._stamp()
        for key in keys:
            row = self._base.execute("SELECT data, crc32, used FROM ranges WHERE key = ?", (key,)).fetchone()
            sound = row is not None and zlib.crc32(row[0]) == row[1]
            self.counts["absent" if row is None else "kept" if sound else "damaged"] += 1
            found.append(row[0] if sound else None)
            if sound and row[2] < stamp:
                old.append((stamp, key))
        if old:
            self._base.execute("BEGIN IMMEDIATE")
            self._base.executemany("UPDATE ranges SET used = ? WHERE key = ?", old)
            self._base.execute("COMMIT")
        return found

    def _stamp(self) -> int:
        return int(self._now()) // _USED_S * _USED_S

    def _make_room(self) -> None:
        """Let go of the ranges used least recently until the rest fits."""
        oldest = "SELECT rowid FROM ranges ORDER BY used, rowid LIMIT ?"
        while self._bytes("page_count") - self._bytes("freelist_count") > self._most:
            if not self._base.execute(f"DELETE FROM ranges WHERE rowid IN ({oldest})", (_EVICTED,)).rowcount:
                break

    def _bytes(self, pages: str) -> int:
        return int(self._base.execute(f"PRAGMA {pages}").fetchone()[0]) * self._page

    def _tell(self, error: sqlite3.Error) -> None:
        """Say once what goes wrong; the bytes come from the storage then."""
        told = first_line(error)
        if told not in self._told:
            self._told.add(told)
            print(f"warning: the cache {self._path} fails ({told}); reading goes on without it", file=sys.stderr)


@cache
def cache_in(folder: Path, most: int, process: int) -> RangeCache:
    """Return the cache of a folder, one for each process: a database does not go through a fork."""
    return RangeCache(folder, most)
