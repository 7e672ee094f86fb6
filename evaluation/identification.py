"""Identification metrics: embeddings to ranks, ranks to figures. All similarities are cosines."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.verification import threshold_at_rate

FloatArray = NDArray[np.float64]
_BLOCK_BYTES = 1 << 28


def l2_normalised(embeddings: ArrayLike) -> FloatArray:
    """Scale every row to length one; a row of zeros stays zero: (N, D) -> (N, D) float64.

    >>> l2_normalised([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def pair_cosines(left: ArrayLike, right: ArrayLike) -> FloatArray:
    """Return the cosine of every row with the row beside it: (N, D), (N, D) -> (N,)."""
    return np.einsum("nd,nd->n", l2_normalised(left), l2_normalised(right))


def mean_templates(embeddings: ArrayLike, identities: ArrayLike) -> tuple[FloatArray, NDArray]:
    """Return one template per identity: the L2-normalised mean of its L2-normalised embeddings.

    Args:
        embeddings: (N, D).
        identities: (N,) of any sortable kind.

    Returns:
        (I, D) templates and (I,) identities, sorted.
    """
    names, place = np.unique(np.asarray(identities), return_inverse=True)
    sums = np.zeros((len(names), np.shape(embeddings)[1]))
    np.add.at(sums, place, l2_normalised(embeddings))
    return l2_normalised(sums), names


@dataclass(frozen=True)
class MatedRanks:
    """How each mated probe's true identity stands among the gallery.

    Attributes:
        ranks: (P,) int64 from 1; a gallery entry of another identity with the same score stands before it.
            0 where the true identity is not in the gallery.
        scores: (P,) float64 best score with the true identity; -inf where it is not in the gallery.
        best: (P,) int64 gallery row of the best score.
    """

    ranks: NDArray[np.int64]
    scores: FloatArray
    best: NDArray[np.int64]


def mated_ranks(probes: ArrayLike, probe_ids: ArrayLike, gallery: ArrayLike, gallery_ids: ArrayLike) -> MatedRanks:
    """Rank the gallery for every mated probe, in blocks of bounded memory.

    The rank is one more than the number of gallery entries of other identities that score at least as high as
    the best entry of the true identity: a tie counts against the method. With several entries of one other
    identity each counts, as in TinyFace; galleries of one template an identity make it the identity's rank.

    >>> mated_ranks([[1.0, 0.0]], ["a"], [[1.0, 0.0], [0.0, 1.0]], ["a", "b"]).ranks.tolist()
    [1]
    """
    rows, columns = l2_normalised(probes), l2_normalised(gallery)
    ids, owners = np.asarray(probe_ids), np.asarray(gallery_ids)
    ranks = np.zeros(len(rows), dtype=np.int64)
    true_scores = np.full(len(rows), -np.inf)
    best = np.zeros(len(rows), dtype=np.int64)
    for block in _blocks(len(rows), len(columns)):
        scores = rows[block] @ columns.T
        true = ids[block, None] == owners[None, :]
        at_true = np.where(true, scores, -np.inf).max(axis=1)
        before = ((scores >= at_true[:, None]) & ~true).sum(axis=1)
        ranks[block] = np.where(true.any(axis=1), before + 1, 0)
        true_scores[block] = at_true
        best[block] = scores.argmax(axis=1)
    return MatedRanks(ranks, true_scores, best)


def average_precisions(
    probes: ArrayLike, probe_ids: ArrayLike, gallery: ArrayLike, gallery_ids: ArrayLike
) -> FloatArray:
    """Return every probe's average precision over the gallery, in blocks of bounded memory; their mean is mAP.

    The mean, over the gallery entries of the true identity, of the share of true entries among all that score
    at least as high: sum of precision at each true entry over their number. Among equal scores the true
    entries stand last. A probe without a true entry has 0.

    >>> average_precisions([[1.0, 0.0]], ["a"], [[1.0, 0.1], [1.0, 0.2], [0.0, 1.0]], ["b", "a", "a"]).round(4)
    array([0.5833])

    Half of the two entries down to the second are true, two thirds of the three down to the third.
    """
    rows, columns = l2_normalised(probes), l2_normalised(gallery)
    ids, owners = np.asarray(probe_ids), np.asarray(gallery_ids)
    precisions = np.zeros(len(rows))
    for block in _blocks(len(rows), len(columns)):
        scores = rows[block] @ columns.T
        for row, mine in enumerate(scores):
            true = owners == ids[block][row]
            if not true.any():
                continue
            hits, others = -np.sort(-mine[true]), np.sort(mine[~true])
            found = np.arange(1, len(hits) + 1)
            before = len(others) - np.searchsorted(others, hits, side="left")
            precisions[block.start + row] = (found / (found + before)).mean()
    return precisions


def best_scores(probes: ArrayLike, gallery: ArrayLike) -> FloatArray:
    """Return every probe's best score against the gallery, in blocks of bounded memory: (P,)."""
    rows, columns = l2_normalised(probes), l2_normalised(gallery)
    blocks = [(rows[block] @ columns.T).max(axis=1) for block in _blocks(len(rows), len(columns))]
    return np.concatenate(blocks) if blocks else np.empty(0)


def rank_rate(ranks: ArrayLike, rank: int) -> float:
    """Return the share of probes whose true identity stands within the first `rank` places.

    >>> rank_rate([1, 3, 2, 0], 2)
    0.5

    Returns:
        0..1; NaN without probes. Rank 0 (not in the gallery) counts as a miss.
    """
    places = np.asarray(ranks)
    return float(((places >= 1) & (places <= rank)).mean()) if places.size else float("nan")


def tpir_at_fpir(mated: MatedRanks, unmated_best: ArrayLike, fpir: float, rank: int = 20) -> float:
    """Return the true positive identification rate at a false positive identification rate, exactly.

    FPIR(t) is the share of unmated probes whose best score is above t; the threshold is the exact quantile of
    `threshold_at_rate`. TPIR is the share of mated probes whose true identity is within the top `rank` and
    whose score with it is above t.

    Returns:
        0..1; NaN without mated or unmated probes.
    """
    if not mated.ranks.size or not np.size(unmated_best):
        return float("nan")
    within = (mated.ranks >= 1) & (mated.ranks <= rank)
    return float((within & (mated.scores > threshold_at_rate(unmated_best, fpir))).mean())


def tpir_curve(mated: MatedRanks, unmated_best: ArrayLike, rank: int = 20) -> tuple[FloatArray, FloatArray]:
    """Return the curve of TPIR over FPIR, at every threshold that an unmated probe's score sets."""
    unmated = np.sort(np.asarray(unmated_best, dtype=np.float64))
    within = (mated.ranks >= 1) & (mated.ranks <= rank)
    hits = np.sort(mated.scores[within])
    thresholds = np.concatenate([np.unique(unmated)[::-1], [-np.inf]])
    fpir = (unmated.size - np.searchsorted(unmated, thresholds, side="right")) / unmated.size
    tpir = (hits.size - np.searchsorted(hits, thresholds, side="right")) / mated.ranks.size
    return fpir, tpir


def tpir_area(mated: MatedRanks, unmated_best: ArrayLike, rank: int = 20) -> float:
    """Return the area under TPIR over FPIR from 0 to 1.

    TPIR holds its value until the next FPIR that can be reached: the same steps as `tpir_at_fpir` takes.
    """
    if not mated.ranks.size or not np.size(unmated_best):
        return float("nan")
    fpir, tpir = tpir_curve(mated, unmated_best, rank)
    return float((np.diff(np.concatenate([fpir, [1.0]])) * tpir).sum())


def _blocks(rows: int, columns: int) -> list[slice]:
    """Cut rows so that a block of float64 scores stays within a quarter of a gibibyte."""
    size = max(1, _BLOCK_BYTES // (8 * max(columns, 1)))
    return [slice(start, start + size) for start in range(0, rows, size)]
