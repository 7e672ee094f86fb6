"""Curves of error against discarded share: which pictures a system does better to refuse."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.discard import error_by_discard
from evaluation.metrics.figures import Curve
from evaluation.metrics.verification import threshold_at_rate

FAR = 0.01
"""Of the threshold at which pairs of one person are wrong; it stays as pictures are discarded."""
Qualities = dict[str, NDArray[np.float64]]
NORM, SIDE = "norm of the embedding", "face size"


def norms(vectors: ArrayLike, lost: int = 0) -> NDArray[np.float64]:
    """Return the length of each embedding, and the lowest quality for faces that were not found: (N, D) -> (N + L,)."""
    lengths = np.linalg.norm(np.asarray(vectors, dtype=np.float64), axis=1)
    return np.concatenate([lengths, np.full(lost, -np.inf)])


def known_sides(sides: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return sides in pixels as a quality, NaN where none is known (0)."""
    return np.where(sides > 0, sides.astype(np.float64), np.nan)


def discarded_probes(panel: str, misses: ArrayLike, qualities: Qualities) -> list[Curve]:
    """Return the share of probes that are not first, against the share discarded by each quality.

    Args:
        panel: before each name, such as "8 px"; "" for none.
        misses: (N,) whether the probe's own person is not first.
        qualities: (N,) by name.
    """
    return _curves(panel, "", misses, qualities)


def discarded_pairs(
    panel: str, scores: NDArray[np.float64], same: NDArray[np.bool_], first: Qualities, second: Qualities
) -> list[Curve]:
    """Return the share of pairs of one person rejected at a FAR of 1 %, against the share discarded.

    A pair is as good as the worse of its pictures. Nothing where so low a FAR cannot be measured.

    Args:
        panel: before each name; "" for none.
        scores: (N,) of the pairs.
        same: (N,) whether they show one person.
        first: (N,) quality of the first pictures, by name.
        second: (N,) of the second ones.
    """
    if FAR * (~same).sum() < 1 or not same.any():
        return []
    rejected = scores[same] <= threshold_at_rate(scores[~same], FAR)
    worse = {name: np.minimum(first[name][same], second[name][same]) for name in first}
    return _curves(panel, f", FAR {100 * FAR:g} %", rejected, worse)


def _curves(panel: str, suffix: str, errors: ArrayLike, qualities: Qualities) -> list[Curve]:
    named = f"{panel}, by " if panel else "by "
    found = {name: error_by_discard(errors, quality) for name, quality in qualities.items()}
    # Where all are equally good there is nothing to choose by.
    return [Curve(f"{named}{name}{suffix}", "discard", *lines) for name, lines in found.items() if len(lines[0]) > 1]
