"""How the classes are divided among the ranks, and what is drawn for each class; pure arithmetic, then the exchange.

Samples are drawn in blocks of classes, from (seed, step, number of the block): every rank draws what its own classes
need, and the same for every number of ranks.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.ranks.world import World
from training.settings.head import Initial

_BLOCK = 4096
_SEND_ROWS = 65_536

# Apart from the streams of whatever else is drawn by the seed.
_OF_SAMPLES = 1


def shard_range(identities: int, rank: int, size: int) -> range:
    """Return the classes of a rank: consecutive, all ranks' counts within one of each other.

    >>> [shard_range(10, rank, 4) for rank in range(4)]
    [range(0, 3), range(3, 6), range(6, 8), range(8, 10)]
    """
    each, more = divmod(identities, size)
    first = rank * each + min(rank, more)
    return range(first, first + each + (rank < more))


def initial_rows(classes: range, embedding_size: int, initial: Initial = "uniform") -> Tensor:
    """Return the initial rows of some classes: (len(classes), embedding_size) float32.

    They are drawn from torch's generator in blocks of classes, so that a rank passes over the rows before its own
    without the whole matrix anywhere. Uniform ones are those that `uniform_` would give the whole matrix.

    Args:
        classes: those of a rank.
        embedding_size: length of a row.
        initial: as of `training.settings.config.Head`.
    """
    rows = torch.empty(len(classes), embedding_size)
    for first in range(0, classes.stop, _BLOCK):
        block = torch.empty(_BLOCK, embedding_size)
        if initial == "normal":
            block.normal_(std=0.01)
        else:
            block.uniform_(-1, 1)
        own = block[max(0, classes.start - first) : classes.stop - first]
        place = max(first, classes.start) - classes.start
        rows[place : place + len(own)] = own
    return F.normalize(rows) if initial == "unit" else rows


def sampled_classes(classes: range, rate: float, seed: int, step: int) -> NDArray[np.bool_]:
    """Tell which of some classes are drawn as negatives at a step: (len(classes),), each with probability `rate`."""
    drawn = np.empty(len(classes), dtype=np.bool_)
    for block, part, place in _blocks(classes):
        numbers = np.random.default_rng([_OF_SAMPLES, seed, step, block]).random(_BLOCK, dtype=np.float32)
        drawn[place] = numbers[part.start : part.stop] < rate
    return drawn


def _blocks(classes: range) -> Iterator[tuple[int, range, slice]]:
    """Yield each block that some classes touch: its number, their places in it, its places among them."""
    first = classes.start
    while first < classes.stop:
        block = first // _BLOCK
        last = min(classes.stop, (block + 1) * _BLOCK)
        yield (
            block,
            range(first - block * _BLOCK, last - block * _BLOCK),
            slice(first - classes.start, last - classes.start),
        )
        first = last


def full_state(rows: Tensor, identities: int, world: World) -> Tensor | None:
    """Gather the rows of all shards on rank 0, in the order of classes; every rank must call it.

    For weights, and for whatever an optimiser keeps for each of them, such as momentum. Rows travel in blocks, so
    that no rank but 0 ever holds more than its own; the last rank waits for as long as all others take.

    Args:
        rows: (classes of this rank, D).
        identities: number of classes C.
        world: this process among all.

    Returns:
        (C, D) on the CPU at rank 0, None elsewhere.
    """
    if world.size == 1:
        return rows.detach().cpu().clone()
    if not world.is_main:
        for block in rows.detach().split(_SEND_ROWS):
            dist.send(block.cpu().contiguous(), 0, group=world.patient)
        return None
    full = torch.empty(identities, *rows.shape[1:], dtype=rows.dtype)
    full[: len(rows)] = rows.detach()
    for rank in range(1, world.size):
        classes = shard_range(identities, rank, world.size)
        for block in full[classes.start : classes.stop].split(_SEND_ROWS):
            # A block of rows is contiguous and shares the memory of the whole.
            dist.recv(block, rank, group=world.patient)
    return full


def shard_state(full: Tensor, rank: int, size: int) -> Tensor:
    """Return a rank's rows of the whole, for any number of ranks: (C, D) -> (classes of the rank, D), a copy."""
    classes = shard_range(len(full), rank, size)
    return full[classes.start : classes.stop].clone()
