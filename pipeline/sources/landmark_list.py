"""Reader of landmark lists; a row holds a name and x, y of five points."""

import csv
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from shards.command import UserError

LANDMARK_COLUMNS = [f"{axis}{point}" for point in range(1, 6) for axis in "xy"]

HEADER = ("NAME_ID", *(f"P{point}{axis}" for point in range(1, 6) for axis in "XY"))
"""The first row of VGGFace2's lists; those of other data sets have none."""

# Rows in memory at once.
_ROWS = 20_000


def read_landmarks(path: Path, *, header: bool = False) -> pd.DataFrame:
    """Read a whole landmark list.

    Args:
        path: CSV file.
        header: the first row must name the columns as VGGFace2's lists do; otherwise there may be one.

    Returns:
        columns name, with forward slashes, and `LANDMARK_COLUMNS` (float64; NaN where a value is empty or no number).

    Raises:
        UserError: no file, no rows, or another number of columns.
    """
    return pd.concat(iterate_landmarks(path, header=header), ignore_index=True)


def iterate_landmarks(path: Path, *, header: bool = False) -> Iterator[pd.DataFrame]:
    """Read a landmark list piece by piece, so that memory does not grow with its length; see `read_landmarks`."""
    if not path.is_file():
        raise UserError(f"no landmark list {path}; expected a CSV of a name and five points x,y a row")
    rows = 0
    try:
        titled = _begins_with_titles(path)
        pieces = pd.read_csv(
            path,
            header=0 if header else None,
            skiprows=int(titled and not header),
            dtype={0: str},
            # A person may be called NA; what is no number among the landmarks shows below.
            na_filter=False,
            skip_blank_lines=True,
            chunksize=_ROWS,
            low_memory=False,
        )
        for piece in pieces:
            rows += len(piece)
            yield _checked(piece, path, header)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, ValueError, csv.Error) as error:
        raise UserError(f"{path} is no landmark list: {error}") from error

    if not rows:
        raise UserError(f"{path} has no rows; expected a name and x,y of five points in each")


def _begins_with_titles(path: Path) -> bool:
    """Return whether the first row names columns: none of its values is a number or lacks."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        first = next(csv.reader(file), [])
    return len(first) > 1 and not any(_may_be_number(value) for value in first[1:])


def _may_be_number(value: str) -> bool:
    try:
        float(value or 0)
    except ValueError:
        return not value.strip()
    return True


def _checked(table: pd.DataFrame, path: Path, header: bool) -> pd.DataFrame:
    """Name the columns and turn the landmarks into numbers."""
    names = ["name", *LANDMARK_COLUMNS]
    found = [str(column).strip() for column in table.columns]
    if header and found[0] != HEADER[0]:
        raise UserError(f"{path} begins with column {found[0]!r}; expected the header NAME_ID,P1X,P1Y,...,P5X,P5Y")
    if len(found) != len(names):
        raise UserError(f"{path} has {len(found)} columns; expected {len(names)}: a name and x,y of five points")
    if header and (strange := next((pair for pair in zip(found, HEADER, strict=True) if len(set(pair)) > 1), None)):
        raise UserError(
            f"{path} has column {strange[0]!r} where {strange[1]!r} was expected; the points would be mixed up"
        )
    table.columns = pd.Index(names)
    # Lists made on Windows separate folders by backslashes.
    table["name"] = [name.strip().replace("\\", "/").removeprefix("./") for name in table["name"].astype(str).tolist()]
    for column in LANDMARK_COLUMNS:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    return table.astype(dict.fromkeys(LANDMARK_COLUMNS, "float64"))
