"""The order in which an epoch visits the identities or photos of one folder, computed without state.

Both orders return the items of batch number `batch` of an epoch. The cost of a call does not depend on the size of
the data set.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.sampling.permutation import ROUNDS, keys_of, permute
from pipeline.sampling.random_streams import Stream, generator, keys

Items = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]
"""Labels (n,), the first photo that each may show (n,), and one past its last (n,)."""


class Order(Protocol):
    """An endless row of epochs, each of `steps` batches of at most `batch` items with different identities."""

    @property
    def steps(self) -> int:
        """Batches in an epoch."""

    def items(self, step: int, count: int) -> Items:
        """Return the first `count` items of the batch of a step, counted over all epochs."""


def steps_per_epoch(identities: int, batch: int) -> int:
    """Return the number of full batches in which an epoch visits identities, at most once each.

    The identities left over when the batch does not divide them are others in every epoch.
    """
    return identities // batch


def epoch_order(
    places: NDArray[np.int64], identities: int, *, seed: int, epoch: int, folder: int = 0
) -> NDArray[np.int64]:
    """Return the identities that stand at the given places of an epoch's order.

    Over all places 0..identities - 1 the result is a permutation of the identities.

    Args:
        places: (N,) int64, each in 0..identities - 1.
        identities: size of the data set.
        seed: of the run.
        epoch: number of the epoch.
        folder: number of the shard folder; each has an order of its own.

    Returns:
        (N,) int64.
    """
    return permute(places, identities, keys(ROUNDS, seed, Stream.ORDER, epoch, *_other(folder)))


def _other(folder: int) -> tuple[int, ...]:
    """Leave the first folder's streams as they are where there is only one."""
    return (folder,) if folder else ()


@dataclass(frozen=True)
class IdentityOrder:
    """An epoch visits every identity once; an item may show any photo of its identity.

    Attributes:
        first: (identities + 1,) int64, the first photo of each identity.
        batch: most items of a batch.
        seed: of the run.
        folder: number of the shard folder.
    """

    first: NDArray[np.int64]
    batch: int
    seed: int
    folder: int = 0

    @property
    def steps(self) -> int:
        """Batches in an epoch."""
        return steps_per_epoch(len(self.first) - 1, self.batch)

    def items(self, step: int, count: int) -> Items:
        """Return the items of a step's batch: places in a row of the epoch's order."""
        epoch, number = divmod(step, self.steps)
        places = np.arange(number * self.batch, number * self.batch + count)
        labels = epoch_order(places, len(self.first) - 1, seed=self.seed, epoch=epoch, folder=self.folder)
        return labels, self.first[labels], self.first[labels + 1]


@dataclass(frozen=True)
class PhotoOrder:
    """An epoch shows every photo once; the identities of a batch are all different. `PhotoOrder.of` makes one.

    The photos of an epoch stand on a circle of P places, those of an identity side by side. The B photos of a
    batch are T = P // B places apart. An identity fills a run of at most T places, so no batch meets it twice.
    Every epoch shuffles the circle: where it begins, the order of identities, and the photos of each. Identities
    with the same number of photos change places among themselves, which keeps every run's place a matter of
    arithmetic, and so do these groups as a whole. Within each stretch of T places, photos also change places,
    all but those near its ends, where an identity may reach into the next stretch: so an identity meets others
    all through an epoch.

    What is left out of an epoch: the fewer than B photos left when B does not divide P, and, of an identity with
    more photos than the epoch has batches, those beyond T. They are others in every epoch.

    Attributes:
        first: (identities + 1,) int64, the first photo of each identity.
        batch: B, most items of a batch.
        seed: of the run.
        folder: number of the shard folder.
        steps: T, batches in an epoch.
        counts: (G,) int64, the different numbers of photos that identities show in an epoch, rising.
        members: (identities,) int64, the identities by their number of photos.
        starts: (G + 1,) int64, where each group begins in `members`.
    """

    first: NDArray[np.int64]
    batch: int
    seed: int
    folder: int
    steps: int
    counts: NDArray[np.int64]
    members: NDArray[np.int64]
    starts: NDArray[np.int64]

    @staticmethod
    def of(first: NDArray[np.int64], batch: int, seed: int, folder: int = 0) -> "PhotoOrder":
        """Group the identities of a folder; `batch` is at most their number."""
        photos = np.diff(first)
        assert 0 < batch <= len(photos)
        steps = _photo_steps(photos, batch)
        shown = np.minimum(photos, steps)
        counts, starts = np.unique(np.sort(shown), return_index=True)
        members = np.argsort(shown, kind="stable")
        return PhotoOrder(first, batch, seed, folder, steps, counts, members, np.append(starts, len(photos)))

    def items(self, step: int, count: int) -> Items:
        """Return the items of a step's batch: photos T places apart on the epoch's circle."""
        epoch, number = divmod(step, self.steps)
        place = (epoch, *_other(self.folder))
        epoch_keys = keys(ROUNDS, self.seed, Stream.PHOTO_ORDER, *place)
        shuffle = generator(self.seed, Stream.PHOTO_ORDER, *place)
        sizes = np.diff(self.starts)
        groups = shuffle.permutation(len(sizes))
        ends = np.cumsum((self.counts * sizes)[groups])
        turn = int(shuffle.integers(ends[-1]))
        places = (self._offsets(number, count, epoch_keys) + np.arange(count) * self.steps + turn) % ends[-1]
        # The group, the identity in it, and the photo of that identity, at each place.
        nth = np.searchsorted(ends, places, side="right")
        group = groups[nth]
        member, slot = np.divmod(places - np.append(0, ends)[nth], self.counts[group])
        member = permute(member, sizes[group], keys_of(group, epoch_keys))
        labels = self.members[self.starts[group] + member]
        first = self.first[labels]
        length = self.first[labels + 1] - first
        photos = first + permute(slot, length, keys_of(labels + len(sizes), epoch_keys))
        return labels, photos, photos + 1

    def _offsets(self, number: int, count: int, epoch_keys: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return where in each of `count` stretches of T places the batch's photo stands: (count,) int64."""
        offset = int(permute(np.array([number]), self.steps, epoch_keys)[0])
        edge = int(self.counts[-1])
        inner = self.steps - 2 * edge
        if inner < 2 or not edge <= offset < edge + inner:
            return np.full(count, offset)
        stretch_keys = keys_of(-1 - np.arange(count), epoch_keys)
        return edge + permute(np.full(count, offset - edge), inner, stretch_keys)


def _photo_steps(photos: NDArray[np.int64], batch: int) -> int:
    """Return the largest number of batches T for which the photos, at most T of an identity, fill them.

    The photos that T batches may show, less those they need, rise and then fall with T, and at T = 1 they suffice.
    """
    counts, identities = np.unique(photos, return_counts=True)
    low, high = 1, int(photos.sum()) // batch
    while low < high:
        middle = (low + high + 1) // 2
        if int((np.minimum(counts, middle) * identities).sum()) >= middle * batch:
            low = middle
        else:
            high = middle - 1
    return low
