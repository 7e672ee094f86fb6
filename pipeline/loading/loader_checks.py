"""Checks of the loader's arguments."""

from collections.abc import Sequence

import torch

from pipeline.sampling.views import Views
from shards.command import UserError
from shards.index import ShardIndex


def check_request(
    indexes: Sequence[ShardIndex],
    views: Views,
    most: Sequence[int],
    *,
    global_batch: int,
    world: int,
    device: str,
    seed: int,
) -> None:
    """Refuse a batch that the folders, the processes or the machine cannot give.

    Args:
        indexes: of each folder of photos.
        views: of each identity.
        most: most identities of a batch from each folder.
        global_batch: identities in the batch of all ranks.
        world: number of processes.
        device: "cpu" or "gpu".
        seed: of the run.

    Raises:
        UserError: an argument does not fit the shard folders or the machine.
    """
    if global_batch < 1:
        raise UserError(f"a batch of {global_batch} identities; give at least 1")
    if global_batch % world:
        raise UserError(
            f"a global batch of {global_batch} identities for {world} processes; "
            "set a batch that the number of processes divides"
        )
    for index, count in zip(indexes, most, strict=True):
        if count > index.identities:
            raise UserError(
                f"a batch of {count} identities needed from {index.folder}, which holds {index.identities}; "
                f"set a batch of at most {index.identities}"
                + ("" if len(most) == 1 else ", or a smaller share of this folder")
            )
    size = indexes[0].manifest.preprocessing.size
    if too_large := [side for _, side in views.ranges if side > size]:
        raise UserError(
            f"a view of {too_large[0]} pixels requested, but {indexes[0].folder} holds {size} x {size} faces; "
            f"request views of at most {size} pixels or write the folder with a larger --size"
        )
    if seed < 0:
        raise UserError(f"seed {seed}; give 0 or more")
    refuse_absent_gpu(device)


def refuse_absent_gpu(device: str) -> None:
    """Refuse the device "gpu" where there is none.

    Raises:
        UserError: torch finds no GPU.
    """
    if device == "gpu" and not torch.cuda.is_available():
        raise UserError("device gpu requested, but torch finds no GPU; use --device cpu")
