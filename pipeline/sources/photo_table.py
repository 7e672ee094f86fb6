"""The photos of a run, one row each, in a temporary database on disk.

What is listed is held against what lies on disk, sorted and dealt to tars by SQL, within a fixed budget of
memory: ten thousand records and a hundred million take the same. Only what is proportional to the number of
identities is ever held in memory.
"""

import hashlib
import tempfile
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from types import TracebackType

import duckdb
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.sources.datasets import Source
from pipeline.sources.landmark_list import LANDMARK_COLUMNS
from shards.command import UserError

_MEMORY = "64MB"
_ROWS = 20_000
_POINTS = ", ".join(LANDMARK_COLUMNS)


class Records:
    """Every input of some sources: usable records, and rejects with their reasons.

    With several sources an identity is named SOURCE/IDENTITY and a reject SOURCE/PATH, so that people of the
    same name stay apart.

    Args:
        sources: with different names.

    Raises:
        UserError: a source holds nothing, a list cannot be read, or excluded identities are none of its own.
    """

    def __init__(self, sources: Sequence[Source]) -> None:
        self.sources = tuple(sources)
        self._prefixes = [f"{source.name}/" if len(self.sources) > 1 else "" for source in self.sources]
        self._folder = tempfile.TemporaryDirectory(prefix="records-")
        with self._room():
            self._database = duckdb.connect(
                str(Path(self._folder.name) / "records.duckdb"),
                config={"memory_limit": _MEMORY, "threads": 1, "preserve_insertion_order": False},
            )
        self._closing = weakref.finalize(self, _close, self._database, self._folder)
        points = ", ".join(f"{column} DOUBLE" for column in LANDMARK_COLUMNS)
        self._run(f"CREATE TABLE records (source INT, identity TEXT, path TEXT, position BIGINT, {points})")
        self._run("CREATE TABLE rejects (source INT, path TEXT, identity TEXT, reason TEXT)")
        for number, source in enumerate(self.sources):
            self._load(number, source)

    def close(self) -> None:
        """Remove the database."""
        self._closing()

    def __enter__(self) -> "Records":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def inputs(self) -> int:
        """Number of photos named by a list or found on disk."""
        return self._count("records") + self._count("rejects")

    def identities(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of all identities with a usable record, in order, and how many each has."""
        found = self._run("SELECT identity, count(*) AS photos FROM records GROUP BY identity ORDER BY identity")
        table = found.df()
        return table["identity"].tolist(), table["photos"].to_numpy(dtype=np.int64)

    def deal(self, names: Sequence[str], labels: NDArray[np.int64], tars: NDArray[np.int64], few: str) -> None:
        """Deal identities to tars, in the order given; records of all other identities become rejects.

        Args:
            names: of N identities, in the order in which they will stand in the tars.
            labels: (N,) int64.
            tars: (N,) int64, ascending.
            few: the reason of those rejects.
        """
        dealt = pd.DataFrame({"identity": names, "label": labels, "tar": tars, "place": np.arange(len(labels))})
        self._database.register("dealt_rows", dealt)
        self._run("CREATE OR REPLACE TABLE dealt AS SELECT * FROM dealt_rows")
        self._database.unregister("dealt_rows")
        self._run(
            "INSERT INTO rejects SELECT source, list_extract(?::TEXT[], source + 1) || path, identity, ? "
            "FROM records ANTI JOIN dealt USING (identity)",
            [self._prefixes, few],
        )
        self._run(
            f"CREATE OR REPLACE TABLE planned AS SELECT tar, place, label, source, identity, path, position, {_POINTS} "
            "FROM records JOIN dealt USING (identity) ORDER BY place, path"
        )
        self._run("DROP TABLE records")

    def of_tar(self, tar: int) -> pd.DataFrame:
        """Return a tar's records in their order: label, source, identity, path, position and the landmarks."""
        columns = f"label, source, identity, path, position, {_POINTS}"
        return self._run(f"SELECT {columns} FROM planned WHERE tar = ? ORDER BY place, path", [tar]).df()

    def photos_per_tar(self) -> NDArray[np.int64]:
        """Return the number of records of every tar: (tars,)."""
        table = self._run("SELECT tar, count(*) AS photos FROM planned GROUP BY tar ORDER BY tar").df()
        return table["photos"].to_numpy(dtype=np.int64)

    def sample(self, count: int) -> pd.DataFrame:
        """Return some records, spread evenly over all and always the same ones; columns as `of_tar`'s but label."""
        columns = f"source, identity, path, position, {_POINTS}"
        return self._run(f"SELECT {columns} FROM records ORDER BY md5(path), path, source LIMIT {count}").df()

    def digest(self, source: int) -> str:
        """Return the SHA-256 of every usable record and every reject of a source, as hexadecimal text."""
        digest = hashlib.sha256()
        columns = f"identity, path, position, {_POINTS}"
        for query in (
            f"SELECT {columns} FROM records WHERE source = ? ORDER BY identity, path",
            "SELECT path, identity, reason FROM rejects WHERE source = ? ORDER BY identity, path, reason",
        ):
            for table in self._pieces(query, [source]):
                digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        return digest.hexdigest()

    def add_rejects(self, rejects: Sequence[tuple[int, str, str, str]]) -> None:
        """Add photos that turned out to be unusable: source, path in it, identity, reason."""
        if rejects:
            rows = [(source, self._prefixes[source] + path, identity, why) for source, path, identity, why in rejects]
            self._insert("rejects", pd.DataFrame(rows, columns=["source", "path", "identity", "reason"]))

    def rejects(self) -> Iterator[tuple[str, str, str]]:
        """Yield path, identity and reason of every reject, sorted."""
        query = "SELECT path, identity, reason FROM rejects ORDER BY path, identity, reason"
        for table in self._pieces(query):
            yield from table.itertuples(index=False, name=None)

    def reasons(self) -> dict[str, int]:
        """Count the rejects by reason."""
        found = self._run("SELECT reason, count(*) FROM rejects GROUP BY reason ORDER BY reason").fetchall()
        return {str(reason): int(count) for reason, count in found}

    def _load(self, number: int, source: Source) -> None:
        """Read what a source lists and what lies on disk, and settle what of it can be used."""
        points = ", ".join(f"{column} DOUBLE" for column in LANDMARK_COLUMNS)
        self._run(
            "CREATE TABLE inputs (place BIGINT, identity TEXT, path TEXT, position BIGINT, fault TEXT, "
            f"found BOOLEAN, {points})"
        )
        listed = on_disk = 0
        for piece in source.listed():
            rows = _with_faults(piece, landmarks=source.framing != "whole")
            self._insert("inputs", rows.assign(place=np.arange(listed, listed + len(rows)), found=False))
            listed += len(rows)
        found = source.on_disk()
        while names := list(islice(found, _ROWS)):
            rows = pd.DataFrame(names, columns=["identity", "path"])
            self._insert("inputs", rows.assign(place=-1, found=True))
            on_disk += len(rows)
        if not listed or (source.held_against_disk and not on_disk):
            raise UserError(f"{source.root} holds no photos; expected {source.expected}")
        self._settle(number, source)

    def _settle(self, number: int, source: Source) -> None:
        """Give every listed photo its place among the records or the rejects of a source."""
        self._run("CREATE OR REPLACE TABLE excluded AS SELECT unnest(?::TEXT[]) AS identity", [[*source.excluded]])
        # Sorting stays within its memory, where a join of two large tables does not: what lies on disk is put before
        # what is listed under the same path, and each row looks at its neighbours.
        missing = "WHEN NOT first_value(found) OVER same_path THEN 'missing'" if source.held_against_disk else ""
        self._run(f"""
            CREATE OR REPLACE TABLE settled AS
            SELECT identity, path, position, {_POINTS}, found, CASE
                WHEN found AND lead(path) OVER same_path IS NULL THEN 'no record'
                WHEN found THEN 'listed'
                WHEN lag(found) OVER same_path = false THEN 'duplicate record'
                {missing}
                WHEN fault <> '' THEN fault
                WHEN identity IN (SELECT identity FROM excluded) THEN 'excluded identity'
                ELSE '' END AS reason
            FROM inputs
            WINDOW same_path AS (PARTITION BY path ORDER BY found DESC, place)""")
        if source.excluded and not self._any("settled WHERE reason = 'excluded identity'"):
            found = self._run("SELECT min(identity) FROM settled").fetchall()[0][0]
            raise UserError(
                f"{source.choice['excluded']} names {len(source.excluded)} identities, none of them in {source.root}; "
                f"names are those of the folders, such as {found}"
            )
        prefix = self._prefixes[number]
        self._run(
            f"INSERT INTO records SELECT ?, ? || identity, path, position, {_POINTS} FROM settled WHERE reason = '' "
            "ORDER BY identity, path",
            [number, prefix],
        )
        self._run(
            "INSERT INTO rejects SELECT ?, ? || path, ? || identity, reason FROM settled "
            "WHERE reason NOT IN ('', 'listed')",
            [number, prefix, prefix],
        )
        for table in ("inputs", "settled", "excluded"):
            self._run(f"DROP TABLE {table}")

    def _insert(self, table: str, rows: pd.DataFrame) -> None:
        self._database.register("new_rows", rows)
        self._run(f"INSERT INTO {table} BY NAME SELECT * FROM new_rows")
        self._database.unregister("new_rows")

    def _pieces(self, query: str, parameters: Sequence[object] = ()) -> Iterator[pd.DataFrame]:
        """Run a query and yield its result piece by piece."""
        with self._room():
            found = self._database.cursor().execute(query, parameters)
        while True:
            with self._room():
                table = found.fetch_df_chunk()
            if not len(table):
                return
            yield table

    def _count(self, table: str) -> int:
        return int(self._run(f"SELECT count(*) FROM {table}").fetchall()[0][0])

    def _any(self, table: str) -> bool:
        return bool(self._run(f"SELECT 1 FROM {table} LIMIT 1").fetchall())

    def _run(self, query: str, parameters: Sequence[object] = ()) -> duckdb.DuckDBPyConnection:
        with self._room():
            return self._database.execute(query, parameters)

    @contextmanager
    def _room(self) -> Iterator[None]:
        """Tell in one line that the database found no room."""
        try:
            yield
        except (duckdb.OperationalError, duckdb.FatalException) as error:
            raise UserError(
                f"the records of the photos cannot be kept in {self._folder.name} ({str(error).splitlines()[0]}); "
                "make room there, or set TMPDIR to another folder"
            ) from error


def _with_faults(piece: pd.DataFrame, *, landmarks: bool) -> pd.DataFrame:
    """Return a piece of a list with what is wrong with its names and landmarks."""
    names = piece["identity"].tolist()
    fault = (
        piece["fault"].to_numpy(dtype=object, copy=True) if "fault" in piece else np.full(len(piece), "", dtype=object)
    )
    if landmarks:
        values = piece[LANDMARK_COLUMNS].to_numpy(dtype=np.float64)
        fault[~np.isfinite(values).all(axis=1)] = "landmarks not finite"
        fault[np.isnan(values).any(axis=1)] = "landmarks absent"
    # Names stand one a line beside the tars.
    unnamed = ["no identity folder" if not name else "line break in the name" if "\n" in name else "" for name in names]
    fault[fault == ""] = np.array(unnamed, dtype=object)[fault == ""]
    return piece.assign(fault=fault)


def _close(database: duckdb.DuckDBPyConnection, folder: "tempfile.TemporaryDirectory[str]") -> None:
    # What a full disk kept it from writing is not needed any more.
    with suppress(duckdb.Error):
        database.close()
    folder.cleanup()
