"""The faces in training shards, block by block in the order of the tars, each checked against its CRC-32."""

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.models.pictures import Picture, PictureError, Preparation, decode
from pipeline.sampling.shard_folders import ShardFolders
from shards.byte_ranges import Unread

BLOCK = 2_048
"""Faces in memory at once."""


@dataclass(frozen=True)
class TrainingFace:
    """A face as it is stored.

    Attributes:
        photo: its number in the folders.
        encoded: its bytes.
        faces: (S, S, 3) uint8 RGB.
    """

    photo: int
    encoded: bytes
    pixels: NDArray[np.uint8]

    @property
    def sha256(self) -> bytes:
        """Of its bytes."""
        return hashlib.sha256(self.encoded).digest()

    def picture(self, size: int) -> Picture:
        """Return it as a model with pictures of another size takes it: resized whole."""
        return Picture(f"face {self.photo}", Path(f"face {self.photo}"), Preparation("whole", size), self.encoded)


@dataclass(frozen=True)
class Place:
    """Where a training face is stored.

    Attributes:
        folder: of the shards.
        tar: its file's name.
        key: in the tar.
        identity: whom it shows.
    """

    folder: str
    tar: str
    key: str
    identity: str


def place_of(folders: ShardFolders, photo: int) -> Place:
    """Return where a face is stored."""
    index, row = folders.locate(photo)
    label = int(np.searchsorted(index.first, row, side="right")) - 1
    return Place(str(index.folder), *index.key(row), index.names[label])


def first_of_each_name(folders: ShardFolders) -> dict[str, int]:
    """Return each identity's first photo by its name; where two folders have a name, that of the first."""
    found: dict[str, int] = {}
    for label in range(folders.identities):
        found.setdefault(folders.name(label), folders.photos_of(label)[0])
    return found


def read_faces(folders: ShardFolders, photos: NDArray[np.int64]) -> tuple[list[TrainingFace], dict[int, str]]:
    """Read some faces, and say why others cannot be read, by number."""
    found, faults = [], {}
    written = folders.checksums(photos, views=False).tolist()
    for photo, data, checksum in zip(photos.tolist(), folders.read(photos), written, strict=True):
        if isinstance(data, Unread):
            faults[photo] = data.reason
            continue
        encoded = bytes(data)
        if zlib.crc32(encoded) != checksum:
            faults[photo] = "damaged: its CRC-32 is another"
            continue
        try:
            found.append(TrainingFace(photo, encoded, decode(encoded)))
        except PictureError as error:
            faults[photo] = str(error)
    return found, faults


def blocks(folders: ShardFolders) -> Iterator[tuple[list[TrainingFace], dict[int, str]]]:
    """Yield all faces, `BLOCK` at a time, and why some of each block cannot be read."""
    for start in range(0, folders.photos, BLOCK):
        yield read_faces(folders, np.arange(start, min(start + BLOCK, folders.photos)))
