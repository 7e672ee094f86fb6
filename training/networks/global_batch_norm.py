"""Batch normalisation over the global batch, so that no loss depends on the number of processes.

PyTorch's own synchronised batch norm knows GPUs only; the one here runs on whatever its processes share, gloo too.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm


class _Normalise(torch.autograd.Function):
    """(x - mean) / sqrt(variance + eps) by the statistics of all ranks' samples together."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, C, ...) float -> the same normalised, with the mean (C,), biased variance (C,) and count (1,) used."""
        places = [0, *range(2, x.ndim)]
        shape = [1, -1] + [1] * (x.ndim - 2)
        count = x.numel() // x.shape[1]
        sums = torch.cat([x.sum(places), x.new_tensor([float(count)])])
        dist.all_reduce(sums)
        total = sums[-1:]
        mean = sums[:-1] / total
        away = x - mean.view(shape)
        # Two passes: a mean of squares less the square of the mean would lose digits.
        variance = away.square().sum(places)
        dist.all_reduce(variance)
        variance /= total
        slope = (variance + eps).rsqrt()
        normal = away * slope.view(shape)
        ctx.save_for_backward(normal, slope, total)
        ctx.mark_non_differentiable(mean, variance, total)
        return normal, mean, variance, total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the sum of all ranks' losses (Ioffe and Szegedy, 2015, section 3)."""
        normal, slope, total = ctx.saved_tensors
        gradient = gradients[0]
        places = [0, *range(2, normal.ndim)]
        shape = [1, -1] + [1] * (normal.ndim - 2)
        sums = torch.stack([gradient.sum(places), (gradient * normal).sum(places)])
        dist.all_reduce(sums)
        constant, linear = (sums / total).unbind()
        return slope.view(shape) * (gradient - constant.view(shape) - normal * linear.view(shape)), None


class GlobalBatchNorm(_BatchNorm):
    """Batch norm of (N, C, ...) whose statistics in training are those of all ranks' samples.

    State and settings are those of `nn.BatchNorm1d` and `nn.BatchNorm2d`; without other processes, and in
    evaluation mode, so is the result. The gradient of the input is that of the sum of all ranks' losses, weight and
    bias get this rank's part: averaged over ranks, as data-parallel training does, all are those of one process
    with the global batch.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        if input.ndim < 2:
            raise ValueError(f"batch norm of a tensor of {input.ndim} dimensions; expected (N, C, ...)")

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...), of the same type."""
        by_batch = self.training or self.running_mean is None
        if not by_batch or not dist.is_initialized():
            return super().forward(input)
        self._check_input_dim(input)
        wide = input if input.dtype == torch.float64 else input.float()
        normal, mean, variance, total = _Normalise.apply(wide, self.eps)
        if total <= 1:
            raise ValueError(f"batch norm of {int(total)} sample in training; use a larger batch")
        if self.training and self.track_running_stats:
            self._track(mean, variance * total / (total - 1))
        if self.affine:
            shape = [1, -1] + [1] * (input.ndim - 2)
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics; the running variance is unbiased."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        # Without a momentum they are the plain averages over all batches.
        rate = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), rate)
        self.running_var.lerp_(variance.to(self.running_var.dtype), rate)


def over_global_batch(network: nn.Module, device: torch.device) -> nn.Module:
    """Make every batch norm of a network use the global batch, for training by several processes.

    Parameters and statistics stay the same tensors under the same names, so that optimisers and state dicts
    go on as they are.

    Args:
        network: changed in place, but for a network that is itself a batch norm.
        device: where it computes; a GPU gets PyTorch's synchronised batch norm, which is faster there.

    Returns:
        the network.
    """
    if device.type == "cuda":
        return nn.SyncBatchNorm.convert_sync_batchnorm(network)
    if isinstance(network, _BatchNorm) and not isinstance(network, GlobalBatchNorm):
        return _global(network)
    for name, child in network.named_children():
        setattr(network, name, over_global_batch(child, device))
    return network


def _global(norm: _BatchNorm) -> GlobalBatchNorm:
    """Return a global batch norm that shares the tensors of another."""
    with torch.device("meta"):
        made = GlobalBatchNorm(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    made.weight, made.bias = norm.weight, norm.bias
    made.running_mean, made.running_var = norm.running_mean, norm.running_var
    made.num_batches_tracked = norm.num_batches_tracked
    return made.train(norm.training)
