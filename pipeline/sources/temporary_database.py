"""A temporary SQL database on disk that works within a fixed budget of memory."""

import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import pandas as pd

from shards.command import UserError

_MEMORY = "64MB"


class TemporaryDatabase:
    """A DuckDB database in a temporary folder, which is removed by `close` or when the process ends.

    Every method raises a `UserError` where the disk is full.
    """

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="records-")
        with self._full_disk_reported():
            self._connection = duckdb.connect(
                str(Path(self._folder.name) / "records.duckdb"),
                config={"memory_limit": _MEMORY, "threads": 1, "preserve_insertion_order": False},
            )
        self.close = weakref.finalize(self, _close, self._connection, self._folder)

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


def _close(connection: duckdb.DuckDBPyConnection, folder: "tempfile.TemporaryDirectory[str]") -> None:
    # What a full disk kept it from writing is not needed any more.
    with suppress(duckdb.Error):
        connection.close()
    folder.cleanup()
