"""Pixels to the network's input: enlarged to its side and scaled to [-1, 1], on whatever device they are."""

import torch
from torch import Tensor

from pipeline.device_resample import enlarge
from pipeline.host_kernels import enlarge_to_range


def to_network_range(pixels: Tensor) -> Tensor:
    """Scale pixel values 0..255 to the network's range.

    Args:
        pixels: any shape, uint8 or float.

    Returns:
        the same shape, float32 in [-1, 1].
    """
    return pixels.to(torch.float32, copy=True).div_(127.5).sub_(1)


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
        enlarge_to_range(faces.numpy(), out.numpy(), None if rows is None else rows.numpy())
    elif rows is None:
        enlarge(faces, out).div_(127.5).sub_(1)
    else:
        out[rows] = network_pixels(faces, size)
    return out
