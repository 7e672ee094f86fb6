"""The stateless sampler: which photos form a batch.

A batch is a pure function of (seed, step). So a run resumes from one integer, and the batches of all ranks form the
same global batch for every world size. The cost of a step does not depend on the size of the data set
(`pipeline.sampling.permutation`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from pipeline.sampling.crops import Crops
from pipeline.sampling.epoch_order import IdentityOrder, Order, PhotoOrder
from pipeline.sampling.folder_mixing import identities_before_step, most_identities_per_batch
from pipeline.sampling.random_streams import Stream, generator
from pipeline.sampling.views import Views

Sampling = Literal["identity", "photo"]
"""What an item is: an identity, once an epoch (published), or a photo, once an epoch, from which all views come."""


@dataclass(frozen=True)
class Draw:
    """The photos of one rank's part of a batch, one row per identity.

    Attributes:
        identities: (B,) int64 labels, all different.
        photos: (B, V) int64 rows of the shard index, one photo per view.
        mirrored: (B, V) bool, whether the view is mirrored left-right.
        sides: (B, V) int64, the side in pixels asked for.
        first_row: place of the first row in the global batch.
    """

    identities: NDArray[np.int64]
    photos: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    sides: NDArray[np.int64]
    first_row: int

    def rows(self, rank: int, world: int) -> "Draw":
        """Return one rank's equal part of a global batch."""
        share = len(self.identities) // world
        mine = slice(rank * share, (rank + 1) * share)
        return Draw(self.identities[mine], self.photos[mine], self.mirrored[mine], self.sides[mine], mine.start)


@dataclass(frozen=True)
class Sampler:
    """Draws the batch of any step. `Sampler.of` makes one.

    Attributes:
        orders: of each shard folder.
        shares: of each folder in a batch; they sum to one.
        first_label: (folders,) int64, the label of each folder's first identity.
        first_photo: (folders,) int64, the number of each folder's first photo.
        views: of each identity.
        photo_groups: the views of a row that show one photo, group by group.
        global_batch: identities in the batch of all ranks.
        seed: of the run.
        crops: small pictures that stand in for reduced views, or None.
    """

    orders: tuple[Order, ...]
    shares: tuple[Fraction, ...]
    first_label: NDArray[np.int64]
    first_photo: NDArray[np.int64]
    views: Views
    photo_groups: tuple[tuple[int, ...], ...]
    global_batch: int
    seed: int
    crops: Crops | None = None

    @staticmethod
    def of(
        firsts: Sequence[NDArray[np.int64]],
        views: Views,
        *,
        seed: int,
        global_batch: int,
        sampling: Sampling = "identity",
        shares: Sequence[Fraction] = (Fraction(1),),
        crops: Crops | None = None,
    ) -> "Sampler":
        """Make a sampler.

        Args:
            firsts: for each shard folder (identities + 1,) int64, the first photo of each identity in its index.
            views: of each identity.
            seed: of the run.
            global_batch: identities in the batch of all ranks.
            sampling: "identity" or "photo".
            shares: of each folder in a batch, summing to one.
            crops: small pictures that stand in for reduced views, or None.
        """
        most = most_identities_per_batch(shares, global_batch)
        assert all(0 < count < len(first) for count, first in zip(most, firsts, strict=True))
        make = IdentityOrder if sampling == "identity" else PhotoOrder.of
        return Sampler(
            orders=tuple(make(first, most[k], seed, k) for k, first in enumerate(firsts)),
            shares=tuple(shares),
            first_label=np.cumsum([0, *(len(first) - 1 for first in firsts)])[:-1],
            first_photo=np.cumsum([0, *(int(first[-1]) for first in firsts)])[:-1],
            views=views,
            photo_groups=photo_groups(views, sampling),
            global_batch=global_batch,
            seed=seed,
            crops=crops,
        )

    def draw(self, step: int, rank: int = 0, world: int = 1) -> Draw:
        """Draw one rank's part of the batch of a step.

        By default every view of an identity takes one of its photos, independently, uniformly and with
        replacement (Lai and Lam, 2021). Every view is mirrored, and draws its side, independently.

        Args:
            step: number of the step, from 0 over all epochs.
            rank: of this process.
            world: number of processes, which divides the batch.
        """
        assert self.global_batch % world == 0 and 0 <= rank < world
        labels, starts, ends = self._items(step)
        shape = (self.global_batch, len(self.views.sizes))
        random = generator(self.seed, Stream.PHOTO, step)
        # (B, groups) -> (B, V)
        drawn = random.integers(starts[:, None], ends[:, None], size=(self.global_batch, len(self.photo_groups)))
        photos = drawn[:, self._group_of_view()]
        if self.crops is not None:
            photos = self.crops.stand_in(photos, labels, step)
        mirrored = random.random(shape) < np.array(self.views.mirrors)
        return Draw(labels, photos, mirrored, self._sides(step, shape), first_row=0).rows(rank, world)

    def _items(self, step: int) -> tuple[NDArray[np.int64], ...]:
        """Return the labels of the global batch, and the first and one past the last photo that each may show."""
        before, after = (identities_before_step(self.shares, self.global_batch, s) for s in (step, step + 1))
        parts = []
        for k, order in enumerate(self.orders):
            labels, starts, ends = order.items(step, after[k] - before[k])
            parts.append((labels + self.first_label[k], starts + self.first_photo[k], ends + self.first_photo[k]))
        if len(parts) == 1:
            return parts[0]
        # Every rank gets identities of every folder.
        mixed = generator(self.seed, Stream.MIX, step).permutation(self.global_batch)
        return tuple(np.concatenate(part)[mixed] for part in zip(*parts, strict=True))

    def _group_of_view(self) -> NDArray[np.int64]:
        """Return the group of each view: (V,)."""
        groups = {view: number for number, group in enumerate(self.photo_groups) for view in group}
        return np.array([groups[view] for view in range(len(groups))])

    def _sides(self, step: int, shape: tuple[int, int]) -> NDArray[np.int64]:
        smallest, largest = np.array(self.views.ranges).T
        if (smallest == largest).all():
            return np.broadcast_to(smallest, shape)
        return generator(self.seed, Stream.SIZE, step).integers(smallest, largest, size=shape, endpoint=True)


def photo_groups(views: Views, sampling: Sampling) -> tuple[tuple[int, ...], ...]:
    """Return the views of an item that show one photo, group by group."""
    return (tuple(range(len(views.sizes))),) if sampling == "photo" else views.photo_groups


def substitutes(first_photo: int, last_photo: int, *, seed: int, step: int, row: int, view: int) -> NDArray[np.int64]:
    """Return an identity's photos in the order in which they stand in for an unusable one.

    Args:
        first_photo: of the identity in the shard index.
        last_photo: one past its last.
        seed: of the run.
        step: number of the step.
        row: place of the identity in the global batch.
        view: of the unusable photo; of the first one where views share a photo.

    Returns:
        (last_photo - first_photo,) int64, a permutation.
    """
    random = generator(seed, Stream.SUBSTITUTE, step, row, view)
    return random.permutation(np.arange(first_photo, last_photo))
