"""Reader of encoded photos from shards, with a check of each photo before it is decoded.

One damaged JPEG stops a whole DALI pipeline with an unclear message. Every photo was decodable when its shard was
written, so a photo whose CRC-32 still matches can be decoded. On a mismatch, and where the storage does not give its
bytes, the reader reports the photo and replaces it with another photo of the same identity, chosen deterministically.
If another program wrote the shards, a photo may have been undecodable from the start: the check of its header or the
loader finds it, and it is reported here too.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.pixels.photo import picture_size, truncation
from pipeline.reading.quarantine import Quarantine
from pipeline.sampling.sampler import Draw, substitutes
from pipeline.sampling.shard_folders import ShardFolders
from shards.byte_ranges import Bytes, Unread
from shards.command import UserError


@dataclass(frozen=True)
class ChosenPhotos:
    """The photos and stored views of a draw, and their bytes.

    Attributes:
        photos: (B, V) int64, the photos to use, after replacement of damaged ones.
        sides: (B, V) int64, the sides in pixels to which they are reduced.
        stored: (B, V) bool, True if the view is read as stored, False if it is made from the decoded photo.
        faces: the encoded bytes, (size,) uint8, of every photo to decode.
        views: the bytes of all stored views, (size,) uint8, of every photo with a view that is read as stored.
    """

    photos: NDArray[np.int64]
    sides: NDArray[np.int64]
    stored: NDArray[np.bool_]
    faces: dict[int, Bytes] = field(default_factory=dict)
    views: dict[int, Bytes] = field(default_factory=dict)


class PhotoReader:
    """Chooses and reads photos, or views stored beside them, and replaces damaged ones.

    Args:
        folders: the photos.
        seed: of the run; substitutes are drawn from it.
        photo_groups: the views of a row that show one photo, group by group.
        quarantine: where damaged photos are named and counted.
        stored_views: use the views stored beside the photos, where there are any.
    """

    def __init__(
        self,
        folders: ShardFolders,
        *,
        seed: int,
        photo_groups: Sequence[tuple[int, ...]],
        quarantine: Quarantine,
        stored_views: bool = True,
    ) -> None:
        self._folders = folders
        self._seed = seed
        self._photo_groups = photo_groups
        self._quarantine = quarantine
        self._stored_views = stored_views
        # Photos and stored views are checked separately, because only one of them may be damaged.
        self._checked = {stored: np.zeros(folders.photos, dtype=np.bool_) for stored in (False, True)}
        self._damaged: dict[bool, dict[int, str]] = {False: {}, True: {}}
        # What was read for the draw in hand.
        self._held: dict[bool, dict[int, Bytes]] = {False: {}, True: {}}

    def choose(self, draw: Draw, step: int) -> ChosenPhotos:
        """Read the photos of a draw, with the damaged ones replaced.

        Raises:
            UserError: an identity has no usable photo left, or too many photos are damaged.
        """
        self._held = {False: {}, True: {}}
        while True:
            chosen = self._choose(draw, step)
            # A photo found sound before may have become unreadable since: then others stand in, as for any damage.
            wanted = {kind: np.unique(chosen.photos[chosen.stored == kind]) for kind in (False, True)}
            if all(self._fetch(photos, kind) for kind, photos in wanted.items()):
                return chosen

    @property
    def fetches_ahead(self) -> bool:
        """Whether `fetch_ahead` is of use."""
        return self._folders.fetches_ahead

    @property
    def latency_s(self) -> float:
        """How long it takes at present to fetch photos, in seconds."""
        return self._folders.latency_s

    def fetch_ahead(self, draw: Draw) -> bool:
        """Begin to fetch the photos of a draw that will be chosen soon; return False where there is no room now."""
        _, stored = self._sides_and_stored(draw.photos, draw.sides)
        wanted = [(np.unique(draw.photos[stored == kind]), kind) for kind in (False, True)]
        return all(self._folders.fetch_ahead(photos, views=kind) for photos, kind in wanted)

    def _choose(self, draw: Draw, step: int) -> ChosenPhotos:
        photos = draw.photos.copy()
        sides, stored = self._sides_and_stored(photos, draw.sides)
        for views in self._photo_groups:
            bad: set[tuple[int, int]] = set()
            for view in views:
                for kind in (False, True):
                    rows = np.flatnonzero(stored[:, view] == kind)
                    unusable = rows[~self._usable(photos[rows, view], kind)]
                    bad |= {(row, int(draw.photos[row, view])) for row in unusable.tolist()}
            for row, photo in sorted(bad):
                # A small picture may stand in for a view that shows no photo of its group.
                showing = tuple(view for view in views if draw.photos[row, view] == photo)
                photos[row, list(showing)] = self._substitute(draw, step, row, showing)
        if (photos != draw.photos).any():
            sides, stored = self._sides_and_stored(photos, draw.sides)
        return ChosenPhotos(photos, sides, stored, self._held[False], self._held[True])

    def report_undecodable(self, photo: int) -> None:
        """Report a photo that the decoder cannot decode; from now on it is replaced by another.

        Raises:
            UserError: too many photos are damaged.
        """
        self._checked[False][photo] = True
        self._report(photo, stored=False, reason="cannot be decoded")

    def _sides_and_stored(
        self, photos: NDArray[np.int64], requested: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the sides to which the photos (B, V) are reduced, and which views are read as they are stored.

        No reduced view has more pixels than its face had in the original photo; full-size views are left as they are.
        The first view is never stored, so that all batches decode.
        """
        natives = self._folders.natives(photos)
        known = np.where(natives > 0, natives, requested)
        sides = np.where(requested == self._folders.preprocessing.size, requested, np.minimum(requested, known))
        if not self._stored_views:
            return sides, np.zeros(photos.shape, dtype=np.bool_)
        stored = self._folders.stores(photos, sides)
        stored[:, 0] = False
        return sides, stored

    def _usable(self, photos: NDArray[np.int64], stored: bool) -> NDArray[np.bool_]:
        """Check the photos not seen before; return (N,) bool."""
        if len(unseen := np.unique(photos[~self._checked[stored][photos]])):
            self._check(unseen, stored)
        damaged = self._damaged[stored]
        return ~np.isin(photos, list(damaged)) if damaged else np.ones(photos.shape, dtype=np.bool_)

    def _fetch(self, photos: NDArray[np.int64], stored: bool) -> bool:
        """Read those of (N,) photos that are not held yet, and report those that cannot be read; return if none."""
        held = self._held[stored]
        wanted = np.array([photo for photo in photos.tolist() if photo not in held], dtype=np.int64)
        read = dict(zip(wanted.tolist(), self._folders.read(wanted, views=stored), strict=True))
        held.update((photo, data) for photo, data in read.items() if not isinstance(data, Unread))
        failed = {photo: data.reason for photo, data in read.items() if isinstance(data, Unread)}
        for photo, reason in failed.items():
            self._report(photo, stored, reason)
        return not failed

    def _check(self, photos: NDArray[np.int64], stored: bool) -> None:
        """Compare bytes with their CRC-32, and look at the headers that the decoder will see."""
        self._checked[stored][photos] = True
        self._fetch(photos, stored)
        checksums = self._folders.checksums(photos, views=stored)
        for photo, written in zip(photos.tolist(), checksums.tolist(), strict=True):
            if (data := self._held[stored].get(photo)) is None:
                continue
            if (found := zlib.crc32(data.data)) != written:
                what = "stored views" if stored else "photo"
                self._report(photo, stored, f"{what} with CRC-32 {found:08x} where {written:08x} was written")
            elif not stored and (fault := self._fault_of(data)):
                self._report(photo, stored, fault)

    def _fault_of(self, encoded: Bytes) -> str:
        """Return what is wrong with a photo; nothing where its header promises a face of the right size."""
        expected = self._folders.preprocessing.size
        if (found := picture_size(encoded)) is None:
            return "cannot be decoded"
        if found != (expected, expected):
            return f"has {found[0]} x {found[1]} pixels, the manifest says {expected} x {expected}"
        # The decoder fills what is missing with grey, as OpenCV does.
        return truncation(encoded)

    def _substitute(self, draw: Draw, step: int, row: int, views: tuple[int, ...]) -> int:
        """Return the first photo, in the order of the arithmetic, that is sound in all it is needed for."""
        label = int(draw.identities[row])
        first, last = self._folders.photos_of(label)
        place = draw.first_row + row
        for photo in substitutes(first, last, seed=self._seed, step=step, row=place, view=views[0]):
            _, stored = self._sides_and_stored(np.full((1, draw.photos.shape[1]), photo), draw.sides[row : row + 1])
            if all(self._usable(np.array([photo]), bool(stored[0, view]))[0] for view in views):
                return int(photo)
        index, row = self._folders.locate(first)
        folder, reasons = index.folder, (self._damaged[kind].get(first) for kind in (False, True))
        raise UserError(
            f"identity {self._folders.name(label)} in {folder} has no undamaged photo left (the first, in "
            f"{index.key(row)[0]}: {next(filter(None, reasons), 'damaged')}); "
            f"run `python -m shards.verify {folder}` and write the folder again"
        )

    def _report(self, photo: int, stored: bool, reason: str) -> None:
        self._damaged[stored][photo] = reason
        self._quarantine.add(photo, reason, count=len(self._damaged[False].keys() | self._damaged[True].keys()))
