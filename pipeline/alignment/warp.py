"""Bicubic warp of a colour photo: OpenCV's result to the last bit, four times as fast.

OpenCV's `warpAffine` computes 16 x 3 scalar products per pixel, which take half the time of aligning a photo. Here a
few vector operations do it (`pipeline.pixels.weighted_sum`). The integers are the same, so the faces are the same
bytes; a test compares them with OpenCV's.
"""

import math
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pixels.numba_cache import compiled
from pipeline.pixels.photo import Rectangle
from pipeline.pixels.weighted_sum import lay_out, weighted_pixel

_FRACTION_BITS = 5
_FRACTIONS = 1 << _FRACTION_BITS
"""Places between two pixels for which there are weights."""
_COORDINATE_BITS = 10
_WEIGHT_BITS = 15
# A vector of 16 bytes reaches so far to the right of its first pixel, in pixels.
_REACH = 6
# What is read around a place in the photo: two pixels on every side or a whole vector, and the rounding of the place.
_MARGIN = _REACH + 2


def warp(
    photo: NDArray[np.uint8], to_face: NDArray[np.float64], size: int, left: int = 0, top: int = 0
) -> NDArray[np.uint8]:
    """Warp a photo, with zeros outside of it.

    Args:
        photo: (H, W, 3) uint8, or a part of it that holds what is `needed`.
        to_face: (2, 3) float64, from pixels of the photo to those of the face.
        size: side of the face in pixels.
        left: column of the photo in which the part begins.
        top: row of the photo in which the part begins.

    Returns:
        (size, size, 3) uint8, equal to `cv2.warpAffine` with `INTER_CUBIC` and a constant border of 0.
    """
    face = np.empty((size, size, 3), dtype=np.uint8)
    _warp(np.ascontiguousarray(photo), _inverse(to_face), _weights(), face, left, top)
    return face


def needed(to_face: NDArray[np.float64], size: int) -> Rectangle:
    """Return the part of a photo in which lies all that a warp to `size` x `size` pixels reads of it.

    >>> needed(np.array([[1.0, 0, -50], [0, 1, -60]]), 30)
    Rectangle(left=42, top=52, right=88, bottom=98)
    """
    a, b, x, c, d, y = _inverse(to_face)
    last = size - 1
    across = [a * column + b * row + x for column in (0, last) for row in (0, last)]
    down = [c * column + d * row + y for column in (0, last) for row in (0, last)]
    return Rectangle(
        math.floor(min(across)) - _MARGIN,
        math.floor(min(down)) - _MARGIN,
        math.ceil(max(across)) + _MARGIN + 1,
        math.ceil(max(down)) + _MARGIN + 1,
    )


def _inverse(to_face: NDArray[np.float64]) -> tuple[float, float, float, float, float, float]:
    """Return the rows of the map from the face to the photo, in OpenCV's order of rounding."""
    (a, b, x), (c, d, y) = to_face.tolist()
    determinant = a * d - b * c
    scale = 1 / determinant if determinant else 0.0
    a, b, c, d = d * scale, -b * scale, -c * scale, a * scale
    return a, b, -a * x - b * y, c, d, -c * x - d * y


@cache
def _weights() -> NDArray[np.int16]:
    """Return OpenCV's fixed-point weights: (32 x 32, 4, 16) int16 by fraction y and x, row, pixel and channel."""
    along = _cubic(np.arange(_FRACTIONS, dtype=np.float32) / np.float32(_FRACTIONS))
    # (32, 1, 4, 1) x (1, 32, 1, 4) -> (32, 32, 4, 4)
    exact = along[:, None, :, None] * along[None, :, None, :]
    fixed = np.rint(exact * np.float32(1 << _WEIGHT_BITS)).clip(-(1 << 15), (1 << 15) - 1).astype(np.int16)
    for weights in fixed.reshape(-1, 4, 4):
        _balance(weights)
    # (32, 32, 4, 4) -> (1024, 4, 4) -> (1024, 4, 1, 16) -> (1024, 4, 16)
    return lay_out(fixed.reshape(-1, 4, 4))[:, :, 0]


def _cubic(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the weights (n, 4) of four neighbours at a fraction x of a pixel: Keys (1981) with a = -0.75."""
    a, one = np.float32(-0.75), np.float32(1)
    first = ((a * (x + 1) - 5 * a) * (x + 1) + 8 * a) * (x + 1) - 4 * a
    second = ((a + 2) * x - (a + 3)) * x * x + one
    third = ((a + 2) * (one - x) - (a + 3)) * (one - x) * (one - x) + one
    return np.stack([first, second, third, one - first - second - third], axis=1).astype(np.float32)


def _balance(weights: NDArray[np.int16]) -> None:
    """Let (4, 4) weights sum to one: of the four in the middle the largest or the smallest takes the difference."""
    if difference := int(weights.sum(dtype=np.int64)) - (1 << _WEIGHT_BITS):
        middle = weights[2:, 2:].ravel()
        place = int(middle.argmax() if difference < 0 else middle.argmin())
        weights[2 + place // 2, 2 + place % 2] -= difference


@compiled
def _neighbours(photo: Any, left: int, top: int, weights: Any, channel: int) -> int:
    """Return a level of a pixel of the face some of whose neighbours lie outside the photo."""
    height, width = photo.shape[:2]
    total = 1 << (_WEIGHT_BITS - 1)
    for row in range(max(0, -top), min(4, height - top)):
        for column in range(max(0, -left), min(4, width - left)):
            total += np.int64(photo[top + row, left + column, channel]) * weights[row, 3 * column + channel]
    return min(max(total >> _WEIGHT_BITS, 0), 255)


@compiled
def _warp(photo: Any, inverse: Any, weights: Any, face: Any, part_left: int, part_top: int) -> None:
    """Warp a part (h, w, 3) of a photo to a face (S, S, 3)."""
    height, width = photo.shape[:2]
    bytes_ = photo.reshape(-1)
    a, b, x0, c, d, y0 = inverse
    one, half = 1 << _COORDINATE_BITS, 1 << (_COORDINATE_BITS - _FRACTION_BITS - 1)
    size = face.shape[0]
    right_x, right_y = np.empty(size, np.int64), np.empty(size, np.int64)
    for column in range(size):
        right_x[column] = np.int64(np.rint(a * column * one))
        right_y[column] = np.int64(np.rint(c * column * one))
    for row in range(size):
        start_x = np.int64(np.rint((b * row + x0) * one)) + half
        start_y = np.int64(np.rint((d * row + y0) * one)) + half
        for column in range(size):
            x = (start_x + right_x[column]) >> (_COORDINATE_BITS - _FRACTION_BITS)
            y = (start_y + right_y[column]) >> (_COORDINATE_BITS - _FRACTION_BITS)
            left, top = (x >> _FRACTION_BITS) - 1 - part_left, (y >> _FRACTION_BITS) - 1 - part_top
            fraction = (y & (_FRACTIONS - 1)) * _FRACTIONS + (x & (_FRACTIONS - 1))
            if left >= 0 and top >= 0 and left <= width - _REACH and top <= height - 4:
                place = (top * width + left) * 3
                pixel = weighted_pixel(bytes_, place, width * 3, weights, 4 * fraction, 4, _WEIGHT_BITS)
                face[row, column, 0] = pixel & 255
                face[row, column, 1] = (pixel >> 8) & 255
                face[row, column, 2] = (pixel >> 16) & 255
            else:
                for channel in range(3):
                    face[row, column, channel] = _neighbours(photo, left, top, weights[fraction], channel)
