"""Embeddings kept from one evaluation to the next, each under the content that it was made from.

The key of an embedding is the SHA-256 of the picture file's bytes and of everything that is done to them; the folder
of a model is the SHA-256 of the checkpoint's content, what is done with its output, the device, the versions of the
libraries and this program's own source. No name, size or time of a file is trusted, so that no change of a picture, a
landmark, a checkpoint or the program can bring back an embedding of before.
"""

import errno
import hashlib
import json
import os
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError
from shards.writer import write_atomically

FORMAT_VERSION = 1
LIMIT_BYTES = 8 << 30
"""Bytes of all models' embeddings together, beyond which the longest unused models are removed."""

_KEY_BYTES = 32
# Embeddings in memory before they are written: what a killed evaluation loses.
_PENDING = 4096
# What prepares pictures and builds networks.
_SOURCES = (
    "pipeline/pixels/*.py",
    "pipeline/alignment/*.py",
    "pipeline/loading/*.py",
    "training/peers/*.py",
    "training/networks/*.py",
    "evaluation/models/*.py",
)
_FILE = re.compile(r"embeddings-[0-9a-f]{64}\.npy")
_FOLDER = re.compile(r"[0-9a-f]{64}")


def usable_folder(named: Path | None) -> Path | None:
    """Return a folder for embeddings: the one named, or the user's cache folder (XDG base directory specification).

    Returns:
        the folder, made where it was not there; None, with a note on stderr, where the user has no cache folder.

    Raises:
        UserError: the named folder cannot be written.
    """
    try:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        folder = named or Path(base) / "low-resolution-face-recognition" / "embeddings"
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        if named is not None:
            raise UserError(f"{named} cannot be written ({reason}); name another --cache or give --no-cache") from error
        print(f"note: embeddings are not kept, there is no folder for them ({reason}); see --cache", file=sys.stderr)
        return None
    return folder


class EmbeddingCache:
    """The kept embeddings of one model.

    Files appear whole or not at all and are never changed, so that several evaluations may share a folder. Every row
    carries a CRC-32: one that does not fit, or a file that cannot be read, is skipped with a warning.

    Args:
        folder: of the cache, which holds a folder a model; made where it is not there.
        model: plain data that two models share only where they give the same embedding for the same face, the
            versions of the libraries that compute it included.
        limit: bytes of all models together, beyond which the longest unused other models are removed.

    Raises:
        OSError: the folder cannot be made or read.
    """

    def __init__(self, folder: Path, model: dict[str, Any], *, limit: int = LIMIT_BYTES) -> None:
        identity = {"format": FORMAT_VERSION, "model": model, "program": _program()}
        digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
        self._folder = folder / digest
        self._folder.mkdir(parents=True, exist_ok=True)
        self._files: list[NDArray[np.void]] = []
        self._place: dict[bytes, tuple[int, int]] = {}
        self._pending: dict[bytes, NDArray[np.float32]] = {}
        self._read: set[Path] = set()
        self._writable = True
        for path in sorted(self._folder.glob("embeddings-*.npy")):
            self._add(path)
        # The folder's modification time is when the model was last used.
        if os.access(self._folder, os.W_OK):
            os.utime(self._folder)
            _remove_unused(folder, self._folder, limit)

    @staticmethod
    def key(data: bytes, framing: bytes, low: int | None) -> bytes:
        """Return the key of a picture: of its file's bytes, its framing and the side it is reduced to."""
        told = json.dumps([hashlib.sha256(data).hexdigest(), framing.decode(), low])
        return hashlib.sha256(told.encode()).digest()

    def get(self, key: bytes) -> NDArray[np.float32] | None:
        """Return the embedding of a key, (D,) float32, or None; any thread may ask."""
        found = self._pending.get(key)
        if found is None and key in self._place:
            file, row = self._place[key]
            found = np.array(self._files[file]["vector"][row], dtype=np.float32)
        return found

    def put(self, key: bytes, vector: NDArray[np.float32]) -> None:
        """Keep an embedding; it is on disk after the next `flush`, or after some thousand more."""
        if not self._writable:
            return
        self._pending[key] = np.array(vector, dtype=np.float32)
        if len(self._pending) >= _PENDING:
            self.flush()

    def read_new_files(self) -> None:
        """Take in what other processes have written meanwhile."""
        for path in sorted(set(self._folder.glob("embeddings-*.npy")) - self._read):
            self._add(path)

    def flush(self) -> None:
        """Write what is not yet on disk; where that fails, warn once and keep nothing more."""
        if not self._pending:
            return
        rows = np.empty(len(self._pending), dtype=_row_type(len(next(iter(self._pending.values())))))
        rows["key"] = np.frombuffer(b"".join(self._pending), dtype=f"V{_KEY_BYTES}")
        rows["vector"] = list(self._pending.values())
        rows["crc"] = [_crc(key, vector) for key, vector in self._pending.items()]
        path = self._folder / f"embeddings-{hashlib.sha256(rows.tobytes()).hexdigest()}.npy"
        try:
            # Another evaluation may have removed the folder as the longest unused one.
            self._folder.mkdir(parents=True, exist_ok=True)
            write_atomically(path, lambda file: np.save(file, rows, allow_pickle=False))
        except OSError as error:
            print(f"warning: embeddings are no longer kept: {path.parent}: {error.strerror}", file=sys.stderr)
            self._writable = False
        else:
            self._add(path)
        self._pending.clear()

    def _add(self, path: Path) -> None:
        """Add a file's undamaged rows to the index."""
        self._read.add(path)
        try:
            rows = _open(path)
            undamaged = _undamaged_rows(rows)
        except Exception as error:  # numpy raises anything between ValueError and SyntaxError for damaged headers
            print(f"warning: skipped: {path} is damaged: {error}", file=sys.stderr)
            return
        # In this order: other threads ask meanwhile.
        self._files.append(rows)
        self._place.update({key: (len(self._files) - 1, row) for key, row in undamaged.items()})
        if damaged := len(rows) - len(undamaged):
            print(f"warning: skipped {damaged} damaged embeddings in {path}", file=sys.stderr)


def _row_type(length: int) -> np.dtype[np.void]:
    return np.dtype([("key", f"V{_KEY_BYTES}"), ("crc", "<u4"), ("vector", "<f4", (length,))])


def _open(path: Path) -> NDArray[np.void]:
    """Map a file's rows: (N,) of `_row_type`; memory holds only the pages in use."""
    rows: NDArray[np.void] = np.load(path, mmap_mode="r", allow_pickle=False)
    shape = rows.dtype["vector"].shape if rows.dtype.names and "vector" in rows.dtype.names else ()
    if rows.ndim != 1 or len(shape) != 1 or rows.dtype != _row_type(shape[0]):
        raise ValueError(f"rows of {rows.dtype}")
    return rows


def _undamaged_rows(rows: NDArray[np.void]) -> dict[bytes, int]:
    """Return the number of every row by its key, without those whose CRC-32 does not fit."""
    keys = [entry.tobytes() for entry in rows["key"]]
    sums = rows["crc"].tolist()
    return {key: row for row, key in enumerate(keys) if sums[row] == _crc(key, rows["vector"][row])}


def _crc(key: bytes, vector: NDArray[np.float32]) -> int:
    return zlib.crc32(np.ascontiguousarray(vector, dtype="<f4").tobytes(), zlib.crc32(key))


def _program() -> str:
    """Return the SHA-256 of the source that embeddings depend on."""
    root = Path(__file__).parents[2]
    sha256 = hashlib.sha256()
    for path in sorted(path for pattern in _SOURCES for path in root.glob(pattern)):
        sha256.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes() + b"\0")
    return sha256.hexdigest()


def _remove_unused(folder: Path, current: Path, limit: int) -> None:
    """Remove the longest unused models' files until all together fit the limit; touches nothing else in the folder."""
    try:
        models = [path for path in folder.iterdir() if _FOLDER.fullmatch(path.name) and path != current]
        models.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
        total = sum(path.stat().st_size for path in _files(current))
        for model in models:
            files = _files(model)
            total += sum(path.stat().st_size for path in files)
            if total > limit:
                for path in files:
                    path.unlink(missing_ok=True)
                model.rmdir()
    except OSError:
        # Another evaluation does the same, or something else is there: the next evaluation tries again.
        return


def _files(model: Path) -> list[Path]:
    return [path for path in model.iterdir() if _FILE.fullmatch(path.name)]
