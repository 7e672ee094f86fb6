"""Lists in .mat files as they are found: tolerant of how cells are nested, strict about sense."""

import multiprocessing
import resource
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
from numpy.typing import NDArray

from evaluation.lists.text_lists import cleaned_name
from shards.command import UserError

_SECONDS = 120
# A damaged length can ask for any amount; the largest real list needs a thousandth of this.
_MEMORY_BYTES = 8 << 30


def read_mat(path: Path, *variables: str) -> list[NDArray[Any]]:
    """Read variables of a .mat file.

    Raises:
        UserError: the file cannot be read or lacks a variable; names those it has.
    """
    content = _load_apart(path)
    for variable in variables:
        if variable not in content:
            held = ", ".join(name for name in content if not name.startswith("__")) or "nothing"
            raise UserError(f"{path} holds {held}; expected the variable {variable}")
    return [np.asarray(content[variable]) for variable in variables]


def _load_apart(path: Path) -> dict[str, Any]:
    """Load a .mat file in a process of its own: a damaged file can crash or stall scipy's reader."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["scipy.io"])
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_load_and_send, args=(path, sender))
    process.start()
    sender.close()
    try:
        if not receiver.poll(_SECONDS):
            raise UserError(f"{path} is damaged: it could not be read in {_SECONDS} s; copy the file again")
        content: dict[str, Any] | str = receiver.recv()
    except EOFError:
        raise UserError(f"{path} is damaged: its reader crashed; copy the file again") from None
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(content, str):
        raise UserError(f"{path} cannot be read as a .mat file: {content}")
    return content


def _load_and_send(path: Path, sender: Connection) -> None:
    """Send the variables, or why there are none."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    limit = _MEMORY_BYTES if most == resource.RLIM_INFINITY else min(_MEMORY_BYTES, most)
    resource.setrlimit(resource.RLIMIT_AS, (limit, most))
    content: dict[str, Any] | str
    try:
        content = scipy.io.loadmat(path)
        if "__function_workspace__" in content and len(content) <= 5:
            content = "it holds MATLAB objects, perhaps a string array; save it with cellstr(...) in MATLAB"
    except NotImplementedError:
        content = "it is of MATLAB 7.3; save it with `save -v7` in MATLAB"
    except Exception as error:  # scipy raises anything between struct.error and MemoryError for damaged files
        content = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    sender.send(content)


def strings_of(array: NDArray[Any]) -> list[str]:
    """Flatten a cell array of text or numbers, however its cells are nested, or a character matrix, row by row.

    A whole number is written without a point, however it is stored.

    >>> cell = np.empty((2, 1), dtype=object)
    >>> cell[0, 0], cell[1, 0] = np.array(["a.jpg"]), np.array([np.array(["b.jpg"])], dtype=object)
    >>> strings_of(cell), strings_of(np.array([[3.0], [4.5]]))
    (['a.jpg', 'b.jpg'], ['3', '4.5'])

    Raises:
        UserError: it holds something else, such as a struct.
    """
    return list(_strings(np.asarray(array)))


def _strings(array: NDArray[Any]) -> Iterator[str]:
    kind = array.dtype.kind
    for item in array.reshape(-1):
        if kind in "US":
            yield (item.decode("latin-1") if isinstance(item, bytes) else str(item)).strip()
        elif kind == "f" and float(item).is_integer():
            yield str(int(item))
        elif kind in "fiub":
            yield str(item)
        elif kind == "O" and (inner := np.asarray(item)).dtype.kind in "USfiubO" and inner is not array:
            if inner.dtype.kind == "O" and inner.ndim == 0:
                raise UserError(f"a cell holds a {type(item).__name__}; expected text or numbers")
            yield from _strings(inner)
        else:
            raise UserError(f"it holds {array.dtype.name} entries; expected text or numbers in cells")


def read_name_pairs(path: Path, variable: str) -> list[tuple[str, str]]:
    """Read pairs of file names: an N x 2 or 2 x N cell array, two columns in a cell each, or a cell a pair.

    Raises:
        UserError: the file or the variable is missing, or its names do not pair up; names the first such row.
    """
    (cells,) = read_mat(path, variable)
    expected = f"{path}: {variable}: expected N x 2 file names"
    if cells.dtype.kind == "O" and cells.ndim == 2 and 2 in cells.shape:
        if cells.shape[1] != 2:
            cells = cells.T
        columns = [strings_of(cells[:, column]) for column in (0, 1)] if len(cells) == 1 else []
        if columns and len(columns[0]) == len(columns[1]) > 1 and np.ndim(cells[0, 0]) == np.ndim(cells[0, 1]):
            # One row of two cells, each of which holds a whole column.
            rows = [list(pair) for pair in zip(*columns, strict=True)]
        else:
            rows = [strings_of(row) for row in cells]
    elif cells.dtype.kind == "O":
        rows = [strings_of(np.asarray(cell)) for cell in cells.reshape(-1)]
    else:
        rows = []
    if not rows:
        raise UserError(f"{expected}, found {cells.dtype.name} of shape {cells.shape}")
    for number, row in enumerate(rows, 1):
        if len(row) != 2 or any("." not in name for name in row):
            raise UserError(f"{expected}, found {', '.join(row)[:80] or 'nothing'!r} in row {number}")
    return [(cleaned_name(left, path), cleaned_name(right, path)) for left, right in rows]


def read_named_identities(path: Path, names: str, identities: str) -> list[tuple[str, str]]:
    """Read file names and their identities from two variables of a .mat file.

    Identities that are numbers are one however they are written: 7, 7.0, "7" and "0007".

    Raises:
        UserError: a variable is missing or empty, the two are of different length, or an identity is none.
    """
    files, owners = (strings_of(part) for part in read_mat(path, names, identities))
    owners = [str(int(text)) if _is_number(text) else text for text in owners]
    if not files:
        raise UserError(f"{path}: {names} is empty; expected file names")
    if len(files) != len(owners):
        raise UserError(f"{path}: {names} has {len(files)} entries, {identities} {len(owners)}; expected as many")
    for number, (file, owner) in enumerate(zip(files, owners, strict=True), 1):
        if not file or owner in ("", "nan", "inf", "-inf"):
            raise UserError(
                f"{path}: entry {number} is {file[:60]!r} of {owner[:20]!r}; expected a name and an identity"
            )
    return [(cleaned_name(file, path), owner) for file, owner in zip(files, owners, strict=True)]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19
