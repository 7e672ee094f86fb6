"""The photos of one data set as records: what it lists compared with what lies on disk, and what of it is usable."""

from itertools import islice

import numpy as np
import pandas as pd

from pipeline.sources.datasets import Source
from pipeline.sources.landmark_list import LANDMARK_COLUMNS
from pipeline.sources.picture_files import leads_out
from pipeline.sources.temporary_database import TemporaryDatabase
from shards.command import UserError

POINTS = ", ".join(LANDMARK_COLUMNS)
POINT_TYPES = ", ".join(f"{column} DOUBLE" for column in LANDMARK_COLUMNS)
OUTSIDE = "path leads out of the folder"
_ROWS = 20_000


def load_source(database: TemporaryDatabase, number: int, source: Source, prefix: str) -> None:
    """Put what a source lists and what lies on disk into the tables `records` (usable photos) and `rejects`.

    Args:
        database: which has the two tables.
        number: of the source.
        source: to read.
        prefix: of its identities, and of the paths among the rejects.

    Raises:
        UserError: it holds no photos, a list cannot be read, or excluded identities are none of its own.
    """
    database.run(
        "CREATE TABLE inputs (place BIGINT, identity TEXT, path TEXT, position BIGINT, fault TEXT, "
        f"found BOOLEAN, {POINT_TYPES})"
    )
    listed = on_disk = 0
    for piece in source.listed():
        rows = _with_faults(piece, landmarks=source.has_landmarks)
        database.insert("inputs", rows.assign(place=np.arange(listed, listed + len(rows)), found=False))
        listed += len(rows)
    found = source.on_disk()
    while names := list(islice(found, _ROWS)):
        rows = pd.DataFrame(names, columns=["identity", "path"])
        database.insert("inputs", rows.assign(place=-1, found=True))
        on_disk += len(rows)
    if not listed or (source.held_against_disk and not on_disk):
        raise UserError(f"{source.root} holds no photos; expected {source.expected}")
    _settle(database, number, source, prefix)


def _settle(database: TemporaryDatabase, number: int, source: Source, prefix: str) -> None:
    """Decide which of a source's `inputs` are usable, and why the others are not."""
    database.run("CREATE OR REPLACE TABLE excluded AS SELECT unnest(?::TEXT[]) AS identity", [[*source.excluded]])
    # Sorting stays within its memory, where a join of two large tables does not: what lies on disk is put before
    # what is listed under the same path, and each row looks at its neighbours.
    missing = "WHEN NOT first_value(found) OVER same_path THEN 'missing'" if source.held_against_disk else ""
    database.run(f"""
        CREATE OR REPLACE TABLE settled AS
        SELECT identity, path, position, {POINTS}, found, CASE
            WHEN found AND lead(path) OVER same_path IS NULL THEN 'no record'
            WHEN found THEN 'listed'
            WHEN lag(found) OVER same_path = false THEN 'duplicate record'
            WHEN fault = '{OUTSIDE}' THEN fault
            {missing}
            WHEN fault <> '' THEN fault
            WHEN identity IN (SELECT identity FROM excluded) THEN 'excluded identity'
            ELSE '' END AS reason
        FROM inputs
        WINDOW same_path AS (PARTITION BY path ORDER BY found DESC, place)""")
    if source.excluded and not database.count("settled WHERE reason = 'excluded identity'"):
        found = database.run("SELECT min(identity) FROM settled").fetchall()[0][0]
        raise UserError(
            f"{source.choice['excluded']} names {len(source.excluded)} identities, none of them in {source.root}; "
            f"names are those of the folders, such as {found}"
        )
    database.run(
        f"INSERT INTO records SELECT ?, ? || identity, path, position, {POINTS} FROM settled WHERE reason = '' "
        "ORDER BY identity, path",
        [number, prefix],
    )
    database.run(
        "INSERT INTO rejects SELECT ?, ? || path, ? || identity, reason FROM settled "
        "WHERE reason NOT IN ('', 'listed')",
        [number, prefix, prefix],
    )
    for table in ("inputs", "settled", "excluded"):
        database.run(f"DROP TABLE {table}")


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
    outside = np.array([leads_out(path) for path in piece["path"].tolist()], dtype=np.bool_)
    fault[outside] = OUTSIDE
    unnamed = ["no identity folder" if not name else "line break in the name" if "\n" in name else "" for name in names]
    fault[fault == ""] = np.array(unnamed, dtype=object)[fault == ""]
    return piece.assign(fault=fault)
