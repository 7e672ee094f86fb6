"""An array of records in an .npy file: in memory where it is small, read row by row where it is large."""

import os
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError
from shards.storage.places import Folder, RemotePath

if TYPE_CHECKING:
    from shards.storage.growing_file import GrowingFile

_ROWS_AT_ONCE = 1 << 20
# Ten million photos. Each process of a machine holds its own copy.
_HELD_BYTES = 1 << 28
# More than a header of .npy takes.
_HEADER_BYTES = 4096


class ArrayFile:
    """One-dimensional array of a file that is never mapped; the file stays open.

    Of a large file in a bucket only the rows asked for are waited for, see `GrowingFile`.

    Args:
        path: .npy file.
        held: bytes of the largest array that is held in memory.

    Attributes:
        path: of the file.
        dtype: of the rows.
        shape: of the array.

    Raises:
        OSError, ValueError, SyntaxError, ...: the file cannot be read or holds something else (`NUMPY_DAMAGE`).
    """

    def __init__(self, path: Folder, held: int = _HELD_BYTES) -> None:
        self.path = path
        self._grows: GrowingFile | None = None
        if isinstance(path, RemotePath) and path.state().size > held:
            self._grows = path.open_in_parts()
            self._file: BinaryIO = self._grows.file
            self._need(np.array([0]), np.array([_HEADER_BYTES]))
        else:
            self._file = path.open("rb", buffering=0)
        version = np.lib.format.read_magic(self._file)
        if version not in ((1, 0), (2, 0)):
            raise ValueError(f"version {version} of .npy")
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        self.shape, _, self.dtype = read(self._file)
        if self.dtype.hasobject:
            raise ValueError("it holds Python objects")
        self._start = self._file.tell()
        found, needed = os.fstat(self._file.fileno()).st_size - self._start, int(np.prod(self.shape, dtype=object))
        if found < needed * self.dtype.itemsize:
            raise ValueError(f"it holds {found // max(1, self.dtype.itemsize)} rows of {needed}")
        small = len(self.shape) == 1 and needed * self.dtype.itemsize <= held
        self._rows = self._read(0, needed) if small else None

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, rows: int | slice | NDArray[np.int64]) -> NDArray[np.void]:
        """Return the row (), or the rows of a slice (n,) or of an array of row numbers >= 0 (of its shape).

        Raises:
            IndexError: there is no such row.
            UserError: the file has become shorter, or its storage fails.
        """
        if self._rows is not None:
            found: NDArray[np.void] = self._rows[rows]
            return found
        if isinstance(rows, slice):
            first, stop, step = rows.indices(len(self))
            return self._read(first, max(0, stop - first))[::step]
        if isinstance(rows, int | np.integer):
            return self._read(self._row(int(rows)), 1)[0]
        flat = rows.ravel()
        if not len(flat):
            return np.empty(rows.shape, dtype=self.dtype)
        self._row(int(flat.min())), self._row(int(flat.max()))
        # Rows that follow one another are read as one.
        starts = np.append(0, np.flatnonzero(np.diff(flat) != 1) + 1)
        counts = np.diff(np.append(starts, len(flat)))
        begins = self._start + flat[starts] * self.dtype.itemsize
        self._need(begins, begins + counts * self.dtype.itemsize)
        read = b"".join(map(self._bytes, flat[starts].tolist(), counts.tolist()))
        return np.frombuffer(read, dtype=self.dtype).reshape(rows.shape)

    def chunks(self) -> list[slice]:
        """Return slices that cover all rows, each small enough for memory."""
        return [slice(first, first + _ROWS_AT_ONCE) for first in range(0, len(self), _ROWS_AT_ONCE)]

    def column(self, name: str) -> NDArray[Any]:
        """Return one field of all rows: (n,)."""
        return np.concatenate([np.empty(0, self.dtype[name]), *(self[chunk][name].copy() for chunk in self.chunks())])

    def _row(self, row: int) -> int:
        if not 0 <= row < len(self):
            raise IndexError(f"row {row} of {len(self)}")
        return row

    def _read(self, first: int, count: int) -> NDArray[np.void]:
        return np.frombuffer(self._bytes(first, count), dtype=self.dtype)

    def _need(self, starts: NDArray[np.int64], stops: NDArray[np.int64]) -> None:
        """Wait until bytes of a file that is fetched in parts are there."""
        if self._grows is not None and len(starts):
            self._grows.need(starts, stops)

    def _bytes(self, first: int, count: int) -> bytes:
        size, offset = count * self.dtype.itemsize, self._start + first * self.dtype.itemsize
        self._need(np.array([offset]), np.array([offset + size]))
        try:
            data = os.pread(self._file.fileno(), size, offset)
            while len(data) < size and (more := os.pread(self._file.fileno(), size - len(data), offset + len(data))):
                data += more
        except OSError as error:
            raise UserError(f"{self.path} cannot be read at byte {offset} ({error.strerror})") from error
        if len(data) < size:
            raise UserError(
                f"{self.path} ends before byte {offset + size}: it was cut short while in use; write the folder again"
            )
        return data
