"""Several shard folders as one data set; labels and photos are numbered folder after folder."""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from shards.byte_ranges import Bytes, Unread
from shards.command import UserError
from shards.format import WHOLE, Preprocessing
from shards.index import ShardIndex
from shards.open_files import most_open
from shards.storage.places import Folder, RemotePath

_NOTHING = Unread("not asked for")


class ShardFolders:
    """The photos and identities of several shard folders; create it with `ShardFolders.open`.

    Attributes:
        indexes: the index of each folder.
        preprocessing: the preprocessing of all photos.
        identities: number of labels.
        photos: number of photos.
    """

    def __init__(self, indexes: Sequence[ShardIndex], preprocessing: Preprocessing) -> None:
        self.indexes = tuple(indexes)
        self.preprocessing = preprocessing
        self._first_photo = _starts(index.photos for index in indexes)
        self._first_label = _starts(index.identities for index in indexes)
        self.photos, self.identities = self._first_photo[-1], self._first_label[-1]

    @staticmethod
    def open(folders: Sequence[Folder]) -> "ShardFolders":
        """Open finished shard folders.

        Raises:
            UserError: a folder cannot be opened or is named twice, or two do not go together.
        """
        if not folders:
            raise UserError("no shard folder named; give at least one")
        if len({folder.resolve() for folder in folders}) < len(folders):
            raise UserError(f"a shard folder is named twice in {' '.join(map(str, folders))}; name each once")
        indexes = [ShardIndex.open(folder) for folder in folders]
        return ShardFolders(indexes, common_preprocessing(indexes))

    def check_tars(self) -> None:
        """Check the size of every tar and the number of open files, so that faults are told before work begins.

        Raises:
            UserError: a tar is missing or shorter than the index says, or too few files may be open.
        """
        most_open()
        for index in self.indexes:
            index.check_tars()

    def locate(self, photo: int) -> tuple[ShardIndex, int]:
        """Return the index of a photo's folder and the photo's row in it."""
        folder = bisect_right(self._first_photo, photo) - 1
        return self.indexes[folder], photo - self._first_photo[folder]

    def natives(self, photos: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sizes in pixels at which faces stood in photos, 0 where not known: int64, of the photos' shape."""
        natives = np.empty(photos.shape, dtype=np.int64)
        for places, index, rows in self._by_folder(photos):
            natives[places] = index.records[rows]["native"]
        return natives

    def points(self, photos: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return the five points of photos in units of a face's side: (..., 5, 2), NaN where not known."""
        points = np.empty((*photos.shape, 5, 2), dtype=np.float32)
        for places, index, rows in self._by_folder(photos):
            points[places] = index.points(rows)
        return points

    def stores(self, photos: NDArray[np.int64], sides: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Return whether views of these sides are stored beside photos: bool, of the photos' shape."""
        stored = np.zeros(photos.shape, dtype=np.bool_)
        for places, index, _ in self._by_folder(photos):
            stored[places] = np.isin(sides[places], index.manifest.stored_views)
        return stored

    def read(self, photos: NDArray[np.int64], *, views: bool = False) -> list[Bytes | Unread]:
        """Return the encoded bytes of (N,) photos, or those of all views stored beside each, (size,) uint8.

        Bytes that cannot be read are told in their place.
        """
        found: list[Bytes | Unread] = [_NOTHING] * len(photos)
        for places, index, rows in self._by_folder(photos):
            for place, data in zip(places[0], index.try_to_read(rows, views=views), strict=True):
                found[place] = data
        return found

    @property
    def fetches_ahead(self) -> bool:
        """Whether a folder lies where reading ahead helps: not on a mounted file system."""
        return any(isinstance(index.folder, RemotePath) for index in self.indexes)

    @property
    def latency_s(self) -> float:
        """How long it takes at present to fetch photos, in seconds; of the slowest folder."""
        return max(index.latency_s for index in self.indexes)

    def fetch_ahead(self, photos: NDArray[np.int64], *, views: bool = False) -> bool:
        """Begin to fetch what `read` will soon return; return False where there is no room for it now."""
        parts = [(index, rows) for _, index, rows in self._by_folder(photos) if isinstance(index.folder, RemotePath)]
        return all(index.fetch_ahead(rows, views=views) for index, rows in parts)

    def checksums(self, photos: NDArray[np.int64], *, views: bool) -> NDArray[np.int64]:
        """Return the CRC-32 with which the bytes that `read` gives were written: (N,) int64."""
        written = np.empty(len(photos), dtype=np.int64)
        for places, index, rows in self._by_folder(photos):
            written[places] = index.records[rows]["views_crc32" if views else "crc32"]
        return written

    def view_of(self, photo: int, views: Bytes, side: int) -> NDArray[np.uint8]:
        """Return the view of one side among all stored views of a photo: (side, side, 3) uint8 RGB."""
        return self.locate(photo)[0].view_of(views, side)

    def photos_of(self, label: int) -> tuple[int, int]:
        """Return an identity's first photo and one past its last."""
        folder = bisect_right(self._first_label, label) - 1
        first, row = self.indexes[folder].first, label - self._first_label[folder]
        return int(first[row]) + self._first_photo[folder], int(first[row + 1]) + self._first_photo[folder]

    def name(self, label: int) -> str:
        """Return an identity's name."""
        folder = bisect_right(self._first_label, label) - 1
        return self.indexes[folder].names[label - self._first_label[folder]]

    def _by_folder(
        self, photos: NDArray[np.int64]
    ) -> Iterator[tuple[tuple[NDArray[np.int64], ...], ShardIndex, NDArray[np.int64]]]:
        """Yield for every folder that has any its places among the photos, its index, and the photos' rows in that."""
        for index, first, end in zip(self.indexes, self._first_photo, self._first_photo[1:], strict=False):
            places = np.nonzero((photos >= first) & (photos < end))
            if len(places[0]):
                yield places, index, photos[places] - first


def common_preprocessing(indexes: Sequence[ShardIndex]) -> Preprocessing:
    """Return what the photos of all folders went through.

    Pictures taken whole have no landmarks to be aligned by: they go with aligned faces of the same size, whose
    template is then that of all.

    Raises:
        UserError: two folders differ in anything else.
    """
    aligned = [index for index in indexes if index.manifest.preprocessing.template != WHOLE]
    leader = (aligned or indexes)[0]
    expected = leader.manifest.preprocessing
    for index in indexes:
        found = index.manifest.preprocessing
        if aligned and found.template == WHOLE:
            differences = [f"size {found.size} against {expected.size}"] if found.size != expected.size else []
        else:
            differences = found.differences(expected)
        if differences:
            raise UserError(
                f"{index.folder} and {leader.folder} cannot be mixed: {differences[0]}; "
                "write both with the same settings or train on one"
            )
    return expected


def _starts(counts: Iterable[int]) -> list[int]:
    """Return where each folder begins, and the end of the last."""
    starts = [0]
    for count in counts:
        starts.append(starts[-1] + count)
    return starts
