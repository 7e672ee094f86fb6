"""Files of plain data and tensors: a checksum over every byte, and no code that runs when they are loaded.

The files are PyTorch's own, zip archives that `torch.load` reads. The SHA-256 is in the comment at the end of the
archive, where the format has a place for it, so that a copied file keeps it.
"""

import hashlib
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any, BinaryIO, cast

import torch

from shards.command import UserError, first_line
from training.checkpoints.inert_pickle import load_numbers

_MARK = b"sha256:"
_HEX = 64
_COMMENT = len(_MARK) + _HEX


class _Checksummed:
    """A file that hashes what is written to it, and ends a zip archive with the checksum as its comment."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._digest, self._held = file, hashlib.sha256(), b""

    def write(self, data: bytes) -> int:
        """Write all but the last two bytes so far: at the end they are the length of the comment."""
        view = memoryview(data).cast("B")
        held = self._held + bytes(view[-2:])
        self._pass_on(held[:-2] if len(view) < 2 else self._held)
        if len(view) > 2:
            self._pass_on(view[:-2])
        self._held = held[-2:]
        return len(view)

    def flush(self) -> None:
        """Flush what has been passed on."""
        self._file.flush()

    def finish(self) -> None:
        """Write the comment."""
        assert self._held == b"\0\0", "a zip archive without a comment ends in its length, 0"
        self._pass_on(struct.pack("<H", _COMMENT))
        self._pass_on(_MARK)
        self._file.write(self._digest.hexdigest().encode())

    def _pass_on(self, data: bytes | memoryview) -> None:
        self._digest.update(data)
        self._file.write(data)


def write_data(file: BinaryIO, data: dict[str, Any]) -> None:
    """Write plain data and tensors with a checksum to an open file.

    Raises:
        OSError: the disk is full.
    """
    checksummed = _Checksummed(file)
    try:
        torch.save(data, cast(BinaryIO, checksummed))
    except RuntimeError as error:
        # PyTorch still closes the archive, and complains about its length instead of the disk.
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    checksummed.finish()


def load_data(path: Path, checked: bool = False, foreign: bool = False) -> dict[str, Any]:
    """Load plain data and tensors onto the CPU, never code, after a look at every byte of the file.

    Tensors stay in the file, mapped into memory, until they are used.

    Args:
        path: a file of ours, or any that `torch.save` wrote.
        checked: whether the look at every byte has been done.
        foreign: read another program's file too, whose other objects become empty stand-ins
            (`training.checkpoints.inert_pickle`).

    Raises:
        UserError: missing, damaged, or a file that would run code and is not read as another program's.
    """
    if not path.is_file():
        raise UserError(f"no checkpoint {path}; name a .pt file of a run or a .pth state dict")
    try:
        archive = zipfile.is_zipfile(path)
        if archive and not checked:
            _refuse_damage(path)
        try:
            data = torch.load(path, map_location="cpu", weights_only=True, mmap=archive)
        except pickle.UnpicklingError:
            if not foreign:
                raise
            data = load_numbers(path)
            if not _holds_tensors(data):
                raise
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} would run code when loaded, or is no checkpoint; expected plain data and tensors"
        ) from error
    except UserError:
        raise
    except Exception as error:  # zipfile and torch raise anything between zlib.error and AttributeError
        raise UserError(f"{path} is damaged or no checkpoint: {first_line(error)}") from error
    if not isinstance(data, dict):
        raise UserError(f"{path} holds a {type(data).__name__}; expected a checkpoint or a state dict")
    return data


def written_checksum(path: Path) -> str:
    """Return the SHA-256 with which a file of ours was written.

    Raises:
        UserError: the file has none.
    """
    with path.open("rb") as file:
        file.seek(-min(path.stat().st_size, _COMMENT), 2)
        comment = file.read()
    if not comment.startswith(_MARK):
        raise UserError(f"{path} is damaged: it does not end with a SHA-256")
    return comment[len(_MARK) :].decode("ascii", errors="replace")


def _holds_tensors(data: Any) -> bool:
    if isinstance(data, dict):
        return any(map(_holds_tensors, data.values()))
    return isinstance(data, torch.Tensor)


def _refuse_damage(path: Path) -> None:
    """Compare a file with its SHA-256, or, where it has none, its members with their CRC-32."""
    with zipfile.ZipFile(path) as archive:
        if archive.comment.startswith(_MARK):
            if _digest_of_all_but(path, _HEX) != archive.comment[len(_MARK) :].decode("ascii", errors="replace"):
                raise UserError(f"{path} is damaged: it has another SHA-256 than was written")
        elif (member := archive.testzip()) is not None:
            raise UserError(f"{path} is damaged: {member} has another CRC-32 than was written")


def _digest_of_all_but(path: Path, last: int) -> str:
    """Return the SHA-256 of a file without its last bytes."""
    digest, left = hashlib.sha256(), path.stat().st_size - last
    with path.open("rb") as file:
        while left > 0 and (block := file.read(min(left, 1 << 20))):
            digest.update(block)
            left -= len(block)
    return digest.hexdigest()
