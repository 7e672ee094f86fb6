"""Pair lists, landmark lists and .mat files as they are found: tolerant of form, strict about sense."""

import multiprocessing
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from pipeline.landmark_list import LANDMARK_COLUMNS, read_landmarks
from shards.command import UserError

_MAT_SECONDS = 120


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


def landmarks_by_name(path: Path) -> dict[str, NDArray[np.float64]]:
    """Read a landmark list without a header: name -> (5, 2) x, y in pixels; a name's first row counts.

    Raises:
        UserError: no landmark list, or a row whose landmarks are not numbers.
    """
    table = read_landmarks(path)
    values = table[LANDMARK_COLUMNS].to_numpy()
    if not np.isfinite(values).all():
        row = int(np.flatnonzero(~np.isfinite(values).all(axis=1))[0])
        raise UserError(f"{path} line {row + 1}: landmarks of {table['name'][row]} are not ten numbers; mend the row")
    found: dict[str, NDArray[np.float64]] = {}
    for name, points in zip(table["name"], values, strict=True):
        # (10,) -> (5, 2)
        found.setdefault(name.replace("\\", "/"), points.reshape(5, 2))
    return found


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
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as text ({error}); expected LFW's pairs.txt") from error
    rows = [(number, line.split()) for number, line in enumerate(lines, 1) if line.strip()]
    if not rows or len(rows[0][1]) not in (1, 2) or not all(part.isdecimal() for part in rows[0][1]):
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
    if len(parts) not in (3, 4) or not all(parts[i].isdecimal() for i in ((1, 2) if len(parts) == 3 else (1, 3))):
        raise UserError(f"{path} line {number}: {' '.join(parts)[:60]!r} is no pair; expected {form}")
    left, i, *rest = parts
    right, j = (left, rest[0]) if len(parts) == 3 else (rest[0], rest[1])
    return LfwPair(_lfw_path(left, int(i)), _lfw_path(right, int(j)), len(parts) == 3, fold)


def _lfw_path(name: str, number: int) -> str:
    return f"{name}/{name}_{number:04d}.jpg"


def read_mat(path: Path, variable: str) -> NDArray[Any]:
    """Read one variable of a .mat file.

    Raises:
        UserError: the file cannot be read or lacks the variable; names those it has.
    """
    content = _load_apart(path)
    if variable not in content:
        held = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
        raise UserError(f"{path} holds {held}; expected the variable {variable}")
    return np.asarray(content[variable])


def _load_apart(path: Path) -> dict[str, Any]:
    """Load a .mat file in a process of its own: a damaged file can crash or stall scipy's reader."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scipy.io"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_load_and_send, args=(path, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(_MAT_SECONDS):
            raise UserError(f"{path} is damaged: it could not be read in {_MAT_SECONDS} s; copy the file anew")
        content: dict[str, Any] | str = receiver.recv()
    except EOFError:
        raise UserError(f"{path} is damaged: its reader crashed; copy the file anew") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(content, str):
        raise UserError(f"{path} cannot be read as a .mat file: {content}")
    return content


def _load_and_send(path: Path, sender: Connection) -> None:
    """Send the variables, or why there are none."""
    content: dict[str, Any] | str
    try:
        content = scipy.io.loadmat(path)
    except Exception as error:  # scipy raises anything between struct.error and MemoryError for damaged files
        content = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    sender.send(content)


def strings_of(array: NDArray[Any]) -> list[str]:
    """Flatten a cell array of text, however its cells are nested, or a character matrix, row by row.

    >>> cell = np.empty((2, 1), dtype=object)
    >>> cell[0, 0], cell[1, 0] = np.array(["a.jpg"]), np.array([np.array(["b.jpg"])], dtype=object)
    >>> strings_of(cell)
    ['a.jpg', 'b.jpg']
    """
    if array.dtype.kind in "US":
        return [_text(item) for item in array.reshape(-1)]
    if array.dtype.kind != "O":
        return [str(item) for item in array.reshape(-1)]
    return [text for item in array.reshape(-1) for text in strings_of(np.asarray(item))]


def _text(item: Any) -> str:
    return (item.decode("latin-1") if isinstance(item, bytes) else str(item)).strip()


def read_name_pairs(path: Path, variable: str) -> list[tuple[str, str]]:
    """Read an N x 2 cell array of file names.

    Raises:
        UserError: the file or the variable is missing, or its names do not pair up.
    """
    cells = read_mat(path, variable)
    if cells.ndim == 2 and cells.shape[0] == 2 and cells.shape[1] != 2:
        cells = cells.T
    names = strings_of(cells)
    if not names or len(names) % 2 or any("/" not in n and "." not in n for n in names):
        raise UserError(f"{path}: {variable} holds {len(names)} names; expected N x 2 file names")
    return list(zip(names[::2], names[1::2], strict=True))


def read_named_identities(path: Path, names: str, identities: str) -> list[tuple[str, str]]:
    """Read file names and their identities from two variables of a .mat file.

    Raises:
        UserError: a variable is missing, or the two are of different length.
    """
    files = strings_of(read_mat(path, names))
    owners = strings_of(read_mat(path, identities))
    if len(files) != len(owners):
        raise UserError(f"{path}: {names} has {len(files)} entries, {identities} {len(owners)}; expected as many")
    return list(zip(files, owners, strict=True))
