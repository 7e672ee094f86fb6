"""The shard index, identity -> (tar, offset, size): random access without scanning the tars."""

import mmap
from functools import cached_property
from pathlib import Path
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError
from shards.format import (
    IDENTITIES,
    NAMES,
    PHOTO_DTYPE,
    PHOTOS,
    TAR_BLOCK,
    Manifest,
    next_member,
    read_manifest,
    views_size,
)

NUMPY_DAMAGE = (
    OSError,
    ValueError,
    EOFError,
    SyntaxError,
    TypeError,
    OverflowError,
    TokenError,
    MemoryError,
    RecursionError,
    BadZipFile,
)
"""What NumPy raises on reading a damaged file: its header is parsed as Python."""


class ShardIndex:
    """The photos of a shard folder by identity; create it with `ShardIndex.open`.

    Attributes:
        folder: the shard folder.
        manifest: of the folder.
        records: (photos,) `PHOTO_DTYPE`, memory-mapped, grouped by label.
        first: (identities + 1,) int64, the row of each label's first photo; memory-mapped.
    """

    def __init__(self, folder: Path, manifest: Manifest, records: NDArray[np.void], first: NDArray[np.int64]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.records = records
        self.first = first
        self._tars: dict[int, NDArray[np.uint8]] = {}

    @staticmethod
    def open(folder: Path) -> "ShardIndex":
        """Open a finished shard folder; no tar is read.

        Raises:
            UserError: the folder is not finished, a file is missing, or the files contradict the manifest.
        """
        manifest = read_manifest(folder)
        try:
            records, first = (
                np.load(folder / name, mmap_mode="r", allow_pickle=False) for name in (PHOTOS, IDENTITIES)
            )
            if not (isinstance(records, np.ndarray) and isinstance(first, np.ndarray)):
                raise ValueError("it is no array")
        except NUMPY_DAMAGE as error:
            raise UserError(f"the index of {folder} cannot be read ({error}); write the folder again") from error
        if (
            records.dtype != PHOTO_DTYPE
            or first.dtype != np.int64
            or records.shape != (manifest.photos,)
            or first.shape != (manifest.identities + 1,)
            or (len(first) and first[-1] != len(records))
        ):
            raise UserError(
                f"the index of {folder} holds {records.shape} photos of {first.shape} identities, its manifest "
                f"says {manifest.photos} of {manifest.identities}; write the folder again"
            )
        return ShardIndex(folder, manifest, records, first)

    @property
    def identities(self) -> int:
        """Number of labels."""
        return self.manifest.identities

    @property
    def photos(self) -> int:
        """Number of photos."""
        return self.manifest.photos

    @cached_property
    def names(self) -> list[str]:
        """The name of each label."""
        path = self.folder / NAMES
        try:
            # A name may hold every character but this one: other ways to end a line are part of it.
            return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path} cannot be read ({error}); write the folder again") from error

    def check_tars(self) -> None:
        """Compare the size of every tar with the manifest's; no tar is read.

        A tar of another size than the manifest says may have been written anew together with its index; it passes
        where the index's bytes lie within it.

        Raises:
            UserError: a tar is missing, or ends before a photo that the index places in it.
        """
        for number, entry in enumerate(self.manifest.tars):
            path = self._tar_path(number)
            try:
                found = path.stat().st_size
            except OSError as error:
                raise UserError(
                    f"{path} cannot be read ({error.strerror}); run `python -m shards.verify {self.folder}`"
                ) from error
            if found != entry.bytes:
                mine = self.records[self.records["tar"] == number]
                end = int((mine["offset"] + mine["size"]).max(initial=0))
                if end > found:
                    raise UserError(
                        f"{path} has {found} bytes, the manifest says {entry.bytes} and the index places photos up "
                        f"to {end}; run `python -m shards.verify {self.folder}`"
                    )

    def read(self, photo: int) -> NDArray[np.uint8]:
        """Return the encoded bytes of a photo as a view of the memory-mapped tar: (size,) uint8.

        Raises:
            UserError: the tar is missing or shorter than the index says.
        """
        record = self.records[photo]
        start = int(record["offset"])
        return self._slice(int(record["tar"]), start, start + int(record["size"]))

    def read_all(self, photos: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Return the encoded bytes of (N,) photos, as `read` does; quicker than one by one."""
        records = self.records[photos]
        stops = records["offset"] + records["size"]
        parts = zip(records["tar"].tolist(), records["offset"].tolist(), stops.tolist(), strict=True)
        return [self._slice(tar, start, stop) for tar, start, stop in parts]

    def read_all_views(self, photos: NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Return the bytes of all stored views of each of (N,) photos.

        Raises:
            UserError: a tar is missing or shorter than the index says.
        """
        records = self.records[photos]
        size = views_size(self.manifest.stored_views)
        starts = next_member(records["offset"], records["size"])
        parts = zip(records["tar"].tolist(), starts.tolist(), strict=True)
        return [self._slice(tar, start, start + size) for tar, start in parts]

    def read_stored(self, photos: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
        """Return the stored views of one side of (N,) photos: (N, side, side, 3) uint8 RGB."""
        sides = self.manifest.stored_views
        start = views_size(sides[: sides.index(side)])
        stop = start + views_size((side,))
        # (N x 3 side side,) -> (N, side, side, 3)
        pixels = np.concatenate([views[start:stop] for views in self.read_all_views(photos)])
        return pixels.reshape(len(photos), side, side, 3)

    def _slice(self, number: int, start: int, stop: int) -> NDArray[np.uint8]:
        tar = self._tar(number)
        if start < 0 or stop > len(tar):
            raise UserError(
                f"{self._tar_path(number)} ends at {len(tar)} bytes, the index names bytes {start} to "
                f"{stop}; run `python -m shards.verify {self.folder}`"
            )
        return tar[start:stop]

    def key(self, photo: int) -> tuple[str, str]:
        """Return the tar's name and the key of a photo, read from the header in front of its bytes."""
        record = self.records[photo]
        number = int(record["tar"])
        header = self._tar(number)[int(record["offset"]) - TAR_BLOCK :][:100]
        name = bytes(header).split(b"\0", 1)[0].decode("ascii", errors="replace")
        return self._tar_path(number).name, name.split(".", 1)[0]

    def _tar_path(self, number: int) -> Path:
        if not 0 <= number < len(self.manifest.tars):
            raise UserError(
                f"the index of {self.folder} names tar {number} of {len(self.manifest.tars)}; write the folder again"
            )
        return self.folder / self.manifest.tars[number].name

    def _tar(self, number: int) -> NDArray[np.uint8]:
        """Map a tar into memory, once."""
        if number not in self._tars:
            path = self._tar_path(number)
            try:
                with path.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            except (OSError, ValueError) as error:
                raise UserError(
                    f"{path} cannot be read ({error}); run `python -m shards.verify {self.folder}`"
                ) from error
            # Photos are drawn at random: reading ahead would fetch neighbours that are not needed.
            mapped.madvise(mmap.MADV_RANDOM)
            self._tars[number] = np.frombuffer(mapped, dtype=np.uint8)
        return self._tars[number]
