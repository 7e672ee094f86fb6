"""The shard index, identity -> (tar, offset, size): random access without scanning the tars."""

from collections.abc import Iterator
from functools import cached_property
from itertools import pairwise
from tokenize import TokenError
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from shards.array_file import ArrayFile
from shards.byte_ranges import Bytes, LocalFiles, Range, RangeReader, Unread
from shards.command import UserError
from shards.format import (
    IDENTITIES,
    NAMES,
    PHOTO_DTYPE,
    PHOTOS,
    POINTS,
    POINTS_DTYPE,
    TAR_BLOCK,
    Manifest,
    next_member,
    read_manifest,
    views_size,
)
from shards.storage.places import Folder, RemotePath
from shards.storage.remote_files import RemoteFiles

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
        records: (photos,) `PHOTO_DTYPE`, grouped by label; read from the file row by row.
        first: (identities + 1,) int64, the row of each label's first photo.
    """

    def __init__(self, folder: Folder, manifest: Manifest, records: ArrayFile, first: NDArray[np.int64]) -> None:
        self.folder = folder
        self.manifest = manifest
        self.records = records
        self.first = first
        self._tars = _reader(folder, manifest)

    @staticmethod
    def open(folder: Folder) -> "ShardIndex":
        """Open a finished shard folder; no tar is read.

        An index in a bucket is copied to a temporary file, a large one in parts as its rows are needed.

        Raises:
            UserError: the folder is not finished, a file is missing, or the files contradict the manifest.
        """
        manifest = read_manifest(folder)
        try:
            records = ArrayFile(folder / PHOTOS)
            with (folder / IDENTITIES).open("rb") as file:
                first = np.load(file, allow_pickle=False)
            if not isinstance(first, np.ndarray):
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
        if len(first) and (first[0] != 0 or (np.diff(first) < 1).any()):
            raise UserError(
                f"{folder / IDENTITIES} is damaged: the photos of its identities do not follow one another from row 0 "
                "on; write the folder again"
            )
        return ShardIndex(folder, manifest, records, first)

    @cached_property
    def _points(self) -> ArrayFile:
        path = self.folder / POINTS
        try:
            points = ArrayFile(path)
        except NUMPY_DAMAGE as error:
            raise UserError(f"{path} cannot be read ({error}); write the folder again") from error
        if points.dtype != POINTS_DTYPE or points.shape != (self.photos,):
            raise UserError(
                f"{path} holds {points.shape} points, the manifest says {self.photos} photos; write the folder again"
            )
        return points

    def points(self, photos: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the five points of photos, x, y in units of a face's side: (..., 5, 2), NaN where not known.

        Raises:
            UserError: points.npy is missing or damaged.
        """
        if not self.manifest.pointed:
            return np.full((*photos.shape, 5, 2), np.nan, dtype=np.float32)
        found: NDArray[np.float32] = self._points[photos]["points"]
        return found

    def require_points(self) -> None:
        """Refuse a folder that does not hold the points of every photo.

        Raises:
            UserError: with the command that writes such a folder.
        """
        manifest = self.manifest
        if manifest.pointed < manifest.photos:
            datasets = " ".join(str(source["dataset"]) for source in manifest.sources)
            form = manifest.preprocessing
            raise UserError(
                f"{self.folder} (format version {manifest.version}) holds the five points of {manifest.pointed:,} of "
                f"{manifest.photos:,} photos, and the network needs those of all; write it anew from {datasets}, with "
                f"`python -m pipeline.shard --template {form.template} --size {form.size} --out NEW_FOLDER ...`"
            )
        self._points  # noqa: B018 - to tell a damaged file before work begins

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

    def rows_by_tar(self) -> Iterator[NDArray[np.int64]]:
        """Yield the rows of each tar's photos, tar by tar; the records are read once for all."""
        tars = self.records.column("tar")
        order = np.argsort(tars, kind="stable")
        ends = np.searchsorted(tars, range(len(self.manifest.tars) + 1), sorter=order)
        for first, stop in pairwise(ends.tolist()):
            yield order[first:stop]

    def check_tars(self) -> None:
        """Compare the size of every tar with the manifest's; no tar is read.

        A tar of another size than the manifest says may have been written anew together with its index; it passes
        where the index's bytes lie within it.

        Raises:
            UserError: a tar is missing, or ends before a photo that the index places in it.
        """
        sizes = np.array([self._size(number) for number in range(len(self.manifest.tars))], dtype=np.int64)
        expected = np.array([entry.bytes for entry in self.manifest.tars], dtype=np.int64)
        if (sizes == expected).all():
            return
        ends = self._ends()
        for number in np.flatnonzero((sizes != expected) & (ends > sizes)):
            raise UserError(
                f"{self._tar_path(int(number))} has {sizes[number]} bytes, the manifest says {expected[number]} and "
                f"the index places photos up to {ends[number]}; run `python -m shards.verify {self.folder}`"
            )

    def _size(self, number: int) -> int:
        try:
            return self._tars.size(number)
        except OSError as error:
            raise UserError(
                f"{self._tar_path(number)} cannot be read ({error.strerror}); "
                f"run `python -m shards.verify {self.folder}`"
            ) from error

    def _ends(self) -> NDArray[np.int64]:
        """Return for each tar one past the last byte that the index names in it."""
        ends = np.zeros(len(self.manifest.tars), dtype=np.int64)
        for chunk in self.records.chunks():
            records = self.records[chunk]
            self._check_numbers(records["tar"])
            np.maximum.at(ends, records["tar"], records["offset"] + records["size"])
        return ends

    def read(self, photo: int) -> Bytes:
        """Return the encoded bytes of a photo: (size,) uint8.

        Raises:
            UserError: the tar is missing or shorter than the index says, or its storage fails.
        """
        return self.read_all(np.array([photo]))[0]

    def read_all(self, photos: NDArray[np.int64]) -> list[Bytes]:
        """Return the encoded bytes of (N,) photos, as `read` does; quicker than one by one."""
        found = self.try_to_read(photos)
        for photo, data in zip(photos.tolist(), found, strict=True):
            if isinstance(data, Unread):
                path = self._tar_path(int(self.records[photo]["tar"]))
                raise UserError(f"{path}: {data.reason}; run `python -m shards.verify {self.folder}`")
        return [data for data in found if not isinstance(data, Unread)]

    def try_to_read(self, photos: NDArray[np.int64], *, views: bool = False) -> list[Bytes | Unread]:
        """Return the encoded bytes of (N,) photos, or of all stored views of each, or why they could not be read.

        Raises:
            UserError: the index names a tar that there is not, or the machine is at fault.
        """
        return self._tars.read(self._ranges(photos, views))

    def fetch_ahead(self, photos: NDArray[np.int64], *, views: bool = False) -> bool:
        """Begin to fetch what `try_to_read` will soon return; return False where there is no room for it now."""
        return self._tars.fetch_ahead(self._ranges(photos, views))

    @property
    def latency_s(self) -> float:
        """How long it takes at present to fetch photos that are not on this machine, in seconds."""
        return self._tars.latency_s

    def _ranges(self, photos: NDArray[np.int64], views: bool) -> list[Range]:
        """Return where the encoded bytes of (N,) photos, or the stored views of each, lie."""
        records = self.records[photos]
        self._check_numbers(records["tar"])
        starts, sizes = records["offset"], records["size"]
        if views:
            starts = next_member(starts, sizes)
            sizes = np.full(len(photos), views_size(self.manifest.stored_views))
        written = records["views_crc32" if views else "crc32"]
        columns = (records["tar"], starts, sizes, written)
        return list(map(Range, *(column.tolist() for column in columns)))

    def view_of(self, views: Bytes, side: int) -> NDArray[np.uint8]:
        """Return the view of one side among all stored views of a photo: (side, side, 3) uint8 RGB."""
        sides = self.manifest.stored_views
        start = views_size(sides[: sides.index(side)])
        return views[start : start + views_size((side,))].reshape(side, side, 3)

    def key(self, photo: int) -> tuple[str, str]:
        """Return the tar's name and the key of a photo, read from the header in front of its bytes.

        Where that cannot be read, the key is the photo's row in photos.npy.
        """
        record = self.records[photo]
        number, offset = int(record["tar"]), int(record["offset"])
        (header,) = self._tars.read([Range(number, offset - TAR_BLOCK, 100)])
        name = b"" if isinstance(header, Unread) else bytes(header).split(b"\0", 1)[0]
        key = name.decode("ascii", errors="replace").split(".", 1)[0]
        return self._tar_path(number).name, key or f"row {photo}"

    def _tar_path(self, number: int) -> Folder:
        self._check_numbers(np.array([number]))
        return self.folder / self.manifest.tars[number].name

    def _check_numbers(self, tars: NDArray[np.int32]) -> None:
        """Refuse numbers (N,) of tars that there are not."""
        if len(wrong := tars[(tars < 0) | (tars >= len(self.manifest.tars))]):
            raise UserError(
                f"the index of {self.folder} names tar {wrong[0]} of {len(self.manifest.tars)}; write the folder again"
            )


def _reader(folder: Folder, manifest: Manifest) -> RangeReader:
    """Return what reads the tars of a folder."""
    if isinstance(folder, RemotePath):
        return RemoteFiles(folder, [(tar.name, tar.sha256) for tar in manifest.tars])
    return LocalFiles([folder / tar.name for tar in manifest.tars])
