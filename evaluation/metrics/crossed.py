"""Verification over every probe with every gallery entry, whose scores may be too many to keep.

Half a million probes of ten thousand people make 5 10^9 scores. What a figure needs of the non-mated ones is how many
stand at or above each mated score; these are whole numbers, counted block by block, so that every figure is exact.
Intervals need to know who is in each comparison: of too many the highest are kept, which low false accept rates rest
on, and a random sample of the rest, which stands for it.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.identification import mated_blocks
from evaluation.metrics.verification import FloatArray, crossing

KEPT = 1_000_000
"""Non-mated scores kept at most, half of them the highest."""
_AT_ONCE = 1 << 21


@dataclass(frozen=True)
class Crossed:
    """All comparisons of probes with gallery entries.

    Attributes:
        mated: (P,) scores of mated comparisons; -inf of one that could not be made and counts as rejected.
        count: number of non-mated comparisons.
        at_least: (P,) number of non-mated scores at least as high as each mated one.
        above: (P,) number of them strictly above it.
        scores: (K,) non-mated scores that were kept.
        rows: (K,) probe of each.
        columns: (K,) gallery entry of each.
        weights: (K,) how many comparisons each stands for; 1 where all were kept.
        highest: scores from the highest down, as far as all of them were kept.
    """

    mated: FloatArray
    count: int
    at_least: NDArray[np.int64]
    above: NDArray[np.int64]
    scores: FloatArray
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    weights: FloatArray
    highest: FloatArray

    @property
    def empty(self) -> bool:
        """Whether there are no comparisons of one kind."""
        return not (self.mated.size and self.count)

    def accepted(self, far: float) -> int:
        """Return how many non-mated comparisons a false accept rate lets pass at most."""
        return int(Fraction(str(far)) * self.count)

    def tar_at_far(self, far: float) -> float:
        """Return the share of mated scores above the threshold, as `verification.tar_at_far`; NaN without either."""
        if self.empty:
            return float("nan")
        # Above the score at place k means that no more than k non-mated ones are as high.
        passes = (self.at_least <= self.accepted(far)) & (self.mated > -np.inf)
        return float(passes.mean())

    def threshold(self, far: float) -> float | None:
        """Return `verification.threshold_at_rate`; None where that score was not kept, or every score passes."""
        place = self.accepted(far)
        return float(self.highest[place]) if place < len(self.highest) else None

    def auc(self) -> float:
        """Return the chance that a mated score is above a non-mated one, ties half, as `verification.auc`."""
        if self.empty:
            return float("nan")
        won = 2 * self.count - self.at_least - self.above
        return int(won[self.mated > -np.inf].sum()) / (2 * self.mated.size * self.count)

    def roc(self) -> tuple[FloatArray, FloatArray]:
        """Return FAR and TAR where either bends, from (0, 0) to (1, 1), as `verification.roc` but for points between.

        For every mated score from the highest down: before it passes, and as it does.
        """
        order = np.argsort(-self.mated, kind="stable")
        order = order[self.mated[order] > -np.inf]
        tar = np.arange(len(order) + 1) / max(self.mated.size, 1)
        far = np.stack([self.above[order], self.at_least[order]], axis=1).ravel() / max(self.count, 1)
        steps = np.stack([tar[:-1], tar[1:]], axis=1).ravel()
        # Mated scores that are equal pass together: from the first one's foot straight to the last one's head.
        levels = self.mated[order]
        opens = np.concatenate([[True], levels[1:] != levels[:-1]]) if len(order) else np.empty(0, dtype=bool)
        closes = np.concatenate([opens[1:], [True]]) if len(order) else opens
        bends = np.stack([opens, closes], axis=1).ravel()
        return np.concatenate([[0.0], far[bends], [1.0, 1.0]]), np.concatenate([[0.0], steps[bends], [tar[-1], 1.0]])

    def equal_error_rate(self) -> float:
        """Return the rate at which both errors are equal, as `verification.equal_error_rate`."""
        return float("nan") if self.empty else crossing(*self.roc())


def cross(
    probes: ArrayLike,
    probe_ids: ArrayLike,
    gallery: ArrayLike,
    gallery_ids: ArrayLike,
    mated: ArrayLike,
    *,
    kept: int = KEPT,
    seed: int = 0,
) -> Crossed:
    """Compare every probe with every gallery entry, in blocks of bounded memory.

    Args:
        probes: (P, D).
        probe_ids: (P,) of any sortable kind, the same as the gallery's.
        gallery: (G, D).
        gallery_ids: (G,).
        mated: (M,) scores of the mated comparisons, as `identification.mated_ranks` gives them.
        kept: non-mated scores kept at most, half of them the highest.
        seed: of the sample.
    """
    own = np.asarray(mated, dtype=np.float64)
    ids, owners = np.asarray(probe_ids), np.asarray(gallery_ids)
    names, held = np.unique(owners, return_counts=True)
    place = np.minimum(np.searchsorted(names, ids), max(len(names) - 1, 0))
    mates = int(held[place][names[place] == ids].sum()) if len(names) else 0
    count = len(ids) * len(owners) - mates
    levels, level = np.unique(own, return_inverse=True)
    at_least, above = np.zeros((2, len(levels)), dtype=np.int64)
    share = 1.0 if count <= kept else (kept // 2) / count
    tail, body = _Highest(count if count <= kept else kept // 2), [np.empty((3, 0))]
    generator = np.random.default_rng(seed)
    for found in _non_mated(probes, ids, gallery, owners):
        scores = np.sort(found[0])
        at_least += len(scores) - np.searchsorted(scores, levels, side="left")
        above += len(scores) - np.searchsorted(scores, levels, side="right")
        tail.add(found)
        if share < 1:
            body.append(found[:, generator.random(found.shape[1]) < share])
    highest = tail.found[:, np.argsort(-tail.found[0], kind="stable")]
    # What the sample holds above the last of the highest is kept already.
    rest = np.concatenate(body, axis=1)
    rest = rest[:, rest[0] <= highest[0, -1]] if highest.size else rest
    stands_for = (count - highest.shape[1]) / max(rest.shape[1], 1)
    scores, rows, columns = np.concatenate([highest, rest], axis=1)
    return Crossed(
        own,
        count,
        at_least[level],
        above[level],
        scores,
        rows.astype(np.int64),
        columns.astype(np.int64),
        np.concatenate([np.ones(highest.shape[1]), np.full(rest.shape[1], stands_for)]),
        highest[0],
    )


class _Highest:
    """The highest scores so far."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.found = np.empty((3, 0))

    def add(self, more: FloatArray) -> None:
        """Take the highest of some more (3, N): score, row and column."""
        if self.found.shape[1] == self._most > 0:
            more = more[:, more[0] > self.found[0].min()]
        both = np.concatenate([self.found, more], axis=1)
        if both.shape[1] > self._most:
            both = both[:, np.argpartition(-both[0], self._most - 1)[: self._most]]
        self.found = both


def _non_mated(probes: ArrayLike, probe_ids: NDArray, gallery: ArrayLike, gallery_ids: NDArray) -> Iterator[FloatArray]:
    """Yield (3, N) score, row and column of the non-mated comparisons of some probes at a time."""
    for block, scores, rows, columns in mated_blocks(probes, probe_ids, gallery, gallery_ids):
        others = np.ones(scores.shape, dtype=bool)
        others[rows, columns] = False
        some = max(1, _AT_ONCE // scores.shape[1])
        for start in range(0, len(scores), some):
            of_some = others[start : start + some]
            row, column = np.nonzero(of_some)
            yield np.stack([scores[start : start + some][of_some], row + (block.start + start), column])
