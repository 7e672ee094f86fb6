"""Random permutations with constant-time lookup of any position.

A Feistel network permutes the numbers below a power of four; places beyond the wanted length are walked on along
their cycle (Black and Rogaway, "Ciphers with Arbitrary Finite Domains", 2002).
"""

import numpy as np
from numpy.typing import NDArray

ROUNDS = 8


def permute(places: NDArray[np.int64], lengths: NDArray[np.int64] | int, keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Look up values in keyed permutations.

    Args:
        places: (N,), each in 0..length - 1 of its permutation.
        lengths: length of the permutation of each place, (N,), or one length for all.
        keys: (`ROUNDS`,) for one permutation, or (`ROUNDS`, N) for one of each place's own.

    Returns:
        (N,) int64; over all places of one permutation every number below its length, once.
    """
    bounds = np.broadcast_to(np.asarray(lengths, dtype=np.uint64), places.shape)
    # Two halves of h bits hold the numbers below the length: 4**h >= length.
    half_bits = np.maximum(1, np.ceil(np.log2(np.maximum(bounds, 2)) / 2)).astype(np.uint64)
    keys = np.broadcast_to(keys.reshape(len(keys), -1), (len(keys), *places.shape))
    values = _feistel(places.astype(np.uint64), half_bits, keys)
    while (outside := values >= bounds).any():
        values[outside] = _feistel(values[outside], half_bits[outside], keys[:, outside])
    return values.astype(np.int64)


def keys_of(members: NDArray[np.int64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return (`ROUNDS`, N) keys, other ones for every member, from (`ROUNDS`,) keys that they share."""
    return _mix(keys[:, None] ^ _mix(members.astype(np.uint64))[None, :])


def _feistel(values: NDArray[np.uint64], half_bits: NDArray[np.uint64], keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Permute the numbers below 4**half_bits."""
    mask = (np.uint64(1) << half_bits) - np.uint64(1)
    left, right = values >> half_bits, values & mask
    for key in keys:
        left, right = right, left ^ (_mix(right ^ key) & mask)
    return (left << half_bits) | right


def _mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread every bit over the whole word (the finaliser of splitmix64; Steele et al., 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
