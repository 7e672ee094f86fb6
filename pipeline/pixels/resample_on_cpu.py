"""Bicubic resizing of whole batches on a CPU, bit for bit equal to Pillow's.

The integer weights are Pillow's (`resample.kernel_weights`), so every pixel value equals Pillow's. `resample_on_gpu`
computes the same values by matrix products, which would take several times as long on a CPU.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.pixels.numba_cache import compiled
from pipeline.pixels.resample import WEIGHT_ONE, kernel_weights
from pipeline.pixels.weighted_sum import GROUP, LANES, lay_out, weighted_pixel

_BITS = WEIGHT_ONE.bit_length() - 1
# The whole numbers 0..255 become -1..1.
_HALF_RANGE = np.float32(127.5)
# A thread is worth starting for so many faces.
_FACES_OF_A_THREAD = 4


@dataclass(frozen=True)
class _Taps:
    """The samples each of T targets is made of: K in a row, K a multiple of 4; those beyond the source weigh nothing.

    Attributes:
        first: (T,) int64, the first of them.
        down: (T, K) int32, their weights.
        across: (T K / 4, 16) int32, the same laid out for pixels of three channels.
    """

    first: NDArray[np.int64]
    down: NDArray[np.int32]
    across: NDArray[np.int32]


def reduce(faces: NDArray[np.uint8], low: int) -> NDArray[np.uint8]:
    """Reduce (N, S, S, 3) uint8 faces to (N, low, low, 3), low below S, on torch's number of threads."""
    assert low < faces.shape[1]
    out = np.empty((len(faces), low, low, 3), dtype=np.uint8)
    taps, faces = _taps(faces.shape[1], low), np.ascontiguousarray(faces)
    _in_threads(lambda part: _reduce(faces[part], out[part], taps.first, taps.down, taps.across), len(faces))
    return out


def enlarge_to_range(faces: NDArray[np.uint8], out: NDArray[np.float32], rows: NDArray[np.int64] | None = None) -> None:
    """Enlarge square faces to the side of the output, as floats in [-1, 1], on torch's number of threads.

    Args:
        faces: (n, s, s, 3) uint8, with s at most S.
        out: (N, S, S, 3) float32 to write to.
        rows: (n,) int64, where in it each face goes; None for the first n in turn.
    """
    source, target = faces.shape[1], out.shape[1]
    assert source <= target and out.flags.c_contiguous
    rows = np.arange(len(faces)) if rows is None else rows
    faces = np.ascontiguousarray(faces)
    if source == target:
        _in_threads(lambda part: _to_range(faces[part], out, rows[part]), len(faces))
        return
    taps = _taps(source, target)
    _in_threads(lambda part: _enlarge(faces[part], out, rows[part], taps.first, taps.down, taps.across), len(faces))


def _in_threads(work: Callable[[slice], object], count: int) -> None:
    """Do work for faces 0..count - 1 in equal parts, side by side: compiled code holds no lock."""
    threads = min(torch.get_num_threads(), max(1, count // _FACES_OF_A_THREAD))
    if threads == 1:
        work(slice(0, count))
        return
    bounds = np.linspace(0, count, threads + 1).astype(int).tolist()
    parts = [slice(start, stop) for start, stop in pairwise(bounds)]
    others = [_pool(threads - 1).submit(work, part) for part in parts[1:]]
    work(parts[0])
    for other in others:
        other.result()


@lru_cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="pixels")


@lru_cache(maxsize=256)
def _taps(source: int, target: int) -> _Taps:
    matrix = kernel_weights(source, target)
    first = (matrix != 0).argmax(axis=1)
    last = source - 1 - (matrix[:, ::-1] != 0).argmax(axis=1)
    count = -(-int((last - first).max() + 1) // GROUP) * GROUP
    places = first[:, None] + np.arange(count)
    down = np.take_along_axis(matrix, np.minimum(places, source - 1), axis=1)
    down = np.where(places < source, down, 0)
    weights: NDArray[np.int32] = down.astype(np.int32)
    # (T, K) -> (T, K / 4, 16) -> (T K / 4, 16)
    return _Taps(first.astype(np.int64), weights, lay_out(weights).reshape(-1, LANES))


@compiled
def _across(face: Any, first: Any, across: Any, line: Any, slim: Any) -> None:
    """Resample the rows of a face (S, S, 3) to T pixels, (S, 3 T), by way of a line with room for taps beyond it."""
    groups = len(across) // len(first)
    for y in range(len(face)):
        pixels = face[y].reshape(-1)
        line[: len(pixels)] = pixels
        for x in range(len(first)):
            pixel = weighted_pixel(line, 3 * first[x], 3 * GROUP, across, x * groups, groups, _BITS)
            slim[y, 3 * x] = pixel & 255
            slim[y, 3 * x + 1] = (pixel >> 8) & 255
            slim[y, 3 * x + 2] = (pixel >> 16) & 255


@compiled
def _level(total: Any) -> Any:
    """Round a sum of weighted levels as Pillow does, halves upwards."""
    return min(max((total + np.int32(1 << (_BITS - 1))) >> np.int32(_BITS), np.int32(0)), np.int32(255))


@compiled
def _room(source: int, target: int, taps: int) -> Any:
    """Return memory for a line of pixels and for resampled rows, zero beyond the source, where taps weigh nothing."""
    line = np.zeros(3 * (source + taps) + LANES, np.uint8)
    return line, np.zeros((source + taps, 3 * target), np.int32)


@compiled
def _reduce(faces: Any, out: Any, first: Any, down: Any, across: Any) -> None:
    """Reduce along the rows and then down, rounding to whole levels after each, as Pillow does."""
    target, taps = down.shape
    line, slim = _room(faces.shape[1], target, taps)
    total = np.empty(3 * target, np.int32)
    for face in range(len(faces)):
        _across(faces[face], first, across, line, slim)
        # (t, t, 3) -> (t, 3 t): a row of pixels with its channels interleaved, as it lies in memory
        reduced = out[face].reshape(target, 3 * target)
        for y in range(target):
            total[:] = 0
            for tap in range(taps):
                row, weight = slim[first[y] + tap], down[y, tap]
                for x in range(3 * target):
                    total[x] += row[x] * weight
            for x in range(3 * target):
                reduced[y, x] = _level(total[x])


@compiled
def _enlarge(faces: Any, out: Any, rows: Any, first: Any, down: Any, across: Any) -> None:
    """Enlarge along the rows and then down, as `_reduce`; where pictures grow there are four taps."""
    target, taps = down.shape
    assert taps == 4
    line, slim = _room(faces.shape[1], target, taps)
    for face in range(len(faces)):
        _across(faces[face], first, across, line, slim)
        # (S, S, 3) -> (S, 3 S)
        enlarged = out[rows[face]].reshape(target, 3 * target)
        for y in range(target):
            top = first[y]
            a, b, c, d = slim[top], slim[top + 1], slim[top + 2], slim[top + 3]
            of_a, of_b, of_c, of_d = down[y, 0], down[y, 1], down[y, 2], down[y, 3]
            row = enlarged[y]
            for x in range(3 * target):
                level = _level(a[x] * of_a + b[x] * of_b + c[x] * of_c + d[x] * of_d)
                row[x] = np.float32(level) / _HALF_RANGE - np.float32(1)


@compiled
def _to_range(faces: Any, out: Any, rows: Any) -> None:
    for face in range(len(faces)):
        levels, scaled = faces[face].reshape(-1), out[rows[face]].reshape(-1)
        for place in range(len(levels)):
            scaled[place] = np.float32(levels[place]) / _HALF_RANGE - np.float32(1)
