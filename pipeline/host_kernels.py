"""What a CPU does to the pixels of whole batches, compiled: enlarge, scale to the network's range, mirror.

The integers are Pillow's (`resample.kernel_weights`), so every level equals Pillow's. On a GPU `device_resample`
reaches the same levels by products of matrices, which on a CPU take several times as long.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from pipeline.compiled import compiled
from pipeline.resample import WEIGHT_ONE, kernel_weights

# Pillow's cubic reaches two samples to either side where it enlarges.
_TAPS = 4
_SHIFT = WEIGHT_ONE.bit_length() - 1
# The whole numbers 0..255 become -1..1.
_HALF_RANGE = np.float32(127.5)
# A thread is worth starting for so many faces.
_FACES_OF_A_THREAD = 4


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
    else:
        taps, weights = _taps(source, target)
        _in_threads(lambda part: _enlarge(faces[part], out, rows[part], taps, weights), len(faces))


def mirror(faces: NDArray[np.uint8], mirrored: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Return a copy of (N, s, s, 3) uint8 faces, those mirrored left-right of which `mirrored`, (N,) bool, says so."""
    out = faces.copy()
    for row in np.flatnonzero(mirrored):
        cv2.flip(faces[row], 1, out[row])
    return out


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
def _taps(source: int, target: int) -> tuple[NDArray[np.uint64], NDArray[np.int32]]:
    """Return which samples each of `target` is made of, (target, 4), and their weights in Pillow's units."""
    matrix = kernel_weights(source, target)
    # Where fewer have a weight, any others stand beside them with none.
    first = np.minimum((matrix != 0).argmax(axis=1), max(source - _TAPS, 0))
    taps = np.minimum(first[:, None] + np.arange(_TAPS), source - 1)
    weights = np.take_along_axis(matrix, taps, axis=1)
    weights[first[:, None] + np.arange(_TAPS) >= source] = 0
    assert (weights.sum(axis=1) == matrix.sum(axis=1)).all()
    # Unsigned, so that compiled code need not ask whether they count from the end.
    return taps.astype(np.uint64), weights.astype(np.int32)


@compiled
def _level(total: Any) -> Any:
    """Round a sum of weighted levels as Pillow does, halves upwards."""
    return min(max(total >> np.int32(_SHIFT), np.int32(0)), np.int32(255))


@compiled
def _enlarge(faces: Any, out: Any, rows: Any, taps: Any, weights: Any) -> None:
    """Enlarge along the rows and then down, rounding to whole levels after each, as Pillow does."""
    source, target = faces.shape[1], out.shape[1]
    half = np.int32(1 << (_SHIFT - 1))
    slim = np.empty((source, 3 * target), np.int32)
    for face in range(len(faces)):
        for y in range(source):
            line = faces[face, y]
            for x in range(target):
                for channel in range(3):
                    total = half
                    for tap in range(_TAPS):
                        total += np.int32(line[taps[x, tap], channel]) * weights[x, tap]
                    slim[y, 3 * x + channel] = _level(total)
        # (S, S, 3) -> (S, 3 S): a row of pixels with its channels interleaved, as it lies in memory
        enlarged = out[rows[face]].reshape(target, 3 * target)
        for y in range(target):
            a, b, c, d = slim[taps[y, 0]], slim[taps[y, 1]], slim[taps[y, 2]], slim[taps[y, 3]]
            of_a, of_b, of_c, of_d = weights[y, 0], weights[y, 1], weights[y, 2], weights[y, 3]
            line_out = enlarged[y]
            for x in range(3 * target):
                level = _level(half + a[x] * of_a + b[x] * of_b + c[x] * of_c + d[x] * of_d)
                line_out[x] = np.float32(level) / _HALF_RANGE - np.float32(1)


@compiled
def _to_range(faces: Any, out: Any, rows: Any) -> None:
    for face in range(len(faces)):
        levels, scaled = faces[face].reshape(-1), out[rows[face]].reshape(-1)
        for place in range(len(levels)):
            scaled[place] = np.float32(levels[place]) / _HALF_RANGE - np.float32(1)
