"""Encoded photos out of the shards, every one checked before it reaches the decoder.

One damaged JPEG stops a whole DALI pipeline with an opaque message. All photos of a shard folder could be
decoded when they were written, so bytes whose CRC-32 is still the written one can be decoded now: a mismatch
is found here, named, and another photo of the identity stands in, chosen by arithmetic.
"""

import csv
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sampler import Draw, substitutes
from shards.command import UserError
from shards.index import ShardIndex


class PhotoReader:
    """Reads photos by their row in the shard index and replaces damaged ones.

    Args:
        index: of the shard folder.
        seed: of the run; substitutes are drawn from it.
        quarantine: CSV file to which each damaged photo is appended (tar, key, reason), or None.
        largest_damaged_share: of all photos; more end the run with a message.
    """

    def __init__(self, index: ShardIndex, *, seed: int, quarantine: Path | None, largest_damaged_share: float) -> None:
        self._index = index
        self._seed = seed
        self._quarantine = quarantine
        self._most_damaged = int(largest_damaged_share * index.photos)
        self._checked = np.zeros(index.photos, dtype=np.bool_)
        self.damaged: dict[int, str] = {}

    def read(self, draw: Draw, step: int) -> tuple[list[list[NDArray[np.uint8]]], NDArray[np.int64]]:
        """Read the photos of a draw.

        Returns:
            for every view a list of B encoded photos, and the (B, V) int64 rows that were really read.

        Raises:
            UserError: an identity has no usable photo left, or too many photos are damaged.
        """
        photos = draw.photos.copy()
        for row, view in np.argwhere(~self._usable(photos)):
            label = int(draw.identities[row])
            photos[row, view] = self._substitute(label, step, draw.first_row + int(row), int(view))
        views = [[self._index.read(photo) for photo in column] for column in photos.T]
        return views, photos

    def _usable(self, photos: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Check the photos not seen before; return (B, V) bool."""
        for photo in photos[~self._checked[photos]]:
            self._check(int(photo))
        if not self.damaged:
            return np.ones(photos.shape, dtype=np.bool_)
        return ~np.isin(photos, list(self.damaged))

    def _check(self, photo: int) -> bool:
        """Compare a photo's bytes with its CRC-32, once."""
        if not self._checked[photo]:
            self._checked[photo] = True
            found, written = (
                zlib.crc32(self._index.read(photo).data),
                int(self._index.records["crc32"][photo]),
            )
            if found != written:
                self._report(photo, f"CRC-32 {found:08x} where {written:08x} was written")
        return photo not in self.damaged

    def _substitute(self, label: int, step: int, row: int, view: int) -> int:
        first, last = int(self._index.first[label]), int(self._index.first[label + 1])
        for photo in substitutes(first, last, seed=self._seed, step=step, row=row, view=view):
            if self._check(int(photo)):
                return int(photo)
        raise UserError(
            f"identity {self._index.names[label]} in {self._index.folder} has no undamaged photo left; "
            f"run `python -m shards.verify {self._index.folder}` and write the folder again"
        )

    def _report(self, photo: int, reason: str) -> None:
        self.damaged[photo] = reason
        tar, key = self._index.key(photo)
        if self._quarantine is not None:
            with self._quarantine.open("a", newline="") as file:
                csv.writer(file).writerow((tar, key, reason))
        if len(self.damaged) > self._most_damaged:
            raise UserError(
                f"{len(self.damaged)} of {self._index.photos} photos in {self._index.folder} are damaged, "
                f"the last one {tar} {key} ({reason}); at most {self._most_damaged} are passed over: "
                f"run `python -m shards.verify {self._index.folder}` and write the folder again"
            )
