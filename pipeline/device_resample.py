"""Reduce and enlarge whole batches on their own device, bit by bit as Pillow does.

Resampling along an axis is a product with a small matrix of weights that are multiples of 2**-22
(`resample.kernel_weights`). Sums of their products with levels 0..255 need fewer than 53 bits, so float64
holds them exactly: the result does not depend on the device, on the order of summation or on a matrix unit's
reduced precision, and equals Pillow's. Enlarging on a CPU has a way of its own (`host_kernels`) with the same result.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline.resample import WEIGHT_ONE, kernel_weights

# On a CPU as many pictures at a time as keep the intermediate rows in the cache.
_CPU_RUN = 8


def reduce(faces: Tensor, low: int) -> Tensor:
    """Reduce square faces.

    Args:
        faces: (N, S, S, 3) uint8.
        low: side of the reduced faces in pixels.

    Returns:
        (N, low, low, 3) uint8, equal to `resample.resize`.
    """
    if low == faces.shape[1]:
        return faces
    return _resample(faces, torch.empty((len(faces), low, low, 3), dtype=torch.uint8, device=faces.device))


def enlarge(faces: Tensor, out: Tensor) -> Tensor:
    """Enlarge square faces, or copy them where they have the side already.

    Args:
        faces: (N, s, s, 3) uint8.
        out: (N, S, S, 3) float32 to write the whole numbers 0..255 to that `resample.resize` gives.

    Returns:
        `out`.
    """
    return out.copy_(faces) if faces.shape[1] == out.shape[1] else _resample(faces, out)


def _cache_runs(count: int, device: torch.device) -> list[tuple[int, int]]:
    """Cut `count` pictures into runs whose intermediate rows stay in a CPU's cache; one run on a GPU."""
    step = _CPU_RUN if device.type == "cpu" else max(count, 1)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


def _resample(faces: Tensor, out: Tensor) -> Tensor:
    """Resample (N, s, s, 3) uint8 to the side of out, (N, t, t, 3) of any type, and return out."""
    count, source = faces.shape[:2]
    target, device = out.shape[1], faces.device
    across = _interleaved_weights(source, target, device)
    down = _weights(source, target, device)
    half = torch.tensor(0.5, dtype=torch.float64, device=device)
    runs = _cache_runs(count, device)
    most = runs[0][1] if runs else 0
    # Memory that is used again for every run: fresh pages would cost more than the arithmetic.
    rows, narrow, levels = (
        torch.empty(shape, dtype=torch.float64, device=device)
        for shape in ((most * source, 3 * source), (most * source, 3 * target), (most, target, 3 * target))
    )
    for start, stop in runs:
        n = stop - start
        # (n, s, s, 3) -> (n s, 3 s): a row of pixels with its channels interleaved, as it lies in memory
        wide = rows[: n * source].copy_(faces[start:stop].reshape(n * source, 3 * source))
        # Pillow goes along the rows first, and rounds to whole levels, halves upwards, after each direction.
        slim = torch.addmm(half, wide, across, out=narrow[: n * source]).clamp_(0, 255).floor_()
        # (t, s) @ (n, s, 3 t) -> (n, t, 3 t)
        torch.baddbmm(half, down.expand(n, target, source), slim.view(n, source, 3 * target), out=levels[:n]).clamp_(
            0, 255
        ).floor_()
        # (n, t, 3 t) -> (n, t, t, 3)
        out[start:stop] = levels[:n].view(n, target, target, 3)
    return out


@lru_cache(maxsize=256)
def _weights(source: int, target: int, device: torch.device) -> Tensor:
    """Return the (target, source) float64 weights on the device."""
    return torch.tensor(kernel_weights(source, target) / WEIGHT_ONE, dtype=torch.float64, device=device)


@lru_cache(maxsize=256)
def _interleaved_weights(source: int, target: int, device: torch.device) -> Tensor:
    """Return the (3 source, 3 target) weights that treat three interleaved channels alike."""
    interleaved = np.kron(kernel_weights(source, target).T / WEIGHT_ONE, np.eye(3))
    return torch.tensor(interleaved, dtype=torch.float64, device=device)
