"""Bicubic resizing of whole batches by matrix products, for a GPU, bit for bit equal to Pillow's.

Resampling along an axis is a product with a small matrix of weights that are multiples of 2**-22
(`resample.kernel_weights`). Sums of their products with pixel values 0..255 need fewer than 53 bits, so float64
holds them exactly: the result equals Pillow's on every device and for every order of summation.
"""

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from pipeline.pixels.resample import WEIGHT_ONE, kernel_weights


def resample(faces: Tensor, out: Tensor) -> Tensor:
    """Reduce or enlarge square faces, or copy them where they have the side already.

    Args:
        faces: (N, s, s, 3) uint8.
        out: (N, t, t, 3) uint8 or float32 on the same device, to write the levels 0..255 to that `resample.resize`
            gives.

    Returns:
        `out`.
    """
    count, source = faces.shape[:2]
    target, device = out.shape[1], faces.device
    if source == target:
        return out.copy_(faces)
    # Filled there: to have a number copied to a GPU is to wait for it.
    half = torch.full((), 0.5, dtype=torch.float64, device=device)
    # (N, s, s, 3) -> (N s, 3 s): a row of pixels with its channels interleaved, as it lies in memory
    rows = faces.reshape(count * source, 3 * source).to(torch.float64)
    # Pillow goes along the rows first, and rounds to whole levels, halves upwards, after each direction.
    slim = torch.addmm(half, rows, _interleaved_weights(source, target, device)).clamp_(0, 255).floor_()
    # (t, s) @ (N, s, 3 t) -> (N, t, 3 t)
    down = _weights(source, target, device).expand(count, target, source)
    levels = torch.baddbmm(half, down, slim.view(count, source, 3 * target)).clamp_(0, 255).floor_()
    # (N, t, 3 t) -> (N, t, t, 3)
    return out.copy_(levels.view(count, target, target, 3))


@lru_cache(maxsize=256)
def _weights(source: int, target: int, device: torch.device) -> Tensor:
    """Return the (target, source) float64 weights on the device."""
    return torch.tensor(kernel_weights(source, target) / WEIGHT_ONE, dtype=torch.float64, device=device)


@lru_cache(maxsize=256)
def _interleaved_weights(source: int, target: int, device: torch.device) -> Tensor:
    """Return the (3 source, 3 target) weights that treat three interleaved channels alike."""
    interleaved = np.kron(kernel_weights(source, target).T / WEIGHT_ONE, np.eye(3))
    return torch.tensor(interleaved, dtype=torch.float64, device=device)
