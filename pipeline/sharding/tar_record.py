"""The record of a finished tar, kept until the whole folder is finished."""

import io
import json
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from shards.format import tar_name
from shards.index import NUMPY_DAMAGE
from shards.writer import write_atomically

WORK = ".work"
"""Folder, in a shard folder that is being written, of all that a run keeps for the next one."""


@dataclass(frozen=True)
class TarRecord:
    """The record of a finished tar.

    Attributes:
        photos: (N,) `PHOTO_DTYPE`, in the tar's order.
        points: (N,) `POINTS_DTYPE`, likewise.
        labels: (N,) int64 planned labels.
        rejects: number of the source, path, identity and reason of every photo planned for the tar that is not in it.
        dropped: identities left with too few photos.
        sha256: of the tar.
        bytes: of the tar.
    """

    photos: NDArray[np.void]
    points: NDArray[np.void]
    labels: NDArray[np.int64]
    rejects: list[tuple[int, str, str, str]]
    dropped: list[str]
    sha256: str
    bytes: int


def record_path(out: Path, number: int) -> Path:
    """Return the path of the record that says a tar is finished."""
    return out / WORK / f"{tar_name(number)}.npz"


def write_record(path: Path, record: TarRecord, staging: Path | None = None) -> None:
    """Write a tar's record atomically; from then on the tar counts as finished."""
    about = {
        "rejects": record.rejects,
        "dropped": record.dropped,
        "sha256": record.sha256,
        "bytes": record.bytes,
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        photos=record.photos,
        points=record.points,
        labels=record.labels,
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
    )
    write_atomically(path, buffer.getvalue(), staging)


def read_record(path: Path) -> TarRecord:
    """Read a tar's record.

    Raises:
        ValueError: it is damaged.
        OSError: it cannot be read.
    """
    try:
        with np.load(path, allow_pickle=False) as data:
            about = json.loads(data["about"].tobytes())
            rejects = [(int(s), str(p), str(i), str(r)) for s, p, i, r in about["rejects"]]
            photos, points, labels = (data[name] for name in ("photos", "points", "labels"))
            return TarRecord(photos, points, labels, rejects, about["dropped"], about["sha256"], about["bytes"])
    except OSError:
        raise
    except (*NUMPY_DAMAGE, KeyError, AttributeError, zlib.error, NotImplementedError, struct.error) as error:
        raise ValueError(f"{path} is damaged: {error}") from error
