"""Alignment of a face by five landmarks: pure geometry and one warp.

The published method (Lai and Lam, 2021) fits a similarity **from the template to the landmarks** by least
squares, so that the residual is measured in pixels of the photo, and inverts it for the warp.
"""

import math
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.alignment.warp import needed
from pipeline.alignment.warp import warp as warp_colour
from pipeline.pixels.photo import Photo, Rectangle, whole
from pipeline.pixels.resample import RESAMPLING, resize
from shards.format import WHOLE, Preprocessing

CANVAS_HEIGHT = 112
"""Height in pixels of the canvas on which every template's points are given."""

_PAPER_POINTS = (
    (30.2946, 51.6963),
    (65.5318, 51.5014),
    (48.0252, 71.7366),
    (33.5493, 92.3655),
    (62.7299, 92.2041),
)
WARP = "opencv bicubic, zero border"
ANTIALIASED_WARP = "opencv bicubic, zero border; where it reduces, on a finer grid and then pillow antialiased bicubic"
WARPS = {"plain": WARP, "antialiased": ANTIALIASED_WARP}
"""How the warp treats a photo larger than the face: "plain" is the published one."""

# Beyond this side in pixels a finer grid would cost memory and show nothing more.
_LARGEST_GRID = 4096


class DegenerateLandmarks(ValueError):  # noqa: N818 - it names a state of the data
    """Five landmarks through which no similarity with a scale above zero can be fitted."""


@dataclass(frozen=True)
class Template:
    """Where the five landmarks of an aligned face stand.

    Attributes:
        name: name in the manifest and on the command line.
        points: x, y of left eye, right eye, nose tip, left and right mouth corner (left and right as seen in
            the picture), in pixels of a canvas of height 112.
    """

    name: str
    points: tuple[tuple[float, float], ...]


TEMPLATES = {
    "paper": Template("paper", _PAPER_POINTS),
    # The same face in the middle of a square canvas: the 96 x 112 points shifted by half the missing width.
    "centred": Template("centred", tuple((x + 8.0, y) for x, y in _PAPER_POINTS)),
}


def preprocessing(template: str, size: int, warp: str = "plain") -> Preprocessing:
    """Describe how a photo becomes a `size` x `size` face, for the manifest and the checkpoint.

    Args:
        template: a name in `TEMPLATES`, or `WHOLE` for a photo that is resized as it is.
        size: side of the face in pixels.
        warp: of an alignment, a name in `WARPS`.
    """
    if template == WHOLE:
        return Preprocessing(WHOLE, (), size, RESAMPLING)
    return Preprocessing(template=template, points=TEMPLATES[template].points, size=size, warp=WARPS[warp])


def template_points(template: str, size: int) -> NDArray[np.float64]:
    """Return the template's points for an output of `size` x `size` pixels.

    Both coordinates are multiplied by `size` / 112. For "paper", whose canvas is 96 wide, this leaves the
    face left of the centre: a quirk of the published method that a model trained by it depends on.

    Returns:
        (5, 2) float64, x and y in pixels of the output.
    """
    return np.asarray(TEMPLATES[template].points, dtype=np.float64) * (size / CANVAS_HEIGHT)


@lru_cache
def _single_points(template: str, size: int) -> NDArray[np.float32]:
    points = template_points(template, size).astype(np.float32)
    points.setflags(write=False)
    return points


def similarity(source: ArrayLike, target: ArrayLike) -> NDArray[np.float64]:
    """Fit the similarity (rotation, one scale, translation, no reflection) that takes source to target.

    With the points as complex numbers the map is `w = a z + b`; the least-squares `a` is the centred inner
    product of source and target over the source's squared norm.

    Args:
        source: (N, 2) points x, y.
        target: (N, 2) points x, y; the squared residual is measured here.

    Returns:
        (2, 3) float64 matrix M with target ~ M @ (x, y, 1).

    Raises:
        DegenerateLandmarks: the points are not finite, or coincide so that the scale would be zero.
    """
    # (N, 2) real -> (N,) complex
    z = np.asarray(source, dtype=np.float64) @ (1, 1j)
    w = np.asarray(target, dtype=np.float64) @ (1, 1j)
    if not (np.isfinite(z).all() and np.isfinite(w).all()):
        raise DegenerateLandmarks("landmarks are not finite")
    z_mean, w_mean = z.sum() / z.size, w.sum() / w.size
    z_centred, w_centred = z - z_mean, w - w_mean
    norm = np.vdot(z_centred, z_centred).real
    a = np.vdot(z_centred, w_centred) / norm if norm > 0 else 0j
    if abs(a) < 1e-6:
        raise DegenerateLandmarks("landmarks coincide or contradict the template: no scale fits")
    b = w_mean - a * z_mean
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


@dataclass(frozen=True)
class Cut:
    """How an aligned face is cut out of its photo.

    Attributes:
        to_grid: (2, 3) float64, from pixels of the photo to those of a grid.
        size: side of the face in pixels.
        finer: pixels of the grid to one of the face, along a side.
    """

    to_grid: NDArray[np.float64]
    size: int
    finer: int

    def needed(self) -> Rectangle:
        """Return the part of the photo that holds all that the face is made of."""
        return needed(self.to_grid, self.size * self.finer)

    def points(self, landmarks: ArrayLike) -> NDArray[np.float64]:
        """Return where landmarks (5, 2) in pixels of the photo stand in the face, in units of its side: (5, 2)."""
        placed = np.asarray(landmarks, dtype=np.float64) @ self.to_grid[:, :2].T + self.to_grid[:, 2]
        # The middle of a face's pixel is that of `finer` pixels of the grid.
        return (placed - (self.finer - 1) / 2) / (self.finer * self.size)

    def face(self, photo: Photo) -> NDArray[np.uint8]:
        """Return the face (size, size, 3) uint8 out of a photo, or a part of one that holds what is needed."""
        grid = warp_colour(photo.pixels, self.to_grid, self.size * self.finer, photo.left, photo.top)
        return resize(grid, self.size, self.size)


def cut_by(landmarks: ArrayLike, size: int, template: str, warp: str) -> Cut:
    """Say how a face is cut out of a photo whose landmarks are known; the arguments and errors are those of `align`."""
    if size < 1:
        raise DegenerateLandmarks("landmarks of no height: the face has no size")
    # In single precision, as the published code holds both: more digits move one pixel in ten thousand by a level.
    to_photo = similarity(_single_points(template, size), np.asarray(landmarks, dtype=np.float32))
    to_grid = np.array(cv2.invertAffineTransform(to_photo), dtype=np.float64)
    reduction = float(np.hypot(to_photo[0, 0], to_photo[1, 0]))
    finer = 1 if warp == WARP else max(1, min(math.ceil(reduction), _LARGEST_GRID // size))
    if finer > 1:
        # Pixel i of the face covers pixels i * finer to (i + 1) * finer - 1 of the grid.
        to_grid *= finer
        to_grid[:, 2] += (finer - 1) / 2
    return Cut(to_grid, size, finer)


def align(
    photo: NDArray[np.uint8], landmarks: ArrayLike, size: int, template: str = "paper", warp: str = WARP
) -> NDArray[np.uint8]:
    """Cut the aligned face out of a photo.

    Args:
        photo: (H, W, 3) or (H, W) uint8; the channel order does not matter.
        landmarks: (5, 2) x, y in pixels of the photo.
        size: side of the aligned face in pixels.
        template: a name in `TEMPLATES`.
        warp: `WARP`, the published one, reads 4 x 4 pixels of the photo for each of the face, so that a photo
            much larger than the face shows aliases; `ANTIALIASED_WARP` reads all of them.

    Returns:
        (size, size, 3) or (size, size) uint8, warped with bicubic interpolation, zero outside the photo.

    Raises:
        DegenerateLandmarks: no similarity fits the landmarks.
    """
    cut = cut_by(landmarks, size, template, warp)
    if photo.ndim == 3:
        return cut.face(whole(photo))
    # (H, W) -> (H, W, 3) -> (size, size)
    return cut.face(whole(np.repeat(photo[..., None], 3, axis=2)))[..., 0]


def native_size(landmarks: ArrayLike) -> int:
    """Return the side at which the face stands in its photo, as the published SCface protocol measures it.

    Three times the height between the highest and the lowest landmark, rounded towards zero.

    >>> native_size([(10, 10), (20, 10), (15, 16), (11, 22), (19, 22.5)])
    37
    """
    heights = np.asarray(landmarks, dtype=np.float64)[:, 1]
    return int(3 * (heights.max() - heights.min()))
