"""Tell whether tensors are finite: gradients without waiting for the device, and the tensors of a checkpoint."""

import math
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

_NAMED = 3


def gradient_norms(parameters: Iterable[nn.Parameter]) -> Tensor:
    """Return the Euclidean norm of every parameter's gradient, 0 where it has none: (P,), on their device.

    A norm is finite only where the whole gradient is. One pass over the gradients; waits for nothing.
    """
    gradients = [one.grad if one.grad is not None else one.new_zeros(1) for one in parameters]
    return torch.stack(torch._foreach_norm(gradients))


def not_finite(tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the names of the tensors that hold a NaN or an infinity; waits for the device once."""
    names = [name for name, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel()]
    if not names:
        return []
    # The greatest absolute value: unlike other norms it overflows for no finite tensor, and it needs no memory.
    greatest = torch._foreach_norm([tensors[name].detach() for name in names], math.inf)
    return [name for name, value in zip(names, torch.stack(greatest).tolist(), strict=True) if not math.isfinite(value)]


def listed(names: list[str]) -> str:
    """Name the first few of many.

    >>> listed(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
