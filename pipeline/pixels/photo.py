"""A decoded photo, or a rectangle of it, as input to alignment."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rectangle(NamedTuple):
    """Columns `left` to `right` - 1 and rows `top` to `bottom` - 1 of a photo; it may reach beyond the photo."""

    left: int
    top: int
    right: int
    bottom: int

    def within(self, width: int, height: int) -> "Rectangle":
        """Return what of it lies in a photo of a width and height in pixels; it may be empty."""
        return Rectangle(max(self.left, 0), max(self.top, 0), min(self.right, width), min(self.bottom, height))

    def pixels(self) -> int:
        """Return the number of its pixels."""
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)


@dataclass(frozen=True)
class Photo:
    """A decoded photo, or a part of it.

    Attributes:
        pixels: (h, w, 3) uint8 of the part.
        width: of the whole photo, in pixels.
        height: of the whole photo, in pixels.
        left: column of the photo in which the part begins.
        top: row of the photo in which the part begins.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    left: int = 0
    top: int = 0


def whole(pixels: NDArray[np.uint8]) -> Photo:
    """Return a photo of which every pixel is there: (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    return Photo(pixels, width, height)
