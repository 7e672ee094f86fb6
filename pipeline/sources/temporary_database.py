"""A temporary SQL database on disk that works within a fixed budget of memory."""

import fcntl
import shutil
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

import duckdb
import pandas as pd

from shards.command import UserError

_FOLDER, _LOCK = "records-", "held"
_MEMORY = "64MB"


class TemporaryDatabase:
    """A DuckDB database in a temporary folder, which is removed by `close` or when the process ends.

    Every method raises a `UserError` where the disk is full.
    """

    def __init__(self) -> None:
        self._folder, lock = _temporary_folder()
        with self._full_disk_reported():
            self._connection = duckdb.connect(
                str(Path(self._folder.name) / "records.duckdb"),
                config={"memory_limit": _MEMORY, "threads": 1, "preserve_insertion_order": False},
            )
        self.close = weakref.finalize(self, _close, self._connection, self._folder, lock)

    def run(self, query: str, parameters: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        """Run a query."""
        with self._full_disk_reported():
            return self._connection.execute(query, parameters)

    def pieces(self, query: str, parameters: Sequence[object] = ()) -> Iterator[pd.DataFrame]:
        """Run a query and yield its result piece by piece."""
        with self._full_disk_reported():
            found = self._connection.cursor().execute(query, parameters)
        while True:
            with self._full_disk_reported():
                table = found.fetch_df_chunk()
            if not len(table):
                return
            yield table

    def insert(self, table: str, rows: pd.DataFrame) -> None:
        """Add rows to a table, whose columns are found by name."""
        self._connection.register("new_rows", rows)
        self.run(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
        self._connection.unregister("new_rows")

    def count(self, rows: str) -> int:
        """Count the rows of a table, or of a table and a condition."""
        return int(self.run(f"SELECT count(*) FROM {rows}").fetchall()[0][0])

    @contextmanager
    def _full_disk_reported(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.OperationalError, duckdb.FatalException) as error:
            raise UserError(
                f"the records of the photos cannot be kept in {self._folder.name} ({str(error).splitlines()[0]}); "
                "make room there, or set TMPDIR to another folder"
            ) from error


def _temporary_folder() -> tuple["tempfile.TemporaryDirectory[str]", TextIO]:
    """Make a folder for the database, and remove those of commands that were killed: nobody holds their locks."""
    for old in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):
        with suppress(OSError), (old / _LOCK).open() as found:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(old, ignore_errors=True)
    while True:
        folder = tempfile.TemporaryDirectory(prefix=_FOLDER, ignore_cleanup_errors=True)
        lock = Path(folder.name) / _LOCK
        held = lock.open("w", encoding="utf-8")
        fcntl.flock(held, fcntl.LOCK_EX)
        # Another command may have found it before it was locked.
        if lock.exists():
            return folder, held


def _close(connection: duckdb.DuckDBPyConnection, folder: "tempfile.TemporaryDirectory[str]", lock: TextIO) -> None:
    # What a full disk kept it from writing is not needed any more.
    with suppress(duckdb.Error):
        connection.close()
    folder.cleanup()
    lock.close()
