"""Pillow's antialiased bicubic resampling: the definition that all resizing follows.

Pillow resamples in two passes, along the rows first, and rounds to 8 bits after each. The kernel is the cubic
of Keys (1981) with a = -0.5, widened by the reduction factor; samples outside the picture are left out and
the remaining weights are scaled to sum to one; for pictures of 8 bits the weights are integers in units of
2**-22. `kernel_weights` states the same integers as a matrix for the code that resamples whole batches on a
device; tests hold it to Pillow itself, bit by bit.
"""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

RESAMPLING = "pillow bicubic, antialiased"
WEIGHT_ONE = 1 << 22
"""The integer by which Pillow writes a weight of one for pictures of 8 bits."""

_SUPPORT = 2.0
_A = -0.5


def resize(picture: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Reduce or enlarge a picture.

    Args:
        picture: (H, W, 3) or (H, W) uint8.
        width: of the result, in pixels.
        height: of the result, in pixels.

    Returns:
        (height, width, 3) or (height, width) uint8.
    """
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC))


def reduce_and_enlarge(face: NDArray[np.uint8], low: int) -> NDArray[np.uint8]:
    """Show a square face as a camera of `low` x `low` pixels saw it, enlarged back to its own size.

    Args:
        face: (S, S, 3) or (S, S) uint8.
        low: side in pixels of the reduced face; S leaves the face as it is.

    Returns:
        the same shape, uint8.
    """
    height, width = face.shape[:2]
    return resize(resize(face, low, low), width, height)


def _cubic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the cubic convolution kernel of Keys (1981) at x, zero beyond two samples."""
    x = np.abs(x)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * _A
    return np.where(x < 1, near, np.where(x < _SUPPORT, far, 0.0))


@lru_cache(maxsize=256)
def kernel_weights(source: int, target: int) -> NDArray[np.int64]:
    """Return the matrix that resamples `source` samples to `target` samples along one axis.

    Returns:
        (target, source) int64 in units of 1 / `WEIGHT_ONE`; read-only.

    >>> (kernel_weights(4, 2) / WEIGHT_ONE).round(3).tolist()
    [[0.459, 0.459, 0.12, -0.037], [-0.037, 0.12, 0.459, 0.459]]
    """
    scale = source / target
    widening = max(scale, 1.0)
    centre = (np.arange(target) + 0.5) * scale
    sample = np.arange(source) + 0.5
    # (target, 1) against (1, source) -> (target, source)
    weights = _cubic((sample[None, :] - centre[:, None]) / widening)
    weights /= weights.sum(axis=1, keepdims=True)
    # Half away from zero, as Pillow rounds its weights.
    fixed = np.trunc(weights * WEIGHT_ONE + np.copysign(0.5, weights)).astype(np.int64)
    fixed.setflags(write=False)
    return fixed
