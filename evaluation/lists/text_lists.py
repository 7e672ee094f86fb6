"""Folders, pair lists and landmark lists as they are found: tolerant of form, strict about sense."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.landmark_list import LANDMARK_COLUMNS, read_landmarks
from pipeline.sources.picture_files import leads_out
from shards.command import UserError

# No photo is larger; a number beyond it is no landmark.
_MOST_PIXELS = 1e5
_LONGEST_NUMBER = 9


def find_folder(root: Path, *inner: str) -> Path:
    """Return the first of root / inner that is a folder, for data sets unpacked one folder deeper or less.

    Raises:
        UserError: none is.
    """
    if not root.is_dir():
        raise UserError(f"no folder {root}; name the data set's folder")
    for name in inner:
        if (root / name).is_dir():
            return root / name
    raise UserError(f"{root} holds none of {', '.join(inner)}; name the data set's folder as it was unpacked")


def has_folder(root: Path, *inner: str) -> bool:
    """Tell whether any of root / inner is a folder."""
    return any((root / name).is_dir() for name in inner)


def find_list(name: str, places: Sequence[Path]) -> Path:
    """Return the first of the places' files of a name.

    Raises:
        UserError: none has it; names every place.
    """
    for place in places:
        if (place / name).is_file():
            return place / name
    searched = ", ".join(str(place) for place in places)
    raise UserError(f"no {name} in {searched}; put it into one of them or name its folder with --lists")


def cleaned_name(name: str, path: Path) -> str:
    """Return a picture's name with forward slashes, relative to its folder.

    >>> cleaned_name(".\\\\001\\\\a.jpg", Path("list.csv"))
    '001/a.jpg'

    Raises:
        UserError: it holds characters that no file name can hold, or leads out of the folder.
    """
    if not name.isprintable():
        raise UserError(f"{path} is damaged: it names a picture {name[:60]!r}; copy the file again")
    cleaned = str(PurePosixPath(name.strip().replace("\\", "/").lstrip("/")))
    if leads_out(cleaned):
        raise UserError(f"{path} names a picture {name[:60]!r} outside the data set's folder; expected names inside it")
    return cleaned


class PictureFolder:
    """Pictures below a folder, by the names that lists give them.

    Args:
        root: the folder; names are relative to it or begin with its own name.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._listed: dict[Path, dict[str, str]] = {}

    def path(self, name: str) -> Path:
        """Return where a picture is, upper and lower case aside; where none is, where it would be."""
        exact = self.root / name
        if os.path.isfile(exact):  # noqa: PTH113 - pathlib's raises for a name that is too long
            return exact
        for root, parts in self._readings(PurePosixPath(name).parts):
            place = root
            for part in parts:
                place /= self._names(place).get(part.casefold(), part)
            if os.path.isfile(place):  # noqa: PTH113
                return place
        return exact

    def _readings(self, parts: tuple[str, ...]) -> list[tuple[Path, tuple[str, ...]]]:
        named_itself = len(parts) > 1 and parts[0].casefold() == self.root.name.casefold()
        return [(self.root, parts)] + ([(self.root, parts[1:])] if named_itself else [])

    def _names(self, folder: Path) -> dict[str, str]:
        """Return the names in a folder by their lower case, in one look."""
        if folder not in self._listed:
            try:
                names = sorted(os.listdir(folder))  # noqa: PTH208 - names alone
            except (OSError, ValueError):
                names = []
            self._listed[folder] = {name.casefold(): name for name in names}
        return self._listed[folder]


@dataclass(frozen=True)
class Landmarks:
    """A landmark list.

    Attributes:
        points: by name of picture (5, 2) x, y in pixels; a name's first row counts.
        faults: reason by name, of rows whose landmarks cannot be any.
    """

    points: dict[str, NDArray[np.float64]]
    faults: dict[str, str]

    @property
    def names(self) -> list[str]:
        """All names, in order of the list."""
        return list(dict.fromkeys([*self.points, *self.faults]))


def read_landmark_list(path: Path) -> Landmarks:
    """Read a landmark list without a header, or with one.

    Raises:
        UserError: no landmark list, or not one row of numbers.
    """
    table = read_landmarks(path)
    values = table[LANDMARK_COLUMNS].to_numpy()
    header = 1 if len(values) and np.isnan(values[0]).all() else 0
    points: dict[str, NDArray[np.float64]] = {}
    faults: dict[str, str] = {}
    for text, row in zip(table["name"].tolist()[header:], values[header:], strict=True):
        name = cleaned_name(text, path)
        if name in points or name in faults:
            continue
        if np.isfinite(row).all() and np.abs(row).max() <= _MOST_PIXELS:
            # (10,) -> (5, 2)
            points[name] = row.reshape(5, 2)
        else:
            faults[name] = "landmarks are not ten numbers of pixels"
    if not points:
        raise UserError(f"{path} line 1: landmarks of {table['name'][0]} are not ten numbers, nor are any others")
    return Landmarks(points, faults)


@dataclass(frozen=True)
class LfwPair:
    """A pair of LFW: two photos by their path below `lfw/`, whether they show one person, and the fold."""

    left: str
    right: str
    same: bool
    fold: int


def read_lfw_pairs(path: Path) -> list[LfwPair]:
    """Read LFW's pairs.txt: a line `folds<TAB>n`, then for every fold n pairs of one person and n of two.

    Raises:
        UserError: naming the line that is wrong.
    """
    try:
        # Some editors put a byte order mark in front.
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}); expected LFW's pairs.txt") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows or len(rows[0][1]) not in (1, 2) or not all(_is_count(part) for part in rows[0][1]):
        raise UserError(f"{path} line 1 must be two numbers, folds and pairs of each kind, such as 10 and 300")
    header = [int(part) for part in rows[0][1]]
    folds, each = (header[0], header[1]) if len(header) == 2 else (1, header[0])
    if folds < 1 or each < 1 or len(rows) - 1 != 2 * folds * each:
        raise UserError(
            f"{path} has {len(rows) - 1} pairs; its first line announces {folds} x 2 x {each} = {2 * folds * each}"
        )
    return [_lfw_pair(path, number, parts, place // (2 * each)) for place, (number, parts) in enumerate(rows[1:])]


def _lfw_pair(path: Path, number: int, parts: list[str], fold: int) -> LfwPair:
    form = "`name i j` for one person or `name1 i name2 j` for two"
    if len(parts) not in (3, 4) or not all(_is_count(parts[i]) for i in ((1, 2) if len(parts) == 3 else (1, 3))):
        raise UserError(f"{path} line {number}: {' '.join(parts)[:60]!r} is no pair; expected {form}")
    left, i, *rest = parts
    right, j = (left, rest[0]) if len(parts) == 3 else (rest[0], rest[1])
    names = [cleaned_name(_lfw_path(name, int(digits)), path) for name, digits in ((left, i), (right, j))]
    return LfwPair(names[0], names[1], len(parts) == 3, fold)


def _is_count(text: str) -> bool:
    return text.isdecimal() and len(text) <= _LONGEST_NUMBER


def _lfw_path(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.jpg"
