"""Settings of AdaFace's augmentation (Kim et al., 2022, and the authors' code), and of CVLface's affine one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shards.command import UserError

Span = tuple[float, float]


@dataclass(frozen=True)
class Augmentation:
    """What happens to a photo before its views are made, in this order; off unless a probability is above 0.

    Views that show one photo share what happens to it.

    Attributes:
        crop: probability 0..1 that all but a random rectangle becomes black.
        low_resolution: probability 0..1 of a reduction to a random side and back, each by a random kernel.
        photometric: probability 0..1 of a change of brightness, contrast and saturation, in random order.
        area: smallest and largest share of the rectangle in the picture's area, above 0 and up to 1.
        aspect: smallest and largest aspect ratio of the rectangle, a factor of its height, above 0.
        side: smallest and largest share of the reduced side in the picture's side, above 0 and up to 1.
        strength: of the photometric changes: each factor is from 1 - strength to 1 + strength, 0..1.
        affine: probability 0..1 that, before all this, the face is scaled, turned and moved, and its points with it
            (CVLface's values are the defaults of what follows).
        scale: smallest and largest factor of the face's size, above 0.
        rotation: probability 0..1 that such a face is turned, too.
        largest_angle: in degrees, to which it is turned to either side, 0..180.
        offset: largest share of the face's side by which it is moved beyond the border, in each direction half, 0..1.
    """

    crop: float = 0.0
    low_resolution: float = 0.0
    photometric: float = 0.0
    area: Span = (0.2, 1.0)
    aspect: Span = (3 / 4, 4 / 3)
    side: Span = (0.2, 1.0)
    strength: float = 0.5
    affine: float = 0.0
    scale: Span = (0.8, 1.2)
    rotation: float = 0.2
    largest_angle: float = 20.0
    offset: float = 0.1

    def __post_init__(self) -> None:
        for name in ("crop", "low_resolution", "photometric", "strength", "affine", "rotation", "offset"):
            if not 0 <= getattr(self, name) <= 1:
                raise UserError(f"{name} {getattr(self, name)} of an augmentation; give a value from 0 to 1")
        for name, most in (("area", 1.0), ("aspect", 100.0), ("side", 1.0), ("scale", 10.0)):
            span = getattr(self, name)
            if len(span) != 2 or not 0 < span[0] <= span[1] <= most:
                raise UserError(
                    f"{name} {span} of an augmentation; give two values above 0, the smaller first, up to {most:g}"
                )

        if not 0 <= self.largest_angle <= 180:
            raise UserError(f"largest_angle {self.largest_angle} of an augmentation; give degrees from 0 to 180")

    @property
    def is_on(self) -> bool:
        """Whether anything can happen."""
        return max(self.crop, self.low_resolution, self.photometric, self.affine) > 0


def within(span: Span, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take numbers 0..1 to a span."""
    return span[0] + (span[1] - span[0]) * uniforms
