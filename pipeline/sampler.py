"""Which photos form a batch: arithmetic, without state.

Everything is a pure function of (seed, step): a run resumes from one integer, and the batches of all ranks
put together are the same global batch for every world size. The cost of a step does not depend on the size
of the data set: the order of identities in an epoch is a keyed permutation that is evaluated only at the
places a batch needs (a Feistel network; places beyond the data set are walked on along their cycle, Black and
Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_FEISTEL_ROUNDS = 8
# Streams keep the random numbers of different purposes apart under one seed.
_ORDER_STREAM, _PHOTO_STREAM, _SUBSTITUTE_STREAM = 0, 1, 2


@dataclass(frozen=True)
class Draw:
    """The photos of one rank's part of a batch, one row per identity.

    Attributes:
        identities: (B,) int64 labels, all different.
        photos: (B, V) int64 rows of the shard index, one photo per view.
        mirrored: (B, V) bool, whether the view is mirrored left-right.
        first_row: place of the first row in the global batch.
    """

    identities: NDArray[np.int64]
    photos: NDArray[np.int64]
    mirrored: NDArray[np.bool_]
    first_row: int


def steps_per_epoch(identities: int, global_batch: int) -> int:
    """Return the number of full batches in which an epoch visits identities, at most once each.

    The identities left over when the batch does not divide them are others in every epoch.
    """
    return identities // global_batch


def epoch_order(places: NDArray[np.int64], identities: int, *, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return the identities that stand at the given places of an epoch's order.

    Over all places 0..identities - 1 the result is a permutation of the identities.

    Args:
        places: (N,) int64, each in 0..identities - 1.
        identities: size of the data set.
        seed: of the run.
        epoch: number of the epoch.

    Returns:
        (N,) int64.
    """
    half_bits = max(1, (max(identities - 1, 1).bit_length() + 1) // 2)
    state = np.random.SeedSequence((seed, _ORDER_STREAM, epoch))
    keys = state.generate_state(_FEISTEL_ROUNDS, np.uint64).astype(np.uint64)
    order = _feistel(places.astype(np.uint64), half_bits, keys)
    while (outside := order >= identities).any():
        order[outside] = _feistel(order[outside], half_bits, keys)
    return order.astype(np.int64)


def draw(
    first: NDArray[np.int64],
    *,
    views: int,
    mirror: float,
    seed: int,
    step: int,
    global_batch: int,
    rank: int = 0,
    world: int = 1,
) -> Draw:
    """Draw one rank's part of the batch of a step.

    Every view of an identity takes one of its photos, independently, uniformly and with replacement (Lai and
    Lam, 2021), and is mirrored independently.

    Args:
        first: (identities + 1,) int64, the first photo of each identity in the shard index.
        views: views per identity.
        mirror: probability 0..1 that a view is mirrored.
        seed: of the run.
        step: number of the step, from 0 over all epochs.
        global_batch: identities in the batch of all ranks.
        rank: of this process.
        world: number of processes.
    """
    identities = len(first) - 1
    assert 0 < global_batch <= identities and global_batch % world == 0 and 0 <= rank < world
    epoch, batch = divmod(step, steps_per_epoch(identities, global_batch))
    places = np.arange(batch * global_batch, (batch + 1) * global_batch)
    labels = epoch_order(places, identities, seed=seed, epoch=epoch)
    generator = np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, _PHOTO_STREAM, step))))
    # (B, 1) against (B, V)
    starts, ends = first[labels, None], first[labels + 1, None]
    photos = generator.integers(starts, ends, size=(global_batch, views))
    mirrored = generator.random((global_batch, views)) < mirror
    share = global_batch // world
    mine = slice(rank * share, (rank + 1) * share)
    return Draw(labels[mine], photos[mine], mirrored[mine], first_row=mine.start)


def substitutes(first_photo: int, last_photo: int, *, seed: int, step: int, row: int, view: int) -> NDArray[np.int64]:
    """Return an identity's photos in the order in which they stand in for an unusable one.

    Args:
        first_photo: of the identity in the shard index.
        last_photo: one past its last.
        seed: of the run.
        step: number of the step.
        row: place of the identity in the global batch.
        view: of the unusable photo.

    Returns:
        (last_photo - first_photo,) int64, a permutation.
    """
    key = np.random.SeedSequence((seed, _SUBSTITUTE_STREAM, step, row, view))
    return np.random.Generator(np.random.Philox(key)).permutation(np.arange(first_photo, last_photo))


def _feistel(values: NDArray[np.uint64], half_bits: int, keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Permute the numbers below 2**(2 half_bits)."""
    bits, mask = np.uint64(half_bits), np.uint64((1 << half_bits) - 1)
    left, right = values >> bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << bits) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over the whole word (the finaliser of splitmix64; Steele et al., 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
