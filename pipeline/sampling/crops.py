"""Real small pictures of people, which stand in for reduced views of their photos."""

import sys
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.sampling.random_streams import Stream, generator
from pipeline.sampling.shard_folders import ShardFolders
from pipeline.sampling.views import Views
from shards.command import UserError


@dataclass(frozen=True)
class Crops:
    """Small pictures of some of the people in a sampler's folders.

    Attributes:
        starts: (identities,) int64, the first small picture of each label, numbered as photos are.
        ends: (identities,) int64, one past the last; a person without any has as many as the first.
        views: the views in whose place they may stand, the reduced ones.
        share: probability 0..1 that one does.
        seed: of the run.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    views: tuple[int, ...]
    share: float
    seed: int

    @staticmethod
    def of(folders: ShardFolders, views: Views, *, share: float, seed: int) -> "Crops":
        """Match the people of the last folder by their names with those of the folders before it.

        Args:
            folders: photos, and last the small pictures.
            views: of each identity.
            share: see `Crops`.
            seed: of the run.

        Raises:
            UserError: no name of the last folder is among the others', or no view is reduced.
        """
        *photos, crops = folders.indexes
        reduced = [view for view, (_, largest) in enumerate(views.ranges) if largest < folders.preprocessing.size]
        if not reduced:
            raise UserError(
                f"small pictures of {crops.folder} without a reduced view of {list(views.sizes)}; give views.sizes "
                f"below {folders.preprocessing.size} pixels"
            )
        # The label of each name in the folder of small pictures, -1 elsewhere.
        place = {name: row for row, name in enumerate(crops.names)}
        rows = np.array([place.get(name, -1) for index in photos for name in index.names], dtype=np.int64)
        if not (rows >= 0).any():
            raise UserError(
                f"no identity of {crops.folder}, such as {crops.names[0]}, is among those of "
                f"{' '.join(str(index.folder) for index in photos)}; name the people of both alike"
            )
        if unused := len(place) - len(np.unique(rows[rows >= 0])):
            print(
                f"{unused:,} of {len(place):,} identities of {crops.folder} have no photos to go with: not used",
                file=sys.stderr,
            )
        first_photo = sum(index.photos for index in photos)
        starts, ends = (
            np.where(rows >= 0, bounds[rows] + first_photo, 0) for bounds in (crops.first[:-1], crops.first[1:])
        )
        return Crops(starts, ends, tuple(reduced), share, seed)

    def stand_in(self, photos: NDArray[np.int64], labels: NDArray[np.int64], step: int) -> NDArray[np.int64]:
        """Return the photos of a global batch, (B, V) int64, with small pictures in the place of some.

        Every reduced view of a person who has small pictures shows one of them with the probability `share`,
        independently, uniformly and with replacement.

        Args:
            photos: (B, V) int64, drawn without them.
            labels: (B,) int64.
            step: number of the step.
        """
        random = generator(self.seed, Stream.CROP, step)
        shape = (len(labels), len(self.views))
        starts, ends = self.starts[labels, None], self.ends[labels, None]
        # A person without any draws from one that is then not taken.
        drawn = random.integers(starts, np.maximum(ends, starts + 1), size=shape)
        taken = (random.random(shape) < self.share) & (ends > starts)
        mixed = photos.copy()
        mixed[:, self.views] = np.where(taken, drawn, photos[:, self.views])
        return mixed
