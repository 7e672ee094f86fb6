"""The operators of ONNX that move a window over a picture: convolution and pooling, of one to three dimensions.

After the operators' definitions in the ONNX specification; called as those of `training.peers.onnx_operators`.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

_CONVOLUTIONS = (functional.conv1d, functional.conv2d, functional.conv3d)
_MAX_POOLS = (functional.max_pool1d, functional.max_pool2d, functional.max_pool3d)


def conv(a: dict[str, Any], x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """(N, C, ...) -> (N, D, ...)."""
    places = weight.ndim - 2
    strides, dilations = _steps(a, places)
    before, after = _pads(a, x, weight.shape[2:])
    if before != after:
        x, before = _padded(x, before, after, 0.0), [0] * places
    out: Tensor = _CONVOLUTIONS[places - 1](x, weight, bias, strides, before, dilations, a.get("group", 1))
    return out


def max_pool(a: dict[str, Any], x: Tensor) -> Tensor:
    """(N, C, ...) -> the same rank; of the two outputs the first."""
    kernel = a["kernel_shape"]
    strides, dilations = _steps(a, len(kernel))
    x = _padded(x, *_reached(a, x, kernel), -torch.inf)
    out: Tensor = _MAX_POOLS[len(kernel) - 1](x, kernel, strides, 0, dilations)
    return out


def average_pool(a: dict[str, Any], x: Tensor) -> Tensor:
    """(N, C, ...) -> the same rank."""
    kernel = a["kernel_shape"]
    places = len(kernel)
    strides, dilations = _steps(a, places)
    before, after = _pads(a, x, kernel)
    _, reached = _reached(a, x, kernel)
    # What lies beyond the padding is never counted.
    beyond = [end - pad for end, pad in zip(reached, after, strict=True)]
    counted = _padded(torch.ones_like(x[:1, :1]), before, after, float(a.get("count_include_pad", 0)))
    counted = _padded(counted, [0] * places, beyond, 0.0)
    convolve = _CONVOLUTIONS[places - 1]
    channels = x.shape[1]
    # (C, 1, K, ...): a sum over each window, channel by channel.
    ones = torch.ones((channels, 1, *kernel), dtype=x.dtype, device=x.device)
    total: Tensor = convolve(_padded(x, before, reached, 0.0), ones, None, strides, 0, dilations, channels)
    number: Tensor = convolve(counted, ones[:1], None, strides, 0, dilations)
    return total / number


def _steps(a: dict[str, Any], places: int) -> tuple[list[int], list[int]]:
    return a.get("strides", [1] * places), a.get("dilations", [1] * places)


def _dimensions(a: dict[str, Any], x: Tensor, kernel: Sequence[int]) -> list[tuple[int, int, int]]:
    """Return of each dimension the side, the stride, and the places from a window's first to its last."""
    strides, dilations = _steps(a, len(kernel))
    windows = [(one - 1) * dilation + 1 for one, dilation in zip(kernel, dilations, strict=True)]
    return list(zip(x.shape[2:], strides, windows, strict=True))


def _pads(a: dict[str, Any], x: Tensor, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the padding before and after each dimension."""
    places, automatic = len(kernel), a.get("auto_pad", "NOTSET")
    if automatic.startswith("SAME"):
        total = [
            max((-(-side // stride) - 1) * stride + window - side, 0)
            for side, stride, window in _dimensions(a, x, kernel)
        ]
        small, large = [one // 2 for one in total], [one - one // 2 for one in total]
        return (small, large) if automatic == "SAME_UPPER" else (large, small)
    pads = [0] * 2 * places if automatic == "VALID" else list(a.get("pads", [0] * 2 * places))
    return pads[:places], pads[places:]


def _reached(a: dict[str, Any], x: Tensor, kernel: Sequence[int]) -> tuple[list[int], list[int]]:
    """Return the padding, with that after each dimension as far as the last window reaches in ceil mode."""
    before, after = _pads(a, x, kernel)
    if not a.get("ceil_mode"):
        return before, after
    reached = []
    for (side, stride, window), first, last in zip(_dimensions(a, x, kernel), before, after, strict=True):
        steps = -(-(side + first + last - window) // stride)
        # A window that would begin in the padding after the picture is left out.
        if steps * stride >= side + first:
            steps -= 1
        reached.append(steps * stride + window - side - first)
    return before, reached


def _padded(x: Tensor, before: Sequence[int], after: Sequence[int], fill: float) -> Tensor:
    if not any(before) and not any(after):
        return x
    # torch names the last dimension first, and both sides of each; a negative side cuts off.
    pairs = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
    return functional.pad(x, pairs, value=fill)
