"""The number of identities that each shard folder gives to a batch; exact over many steps."""

import math
from collections.abc import Sequence
from fractions import Fraction

from shards.command import UserError


def read_shares(mix: Sequence[float], folders: int) -> tuple[Fraction, ...]:
    """Return each folder's share of a batch, as exact fractions that sum to one.

    Args:
        mix: a positive number for each folder, in proportion; empty for equal shares.
        folders: their number.

    Raises:
        UserError: another number of shares than folders, or one that is not positive.
    """
    if not mix:
        return (Fraction(1, folders),) * folders
    if len(mix) != folders:
        raise UserError(f"{len(mix)} mix shares for {folders} shard folders; give one for each")
    if not all(share > 0 and math.isfinite(share) for share in mix):
        raise UserError(f"mix shares {' '.join(map(str, mix))}; give a positive number for each folder")
    exact = [Fraction(str(share)) for share in mix]
    return tuple(share / sum(exact) for share in exact)


def identities_before_step(shares: Sequence[Fraction], batch: int, step: int) -> list[int]:
    """Return how many identities each folder has given before a step.

    The first folder has given its share rounded down, the second its share of what is left, and so on, so that
    every step's counts add up to the batch, and a folder's total stays within one for each folder before it and
    itself of its exact share.

    >>> third = (Fraction(1, 3), Fraction(2, 3))
    >>> [identities_before_step(third, 4, step) for step in range(4)]
    [[0, 0], [1, 3], [2, 6], [4, 8]]
    """
    left, share_left = batch * step, Fraction(1)
    counts = []
    for share in shares[:-1]:
        counts.append(math.floor(left * share / share_left))
        left -= counts[-1]
        share_left -= share
    return [*counts, left]


def most_identities_per_batch(shares: Sequence[Fraction], batch: int) -> list[int]:
    """Return the most identities that one batch may take from each folder."""
    left, share_left = batch, Fraction(1)
    most = []
    for share in shares:
        most.append(math.ceil(left * share / share_left))
        # What remains for later folders if this one gives its minimum.
        left -= math.floor(left * share / share_left) if share < share_left else left
        share_left -= share
    return most
