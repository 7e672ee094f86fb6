"""The views of each identity in a batch: their number and side lengths."""

import re
from dataclasses import dataclass
from typing import Literal

from pipeline.sampling.augmentation import Augmentation
from pipeline.sampling.degradation import Degradation
from shards.command import UserError

_RANGE = re.compile(r"(\d+)\.\.(\d+)")


@dataclass(frozen=True)
class Views:
    """The views of one identity.

    A reduced view never has more pixels than the face had in its original photo. If the face was n pixels wide there,
    a view of s pixels is reduced to min(s, n); a view of the full stored size is left as it is. For example, a
    surveillance picture of 22 pixels can be a full view, is reduced to 8 or 16 pixels like any other face, and is
    reduced to 22 pixels if 32 are requested. For photos with n >= s this is the published method.

    Attributes:
        sizes: side of each view in pixels, or a range such as 8..32 from which every sample draws its own,
            uniformly. A view smaller than the stored size is reduced to its side and enlarged back.
        mirror: probability 0..1 that a view is mirrored left-right, drawn for each view; one value for all
            views, or one for each.
        photos: different (published): each view draws its photo independently and with replacement; same: all
            views of an identity show one photo; paired: each view of the first half draws its photo, and the view at
            the same place of the second half shows that photo too, as in full and reduced pictures of one photo.
        degradation: settings of the degradation of reduced views; off unless its probability is above 0.
        augmentation: settings of AdaFace's augmentation of photos; off unless a probability of it is above 0.
    """

    sizes: tuple[int | str, ...] = (128, 8, 12, 16)
    mirror: float | tuple[float, ...] = 0.5
    photos: Literal["different", "same", "paired"] = "different"
    degradation: Degradation = Degradation()
    augmentation: Augmentation = Augmentation()

    def __post_init__(self) -> None:
        if not self.sizes or any(low < 1 or low > high for low, high in self.ranges):
            raise UserError(
                f"views of sizes {self.sizes}; give at least one size, each at least 1 pixel or a rising range (8..32)"
            )
        if len(self.mirrors) != len(self.sizes):
            raise UserError(
                f"{len(self.mirrors)} mirror probabilities for {len(self.sizes)} views; give one for all or for each"
            )
        if not all(0 <= probability <= 1 for probability in self.mirrors):
            raise UserError(f"mirror probability {self.mirror}; give a value from 0 to 1")
        if self.photos == "paired" and len(self.sizes) % 2:
            raise UserError(f"{len(self.sizes)} views in pairs; give an even number of views.sizes")

    @property
    def ranges(self) -> tuple[tuple[int, int], ...]:
        """Smallest and largest side of each view in pixels; equal where the side is fixed."""
        return tuple(_range(size) for size in self.sizes)

    @property
    def as_stored(self) -> bool:
        """Whether a reduced view is nothing but its photo reduced, such as is stored beside a photo."""
        return not self.degradation.probability and not self.augmentation.is_on

    @property
    def photo_groups(self) -> tuple[tuple[int, ...], ...]:
        """The views that show one photo, group by group.

        >>> Views(sizes=(64, 64, 8, 12), photos="paired").photo_groups
        ((0, 2), (1, 3))
        """
        views = range(len(self.sizes))
        if self.photos == "same":
            return (tuple(views),)
        half = len(views) // 2
        if self.photos == "paired":
            return tuple((view, view + half) for view in views[:half])
        return tuple((view,) for view in views)

    @property
    def mirrors(self) -> tuple[float, ...]:
        """The mirror probability of each view."""
        return self.mirror if isinstance(self.mirror, tuple) else (self.mirror,) * len(self.sizes)


def _range(size: int | str) -> tuple[int, int]:
    if isinstance(size, int):
        return size, size
    if size.isdecimal():
        return int(size), int(size)
    if (match := _RANGE.fullmatch(size)) is None:
        raise UserError(f"a view of size {size!r}; give a number of pixels (16) or a range (8..32)")
    return int(match[1]), int(match[2])
