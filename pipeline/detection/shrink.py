"""Pictures brought to other sides as OpenCV's INTER_AREA does: the levels of the pyramid, and crops for a network.

The detector's package resizes by `cv2.resize`; whoever wants its detections needs its pixels. Here rows are summed
before columns, in vectors, which takes a third of the time: a sum of floats may differ in its last digit, and a level
of 0..255 then differs by one where the sum lies between two.
"""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels.numba_cache import compiled

# Parts of a pixel below this are left out, as in OpenCV.
_LEAST_PART = 1e-3


@compiled
def area_taps(source: int, target: int, first: Any, count: Any, weights: Any) -> None:
    """Find the pixels of which the mean is taken, along one side, for a target that is no larger than the source.

    Args:
        source: side in pixels.
        target: side in pixels.
        first: (T,) int64, written: the first source pixel of each target pixel.
        count: (T,) int64, written: how many there are.
        weights: (T, K) float32, written: the share of each.
    """
    scale = source / target
    for place in range(target):
        begin = place * scale
        end = begin + scale
        cell = min(scale, source - begin)
        inner, last = int(np.ceil(begin)), min(int(np.floor(end)), source - 1)
        inner = min(inner, last)
        taps = 0
        first[place] = inner
        if inner - begin > _LEAST_PART:
            first[place] = inner - 1
            weights[place, taps] = np.float32((inner - begin) / cell)
            taps += 1
        for _ in range(inner, last):
            weights[place, taps] = np.float32(1.0 / cell)
            taps += 1
        if end - last > _LEAST_PART:
            weights[place, taps] = np.float32(min(end - last, 1.0, cell) / cell)
            taps += 1
        count[place] = taps


@compiled
def linear_taps(source: int, target: int, first: Any, count: Any, weights: Any) -> None:
    """Find the two pixels between which a target pixel lies, where a side grows; see `area_taps`.

    OpenCV enlarges with INTER_AREA so that a target pixel inside a source pixel is that pixel.
    """
    inverse = target / source
    scale = 1.0 / inverse
    for place in range(target):
        left = int(np.floor(place * scale))
        part = np.float32((place + 1) - (left + 1) * inverse)
        part = np.float32(0) if part <= 0 else part - np.floor(part)
        if left >= source - 1:
            left, part = source - 1, np.float32(0)
        first[place] = left
        weights[place, 0] = np.float32(1) - part
        weights[place, 1] = part
        count[place] = 2 if part > 0 else 1


def level(photo: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Bring a photo (H, W, 3) to (height, width, 3) as `cv2.resize` with INTER_AREA does.

    Each level of 0..255 is equal, except for about one in a hundred thousand, which differs by one.
    """
    source_height, source_width = photo.shape[:2]
    whole = source_width % width == 0 and source_height % height == 0
    if whole or width > source_width or height > source_height:
        # Of these OpenCV has versions of its own, with another rounding.
        return cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA).astype(np.uint8, copy=False)
    out = np.empty((height, width, 3), dtype=np.uint8)
    _shrink(photo, *_taps(source_height, height), *_taps(source_width, width), out)
    return out


@lru_cache(maxsize=256)
def _taps(source: int, target: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    first, count = np.zeros(target, np.int64), np.zeros(target, np.int64)
    weights = np.zeros((target, int(np.ceil(source / target)) + 2), np.float32)
    area_taps(source, target, first, count, weights)
    return first, count, weights


@compiled
def _shrink(
    photo: Any, top: Any, rows: Any, down: Any, left: Any, columns: Any, across: Any, out: Any
) -> None:  # fmt: skip
    """Write the weighted mean of a photo (H, W, 3) uint8 into (h, w, 3) uint8."""
    length = photo.shape[1] * 3
    flat = photo.reshape(photo.shape[0], length)
    out_flat = out.reshape(out.shape[0], out.shape[1] * 3)
    sums, means = np.empty(length, np.float32), np.empty(out.shape[1] * 3, np.float32)
    for y in range(out.shape[0]):
        sums[:] = 0
        for tap in range(rows[y]):
            weight, source = down[y, tap], flat[top[y] + tap]
            for place in range(length):
                sums[place] += weight * np.float32(source[place])
        for x in range(out.shape[1]):
            red, green, blue = np.float32(0), np.float32(0), np.float32(0)
            place = left[x] * 3
            for tap in range(columns[x]):
                weight = across[x, tap]
                red += weight * sums[place]
                green += weight * sums[place + 1]
                blue += weight * sums[place + 2]
                place += 3
            means[3 * x] = red
            means[3 * x + 1] = green
            means[3 * x + 2] = blue
        for place in range(means.size):
            out_flat[y, place] = np.uint8(np.int32(np.rint(means[place])))


@compiled
def crops(photo: Any, boxes: Any, side: int) -> Any:
    """Cut boxes out of a photo and bring each to one side, zero outside the photo.

    Args:
        photo: (H, W, 3) uint8.
        boxes: (N, 4) int64 first and last column and row, counted from 1: left, top, right, bottom; none is empty.
        side: of a crop in pixels.

    Returns:
        (N, side, side, 3) float32, 0..255 taken to -1..1 as the networks expect.
    """
    height, width, _ = photo.shape
    flat = photo.reshape(height, 3 * width)
    out = np.empty((len(boxes), side, side, 3), np.float32)
    longest = 2
    for box in range(len(boxes)):
        largest = max(boxes[box, 2] - boxes[box, 0], boxes[box, 3] - boxes[box, 1]) + 1
        longest = max(longest, largest // side + 3)
    first, count = np.empty((2, side), np.int64), np.empty((2, side), np.int64)
    weights = np.empty((2, side, longest), np.float32)
    for box in range(len(boxes)):
        left, top = boxes[box, 0] - 1, boxes[box, 1] - 1
        across, down = boxes[box, 2] - left, boxes[box, 3] - top
        for axis, length in ((0, across), (1, down)):
            if across >= side and down >= side:
                area_taps(length, side, first[axis], count[axis], weights[axis])
            else:
                linear_taps(length, side, first[axis], count[axis], weights[axis])
        begin, end = min(max(0, left), width), max(min(width, left + across), 0)
        end = max(begin, end)
        sums = np.empty(3 * across, np.float32)
        inside = sums[3 * max(0, min(begin - left, across)) :]
        for y in range(side):
            sums[:] = 0
            for tap in range(count[1, y]):
                row = top + first[1, y] + tap
                if 0 <= row < height:
                    weight = weights[1, y, tap]
                    source = flat[row, 3 * begin : 3 * end]
                    for place in range(source.size):
                        inside[place] += weight * np.float32(source[place])
            for x in range(side):
                for channel in range(3):
                    total = np.float32(0)
                    for tap in range(count[0, x]):
                        total += weights[0, x, tap] * sums[3 * (first[0, x] + tap) + channel]
                    out[box, y, x, channel] = (total - np.float32(127.5)) * np.float32(0.0078125)
    return out
