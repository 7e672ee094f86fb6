"""Rows of a class matrix that is divided among processes: a file from each, listed by the checkpoint they belong to."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shards.command import UserError
from shards.writer import write_atomically
from training.checkpoints.checksummed_file import load_data, write_data, written_checksum
from training.checkpoints.run_folder import ROWS_NAME

_KIND = "low-resolution face recognition class rows"


@dataclass(frozen=True)
class RowsFile:
    """A file of rows, beside the checkpoints of its run.

    Attributes:
        name: of the file.
        sha256: its checksum.
        first: its first class.
        stop: one past its last class.
    """

    name: str
    sha256: str
    first: int
    stop: int

    def __post_init__(self) -> None:
        if not re.fullmatch(ROWS_NAME, self.name):
            raise ValueError(f"a file of rows is named {self.name[:40]!r}")


def write_rows(path: Path, rows: dict[str, Tensor], classes: range) -> RowsFile:
    """Write the rows of some classes atomically, with a SHA-256 of everything in the file.

    Args:
        path: of the file.
        rows: the weights and what an optimiser keeps for them, each (len(classes), ...).
        classes: consecutive ones.

    Raises:
        OSError: the disk is full.
    """
    write_atomically(path, lambda file: write_data(file, {"kind": _KIND, "rows": rows}))
    return RowsFile(path.name, written_checksum(path), classes.start, classes.stop)


def check_rows(folder: Path, files: Sequence[RowsFile]) -> None:
    """Look at every byte of a checkpoint's files of rows.

    Raises:
        UserError: one is missing, damaged, or another than the checkpoint lists.
    """
    for one in files:
        _open(folder, one, checked=False)


def read_rows(folder: Path, files: Sequence[RowsFile], classes: range) -> dict[str, Tensor]:
    """Read the rows of some consecutive classes, whatever processes wrote them; only these are read into memory.

    Args:
        folder: of the files, which have been checked.
        files: all of a checkpoint.
        classes: those wanted.

    Returns:
        (len(classes), ...) of each name.

    Raises:
        UserError: a file is missing or damaged, or classes are in none.
    """
    parts: list[dict[str, Tensor]] = []
    reached = classes.start
    for one in sorted(files, key=lambda file: file.first):
        first, stop = max(one.first, classes.start), min(one.stop, classes.stop)
        if first >= stop:
            continue
        if first != reached:
            break
        rows = _open(folder, one, checked=True)
        parts.append({name: value[first - one.first : stop - one.first] for name, value in rows.items()})
        reached = stop
    if reached != classes.stop or any(part.keys() != parts[0].keys() for part in parts):
        raise UserError(f"the files of rows in {folder} lack those of class {reached}; remove their checkpoint")
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _open(folder: Path, file: RowsFile, *, checked: bool) -> dict[str, Tensor]:
    path = folder / file.name
    data = load_data(path, checked)
    if written_checksum(path) != file.sha256:
        raise UserError(f"{path} is of another checkpoint than the one that lists it")
    rows = data.get("rows")
    if data.get("kind") != _KIND or not isinstance(rows, dict) or "weight" not in rows:
        raise UserError(f"{path} holds no rows of a class matrix")
    count = file.stop - file.first
    if not all(isinstance(value, Tensor) and value.shape[:1] == (count,) for value in rows.values()):
        raise UserError(f"{path} does not hold the rows of {count} classes")
    return rows
