"""Encoded photos out of the shards, every one checked before it reaches the decoder.

One damaged JPEG stops a whole DALI pipeline with an opaque message. All photos of a shard folder could be
decoded when they were written, so bytes whose CRC-32 is still the written one can be decoded now: a mismatch
is found here, named, and another photo of the identity stands in, chosen by arithmetic.
"""

import csv
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sampler import Draw, substitutes
from shards.command import UserError
from shards.index import ShardIndex


@dataclass(frozen=True)
class Read:
    """What was read for a draw.

    Attributes:
        photos: (B, V) int64, the rows really read.
        columns: for every view a list of B arrays: encoded photos (1-d uint8), or stored views (s, s, 3) uint8.
    """

    photos: NDArray[np.int64]
    columns: list[list[NDArray[np.uint8]]]


class PhotoReader:
    """Reads photos, or views stored beside them, by their row in the shard index and replaces damaged ones.

    Args:
        index: of the shard folder.
        stored_sides: for every view the side of the stored view to read, or None to read the encoded photo.
        seed: of the run; substitutes are drawn from it.
        quarantine: CSV file to which each damaged photo is appended (tar, key, reason), or None.
        largest_damaged_share: of all photos; more end the run with a message.
    """

    def __init__(
        self,
        index: ShardIndex,
        stored_sides: Sequence[int | None],
        *,
        seed: int,
        quarantine: Path | None,
        largest_damaged_share: float,
    ) -> None:
        self._index = index
        self._stored_sides = tuple(stored_sides)
        self._seed = seed
        self._quarantine = quarantine
        self._most_damaged = math.ceil(largest_damaged_share * index.photos)
        # Photos and stored views are checked apart: one may be sound where the other is not.
        self._checked = {stored: np.zeros(index.photos, dtype=np.bool_) for stored in (False, True)}
        self._damaged: dict[bool, set[int]] = {False: set(), True: set()}

    def read(self, draw: Draw, step: int) -> Read:
        """Read the photos of a draw.

        Raises:
            UserError: an identity has no usable photo left, or too many photos are damaged.
        """
        photos = draw.photos.copy()
        columns = []
        for view, side in enumerate(self._stored_sides):
            stored = side is not None
            for row in np.flatnonzero(~self._usable(photos[:, view], stored)):
                label, place = int(draw.identities[row]), draw.first_row + int(row)
                order = self._substitutes(label, step=step, row=place, view=view)
                photos[row, view] = self._first_usable(order, label, stored)
            columns.append([self._get(photo, side) for photo in photos[:, view]])
        return Read(photos, columns)

    def _get(self, photo: int, side: int | None) -> NDArray[np.uint8]:
        return self._index.read(photo) if side is None else self._index.read_view(photo, side)

    def _usable(self, photos: NDArray[np.int64], stored: bool) -> NDArray[np.bool_]:
        """Check the photos not seen before; return (B,) bool."""
        for photo in photos[~self._checked[stored][photos]]:
            self._check(int(photo), stored)
        damaged = self._damaged[stored]
        return ~np.isin(photos, list(damaged)) if damaged else np.ones(photos.shape, dtype=np.bool_)

    def _check(self, photo: int, stored: bool) -> bool:
        """Compare the bytes with their CRC-32, once."""
        if not self._checked[stored][photo]:
            self._checked[stored][photo] = True
            data = self._index.read_views(photo) if stored else self._index.read(photo)
            found = zlib.crc32(data.data)
            written = int(self._index.records["views_crc32" if stored else "crc32"][photo])
            if found != written:
                what = "stored views" if stored else "photo"
                self._report(photo, stored, f"{what} with CRC-32 {found:08x} where {written:08x} was written")
        return photo not in self._damaged[stored]

    def _substitutes(self, label: int, *, step: int, row: int, view: int) -> NDArray[np.int64]:
        first, last = int(self._index.first[label]), int(self._index.first[label + 1])
        return substitutes(first, last, seed=self._seed, step=step, row=row, view=view)

    def _first_usable(self, order: NDArray[np.int64], label: int, stored: bool) -> int:
        for photo in order:
            if self._check(int(photo), stored):
                return int(photo)
        raise UserError(
            f"identity {self._index.names[label]} in {self._index.folder} has no undamaged photo left; "
            f"run `python -m shards.verify {self._index.folder}` and write the folder again"
        )

    def _report(self, photo: int, stored: bool, reason: str) -> None:
        self._damaged[stored].add(photo)
        tar, key = self._index.key(photo)
        if self._quarantine is not None:
            with self._quarantine.open("a", newline="") as file:
                csv.writer(file).writerow((tar, key, reason))
        count = len(self._damaged[False] | self._damaged[True])
        if count > self._most_damaged:
            raise UserError(
                f"{count} of {self._index.photos} photos in {self._index.folder} are damaged, the last one "
                f"{tar} {key} ({reason}); at most {self._most_damaged} are passed over: "
                f"run `python -m shards.verify {self._index.folder}` and write the folder again"
            )
