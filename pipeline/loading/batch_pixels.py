"""Resizing, mirroring and scaling of whole batches, on a CPU or a GPU.

The CPU and the GPU use different algorithms with the same result, Pillow's (`pipeline.pixels.resample`).
"""

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.pixels import resample_on_cpu as host_resample
from pipeline.pixels import resample_on_gpu as device_resample


def reduce(faces: Tensor, low: int) -> Tensor:
    """Reduce square faces.

    Args:
        faces: (N, S, S, 3) uint8.
        low: side of the reduced faces in pixels, at most S.

    Returns:
        (N, low, low, 3) uint8, equal to `resample.resize`; the faces themselves where they have that side.
    """
    if low == faces.shape[1]:
        return faces
    if faces.device.type == "cpu":
        return torch.from_numpy(host_resample.reduce(faces.numpy(), low))
    return device_resample.resample(
        faces, torch.empty((len(faces), low, low, 3), dtype=torch.uint8, device=faces.device)
    )


def mirror(faces: Tensor, mirrored: NDArray[np.bool_]) -> Tensor:
    """Return a copy of (N, s, s, 3) faces, those mirrored left-right of which `mirrored`, (N,) bool, says so."""
    if faces.device.type != "cpu":
        turned = torch.from_numpy(mirrored).to(faces.device)
        return torch.where(turned[:, None, None, None], faces.flip(2), faces)
    pixels = faces.numpy()
    # Torch would copy in threads, which then wait actively on the cores that decode the next photos.
    copies = pixels.copy()
    for row in np.flatnonzero(mirrored):
        cv2.flip(pixels[row], 1, copies[row])
    return torch.from_numpy(copies)


def to_network_range(pixels: Tensor) -> Tensor:
    """Scale pixel values 0..255 to the network's range.

    Args:
        pixels: any shape, uint8 or float.

    Returns:
        the same shape, float32 in [-1, 1].
    """
    return _scale(pixels.to(torch.float32, copy=True))


def _scale(levels: Tensor) -> Tensor:
    """Scale float32 levels 0..255 in their place to [-1, 1], to the same bits on every device."""
    # By a plain number a GPU does not divide: it multiplies by the reciprocal, which rounds otherwise.
    half = torch.full((), 127.5, device=levels.device)
    return levels.div_(half).sub_(1)


def network_pixels(faces: Tensor, size: int, out: Tensor | None = None, rows: Tensor | None = None) -> Tensor:
    """Enlarge square faces and scale them to the network's range.

    Args:
        faces: (n, s, s, 3) uint8, s at most `size`.
        size: side of the enlarged faces in pixels.
        out: (N, size, size, 3) contiguous float32 to write to, on the faces' device; None for a new tensor.
        rows: (n,) int64, where in `out` each face goes; None for all of it in turn.

    Returns:
        `out`, or (n, size, size, 3), float32 in [-1, 1]: the levels that `resample.resize` gives, scaled.
    """
    if out is None:
        out = torch.empty((len(faces), size, size, 3), dtype=torch.float32, device=faces.device)
    if faces.device.type == "cpu":
        host_resample.enlarge_to_range(faces.numpy(), out.numpy(), None if rows is None else rows.numpy())
    elif rows is None:
        _scale(device_resample.resample(faces, out))
    else:
        out[rows] = network_pixels(faces, size)
    return out
