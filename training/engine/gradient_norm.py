"""Shorten the gradient of a step that is too long; the length is that over all ranks."""

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from training.engine.step import Learner
from training.objectives.sharded_head import ShardedHead
from training.settings.config import Optimizer


def clip_gradients(learner: Learner, settings: Optimizer) -> Tensor | None:
    """Shorten the gradients to `settings.largest_norm` where they are longer; nothing waits for the device.

    Every rank must call it. Gradients that are averaged over ranks are the same on all; of a sharded head the squares
    of all ranks' rows are added up.

    Returns:
        the Euclidean length before, a scalar; None where there is no bound.
    """
    if not settings.largest_norm:
        return None
    backbone, head = list(learner.backbone.parameters()), list(learner.head.parameters())
    clipped = backbone if settings.clipped == "backbone" else [*backbone, *head]
    if isinstance(learner.head, ShardedHead) and settings.clipped == "all":
        of_rows = _norm(head).square()
        if dist.is_initialized():
            dist.all_reduce(of_rows)
        total = (_norm(backbone).square() + of_rows).sqrt()
    else:
        total = _norm(clipped)
    clip_grads_with_norm_(clipped, settings.largest_norm, total)
    return total


def _norm(parameters: list[torch.nn.Parameter]) -> Tensor:
    """Return the Euclidean length of the gradients of all parameters together, on their device."""
    gradients = [one.grad for one in parameters if one.grad is not None]
    return get_total_norm(gradients) if gradients else parameters[0].new_zeros(())
