"""Processes, ranks and what they say to each other."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_TIMEOUT = timedelta(minutes=5)


@dataclass(frozen=True)
class World:
    """A process among all processes of the run.

    Attributes:
        rank: 0..size - 1.
        size: number of processes.
        local_size: number of processes on this machine.
        device: where this process computes.
    """

    rank: int
    size: int
    local_size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes files and speaks."""
        return self.rank == 0


@contextmanager
def joined_world(device: str) -> Iterator[World]:
    """Join the processes that torchrun started; a single process without torchrun is a world of its own.

    Args:
        device: "cpu" (gloo) or "gpu" (NCCL, one GPU a process).
    """
    rank = int(os.environ.get("RANK", "0"))
    size = int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_size = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    place = torch.device("cuda", local_rank) if device == "gpu" else torch.device("cpu")
    if device == "gpu":
        torch.cuda.set_device(place)
    else:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // local_size))
    if size > 1:
        # Tensors of the GPU go by NCCL; stop requests are numbers of the host and go by gloo.
        backend = "cpu:gloo,cuda:nccl" if device == "gpu" else "gloo"
        dist.init_process_group(backend, rank=rank, world_size=size, timeout=_TIMEOUT)
    try:
        yield World(rank, size, local_size, place)
    finally:
        if size > 1:
            dist.destroy_process_group()


class _GatherRows(torch.autograd.Function):
    """All ranks' rows, with the gradient flowing back to the rank that each row came from."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        """Put the rows of all ranks together: (N, D) -> (W N, D)."""
        ctx.place = slice(dist.get_rank() * len(rows), (dist.get_rank() + 1) * len(rows))
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows.contiguous())
        return torch.cat(gathered)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        """Add up every rank's gradient of this rank's rows: (W N, D) -> (N, D)."""
        total = gradients[0].contiguous()
        dist.all_reduce(total)
        return total[ctx.place]


def gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all ranks in order of rank: (N, ...) -> (W N, ...); gradients flow back."""
    if not dist.is_initialized():
        return rows
    gathered: Tensor = _GatherRows.apply(rows)
    return gathered


def mean_over_ranks(values: Tensor) -> Tensor:
    """Return the mean of a detached tensor over all ranks."""
    if not dist.is_initialized():
        return values
    total = values.clone()
    dist.all_reduce(total)
    return total / dist.get_world_size()


def any_rank(flag: bool) -> bool:
    """Tell every rank whether any of them raised a flag; a number of the host, so no GPU waits for it."""
    if not dist.is_initialized():
        return flag
    raised = torch.tensor(int(flag))
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised)
