"""The photos of a run, one row each, in a temporary database on disk.

Photos are sorted and dealt to tars by SQL, within a fixed budget of memory: ten thousand records and a hundred million
take the same. Only what is proportional to the number of identities is ever held in memory.
"""

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.sources.datasets import Source
from pipeline.sources.source_records import POINT_TYPES, POINTS, load_source
from pipeline.sources.temporary_database import TemporaryDatabase


class PhotoTable:
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
        self._database = TemporaryDatabase()
        self._database.run(
            f"CREATE TABLE records (source INT, identity TEXT, path TEXT, position BIGINT, {POINT_TYPES})"
        )
        self._database.run("CREATE TABLE rejects (source INT, path TEXT, identity TEXT, reason TEXT)")
        for number, source in enumerate(self.sources):
            load_source(self._database, number, source, self._prefixes[number])

    def close(self) -> None:
        """Remove the database."""
        self._database.close()

    def __enter__(self) -> "PhotoTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def inputs(self) -> int:
        """Number of photos named by a list or found on disk."""
        return self._database.count("records") + self._database.count("rejects")

    def identities(self) -> tuple[list[str], NDArray[np.int64]]:
        """Return the names of all identities with a usable record, in order, and how many each has."""
        found = self._database.run(
            "SELECT identity, count(*) AS photos FROM records GROUP BY identity ORDER BY identity"
        )
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
        self._database.run("CREATE OR REPLACE TABLE dealt (identity TEXT, label BIGINT, tar BIGINT, place BIGINT)")
        self._database.insert("dealt", dealt)
        self._database.run(
            "INSERT INTO rejects SELECT source, list_extract(?::TEXT[], source + 1) || path, identity, ? "
            "FROM records ANTI JOIN dealt USING (identity)",
            [self._prefixes, few],
        )
        self._database.run(
            f"CREATE OR REPLACE TABLE planned AS SELECT tar, place, label, source, identity, path, position, {POINTS} "
            "FROM records JOIN dealt USING (identity) ORDER BY place, path"
        )
        self._database.run("DROP TABLE records")

    def of_tar(self, tar: int) -> pd.DataFrame:
        """Return a tar's records in their order: label, source, identity, path, position and the landmarks."""
        columns = f"label, source, identity, path, position, {POINTS}"
        return self._database.run(f"SELECT {columns} FROM planned WHERE tar = ? ORDER BY place, path", [tar]).df()

    def photos_per_tar(self) -> NDArray[np.int64]:
        """Return the number of records of every tar: (tars,)."""
        table = self._database.run("SELECT tar, count(*) AS photos FROM planned GROUP BY tar ORDER BY tar").df()
        return table["photos"].to_numpy(dtype=np.int64)

    def sample(self, count: int) -> pd.DataFrame:
        """Return some records, spread evenly over all and always the same ones; columns as `of_tar`'s but label."""
        columns = f"source, identity, path, position, {POINTS}"
        return self._database.run(f"SELECT {columns} FROM records ORDER BY md5(path), path, source LIMIT {count}").df()

    def digest(self, source: int) -> str:
        """Return the SHA-256 of every usable record and every reject of a source, as hexadecimal text."""
        digest = hashlib.sha256()
        columns = f"identity, path, position, {POINTS}"
        for query in (
            f"SELECT {columns} FROM records WHERE source = ? ORDER BY identity, path",
            "SELECT path, identity, reason FROM rejects WHERE source = ? ORDER BY identity, path, reason",
        ):
            for table in self._database.pieces(query, [source]):
                digest.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
        return digest.hexdigest()

    def add_rejects(self, rejects: Sequence[tuple[int, str, str, str]]) -> None:
        """Add photos that turned out to be unusable: source, path in it, identity, reason."""
        if rejects:
            rows = [(source, self._prefixes[source] + path, identity, why) for source, path, identity, why in rejects]
            self._database.insert("rejects", pd.DataFrame(rows, columns=["source", "path", "identity", "reason"]))

    def rejects(self) -> Iterator[tuple[str, str, str]]:
        """Yield path, identity and reason of every reject, sorted."""
        query = "SELECT path, identity, reason FROM rejects ORDER BY path, identity, reason"
        for table in self._database.pieces(query):
            yield from table.itertuples(index=False, name=None)

    def reasons(self) -> dict[str, int]:
        """Count the rejects by reason."""
        found = self._database.run("SELECT reason, count(*) FROM rejects GROUP BY reason ORDER BY reason").fetchall()
        return {str(reason): int(count) for reason, count in found}
