"""How the classes are divided among the ranks, and what is drawn for each class; pure arithmetic.

Whatever is drawn for a class is drawn in blocks of classes, from a seed and the number of the block: every rank draws
what its own classes need and little more, and the same for every number of ranks.
"""

from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from training.settings.head import Initial

_BLOCK = 4096
_SAMPLE_BLOCK = 65_536

# Apart from the streams of whatever else is drawn by the seed.
_OF_SAMPLES = 1
_OF_ROWS = 2

# Of the entries of a matrix that begins "normal".
_DEVIATION = 0.01


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

    The first block of classes is what torch's generator gives next, as `uniform_` or `normal_` would fill a matrix of
    so few classes, and the seed of all other blocks comes behind it: a matrix of up to 4,096 classes is what it was
    before blocks had seeds of their own. A rank draws no rows of the others' but those of the first and its own blocks.

    Args:
        classes: those of a rank.
        embedding_size: length of a row.
        initial: as of `training.settings.config.Head`.
    """
    first = torch.empty(_BLOCK, embedding_size)
    if initial == "normal":
        first.normal_(std=_DEVIATION)
    else:
        first.uniform_(-1, 1)
    seed = int(torch.randint(torch.iinfo(torch.int64).max, ()))
    rows = torch.empty(len(classes), embedding_size)
    for block, part, place in _blocks(classes, _BLOCK):
        drawn = _drawn_rows([_OF_ROWS, seed, block], embedding_size, initial) if block else first
        rows[place] = drawn[part.start : part.stop]
    return F.normalize(rows, out=rows) if initial == "unit" else rows


def _drawn_rows(seed: list[int], embedding_size: int, initial: Initial) -> Tensor:
    """Return the rows of a block: (_BLOCK, embedding_size) float32."""
    random, shape = np.random.default_rng(seed), (_BLOCK, embedding_size)
    if initial == "normal":
        return torch.from_numpy(random.standard_normal(shape, dtype=np.float32)).mul_(_DEVIATION)
    return torch.from_numpy(random.random(shape, dtype=np.float32)).mul_(2).sub_(1)


def sampled_classes(classes: range, rate: float, seed: int, step: int) -> NDArray[np.int64]:
    """Return which of some classes are drawn as negatives at a step, each by itself with probability `rate`.

    Drawn are the distances from each sampled class to the next, which are geometric (exponential ones rounded up;
    Devroye, 1986, section X.2), so that the cost is that of the classes sampled and not of all.

    Args:
        classes: those of a rank.
        rate: above 0 and below 1.
        seed: of the run.
        step: number of the step.

    Returns:
        their places among the classes, ascending: (K,) int64, 0..len(classes) - 1.
    """
    found, rate_of_none = [np.empty(0, dtype=np.int64)], -np.log1p(-rate)
    for block, part, place in _blocks(classes, _SAMPLE_BLOCK):
        random = np.random.default_rng([_OF_SAMPLES, seed, step, block])
        inside, last = [np.empty(0, dtype=np.int64)], -1
        while last < part.stop:
            # Enough in all but one of thousands of blocks; where it is not, the next numbers follow.
            count = int((part.stop - last) * rate + 4 * np.sqrt((part.stop - last) * rate)) + 1
            # No distance needs to be longer than a block; of minute rates they are too long to be added up.
            distances = np.ceil(random.standard_exponential(count) / rate_of_none).clip(1, _SAMPLE_BLOCK)
            inside.append(last + np.cumsum(distances.astype(np.int64)))
            last = int(inside[-1][-1])
        drawn = np.concatenate(inside)
        found.append(drawn[(drawn >= part.start) & (drawn < part.stop)] + (place.start - part.start))
    return np.concatenate(found)


def _blocks(classes: range, size: int) -> Iterator[tuple[int, range, slice]]:
    """Yield each block of a size that some classes touch: its number, their places in it, its places among them."""
    first = classes.start
    while first < classes.stop:
        block = first // size
        last = min(classes.stop, (block + 1) * size)
        yield (
            block,
            range(first - block * size, last - block * size),
            slice(first - classes.start, last - classes.start),
        )
        first = last


def shard_state(full: Tensor, rank: int, size: int) -> Tensor:
    """Return a rank's rows of the whole, for any number of ranks: (C, D) -> (classes of the rank, D), a copy."""
    classes = shard_range(len(full), rank, size)
    return full[classes.start : classes.stop].clone()
