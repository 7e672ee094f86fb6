"""Pictures shared among the processes that torchrun started: each embeds whole batches, and all get all embeddings.

Batches are those of one process, so that every embedding is the same to the last bit.
"""

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray

from shards.command import UserError
from training.ranks.world import World, gather_objects, wait_for_all


def gathered(
    world: World,
    count: int,
    own: NDArray[np.float32] | None,
    faults: dict[str, str],
    counts: tuple[int, int],
    mistake: UserError | None,
) -> tuple[NDArray[np.float32] | None, dict[str, str], tuple[int, int]]:
    """Put together what all processes embedded; every process must call it.

    Args:
        world: the processes.
        count: pictures of all of them.
        own: (count, D), NaN but for this process's; None where it embedded none.
        faults: reason by name, of this process's.
        counts: of this process.
        mistake: that ended its work.

    Returns:
        (count, D), or None where nobody embedded any; everybody's faults, and the sums of the counts.

    Raises:
        UserError: a process made a mistake; the first one's.
    """
    # The others may take long, and a step's patience is short.
    wait_for_all(world)
    told = gather_objects(
        (0 if own is None else own.shape[1], faults, counts, None if mistake is None else str(mistake))
    )
    if mistakes := [text for *_, text in told if text is not None]:
        raise UserError(mistakes[0])
    together = {name: reason for _, each, _, _ in told for name, reason in each.items()}
    sums = sum(one for _, _, (one, _), _ in told), sum(two for _, _, (_, two), _ in told)
    length = max(size for size, *_ in told)
    if not length:
        return None, together, sums
    mine = torch.zeros(count, length) if own is None else torch.from_numpy(np.nan_to_num(own, nan=0.0))
    known = torch.zeros(count, dtype=torch.uint8)
    if own is not None:
        known[torch.from_numpy(np.isfinite(own).all(axis=1))] = 1
    # Of every row one process alone holds anything: a sum with zeros is exact.
    for tensor in (mine, known):
        dist.all_reduce(tensor, group=world.patient)
    vectors: NDArray[np.float32] = mine.numpy()
    vectors[known.numpy() == 0] = np.nan
    return vectors, together, sums
