"""Reduce and enlarge whole batches on their own device, bit by bit as Pillow does.

Resampling along an axis is a product with a small matrix of integer weights (`resample.kernel_weights`).
Products and sums of these integers stay below 2**53, so float64 holds them exactly: the result does not
depend on the device, on the order of summation or on a matrix unit's reduced precision, and equals Pillow's.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline.resample import WEIGHT_ONE, kernel_weights

# On a CPU a handful of pictures at a time keeps the intermediate rows in the cache.
_CPU_CHUNK = 8


def reduce(faces: Tensor, low: int) -> Tensor:
    """Reduce square faces.

    Args:
        faces: (N, S, S, 3) uint8.
        low: side of the reduced faces in pixels.

    Returns:
        (N, low, low, 3) uint8, equal to `resample.resize`.
    """
    count, size = faces.shape[:2]
    if low == size:
        return faces
    across = _interleaved_weights(size, low, faces.device)
    down = _weights(size, low, faces.device)
    reduced = torch.empty((count, low, low, 3), dtype=torch.uint8, device=faces.device)
    for start, stop in _chunks(count, faces.device):
        # (n, S, S, 3) -> (n S, 3 S): a row of pixels with its channels interleaved, as it lies in memory
        rows = faces[start:stop].reshape(-1, 3 * size).double()
        narrow = _to_levels(rows @ across).view(-1, size, 3 * low)
        # (low, S) @ (n, S, 3 low) -> (n, low, 3 low) -> (n, low, low, 3)
        reduced[start:stop] = _to_levels(down @ narrow).reshape(-1, low, low, 3)
    return reduced


def enlarge(faces: Tensor, size: int) -> Tensor:
    """Enlarge square faces and put their channels first, as the network takes them.

    Args:
        faces: (N, s, s, 3) uint8.
        size: side of the enlarged faces in pixels.

    Returns:
        (N, 3, size, size) float32 with the whole numbers 0..255 that `resample.resize` gives.
    """
    count, low = faces.shape[:2]
    planes = faces.permute(0, 3, 1, 2)
    if low == size:
        return planes.float().contiguous()
    weights = _weights(low, size, faces.device)
    enlarged = torch.empty((count, 3, size, size), dtype=torch.float32, device=faces.device)
    for start, stop in _chunks(count, faces.device):
        # (n, 3, s, s) @ (s, size) -> (n, 3, s, size); (size, s) @ that -> (n, 3, size, size)
        wide = _to_levels(planes[start:stop].double() @ weights.T)
        enlarged[start:stop] = _to_levels(weights @ wide)
    return enlarged


def _to_levels(sums: Tensor) -> Tensor:
    """Round weighted sums to whole levels 0..255 in place, halves upwards as Pillow does."""
    return sums.add_(WEIGHT_ONE // 2).div_(WEIGHT_ONE).floor_().clamp_(0, 255)


def _chunks(count: int, device: torch.device) -> list[tuple[int, int]]:
    step = _CPU_CHUNK if device.type == "cpu" else max(count, 1)
    return [(start, min(start + step, count)) for start in range(0, count, step)]


@lru_cache(maxsize=256)
def _weights(source: int, target: int, device: torch.device) -> Tensor:
    """Return the (target, source) float64 weights on the device."""
    return torch.tensor(kernel_weights(source, target), dtype=torch.float64, device=device)


@lru_cache(maxsize=256)
def _interleaved_weights(source: int, target: int, device: torch.device) -> Tensor:
    """Return the (3 source, 3 target) weights that treat three interleaved channels alike."""
    interleaved = np.kron(kernel_weights(source, target).T, np.eye(3))
    return torch.tensor(interleaved, dtype=torch.float64, device=device)
