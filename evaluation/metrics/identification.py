"""Identification metrics: embeddings to ranks, ranks to figures. All similarities are cosines."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.verification import FloatArray, threshold_at_rate

# Scores in memory at once, and rows normalised at once.
_BLOCK_BYTES = 1 << 28
_ROWS = 8_192
# A product of matrices rounds its last digits differently from block to block and from column to column. Without
# them two copies of one picture score the same, and a tie is a tie.
_DECIMALS = 12


def l2_normalised(embeddings: ArrayLike) -> FloatArray:
    """Scale every row to length one; a row of zeros stays zero: (N, D) -> (N, D) float64.

    >>> l2_normalised([[3.0, 4.0], [0.0, 0.0]]).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    rows = np.asarray(embeddings, dtype=np.float64)
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1.0)


def pair_cosines(left: ArrayLike, right: ArrayLike) -> FloatArray:
    """Return the cosine of every row with the row beside it, to 12 decimals: (N, D), (N, D) -> (N,).

    >>> pair_cosines([[1.0, 0.0], [2.0, 2.0]], [[0.0, 3.0], [1.0, 1.0]]).tolist()
    [0.0, 1.0]
    """
    return np.round(np.einsum("nd,nd->n", l2_normalised(left), l2_normalised(right)), _DECIMALS)


def cosines(left: ArrayLike, right: ArrayLike) -> FloatArray:
    """Return the cosine of every row with every other, to 12 decimals: (N, D), (M, D) -> (N, M)."""
    return _rounded_product(l2_normalised(left), l2_normalised(right))


def _rounded_product(rows: FloatArray, columns: FloatArray) -> FloatArray:
    scores = rows @ columns.T
    return np.round(scores, _DECIMALS, out=scores)


def mean_templates(embeddings: ArrayLike, identities: ArrayLike) -> tuple[FloatArray, NDArray]:
    """Return one template per identity: the L2-normalised mean of its L2-normalised embeddings.

    >>> templates, names = mean_templates([[2.0, 0.0], [0.0, 9.0], [0.0, -1.0]], ["a", "a", "b"])
    >>> templates.round(4).tolist(), names.tolist()
    ([[0.7071, 0.7071], [0.0, -1.0]], ['a', 'b'])

    Args:
        embeddings: (N, D).
        identities: (N,) of any sortable kind.

    Returns:
        (I, D) templates and (I,) identities, sorted.
    """
    vectors = np.asarray(embeddings)
    names, place = np.unique(np.asarray(identities), return_inverse=True)
    sums = np.zeros((len(names), vectors.shape[1]))
    for rows in _slices(len(vectors), _ROWS):
        np.add.at(sums, place[rows], l2_normalised(vectors[rows]))
    return l2_normalised(sums), names


@dataclass(frozen=True)
class MatedRanks:
    """The rank of each mated probe's true identity in the gallery.

    Attributes:
        ranks: (P,) int64 from 1; a gallery entry of another identity with the same score ranks before it.
            0 where the true identity is not in the gallery.
        scores: (P,) float64 best score with the true identity; -inf where it is not in the gallery.
        matches: (P,) int64 gallery row of that score; -1 where there is none.
        rivals: (P,) int64 gallery row of the best score with another identity; -1 where there is none.
        rival_scores: (P,) float64 that score; -inf where there is none.
    """

    ranks: NDArray[np.int64]
    scores: FloatArray
    matches: NDArray[np.int64]
    rivals: NDArray[np.int64]
    rival_scores: FloatArray

    def within(self, rank: int) -> NDArray[np.bool_]:
        """(P,) whether the true identity is among the first `rank`."""
        return (self.ranks >= 1) & (self.ranks <= rank)

    def with_misses(self, count: int) -> "MatedRanks":
        """Add probes that are found at no rank and no threshold, as where no face was found in a picture."""
        whole, real = np.zeros(count, dtype=np.int64), np.full(count, -np.inf)
        return MatedRanks(
            np.concatenate([self.ranks, whole]),
            np.concatenate([self.scores, real]),
            np.concatenate([self.matches, whole - 1]),
            np.concatenate([self.rivals, whole - 1]),
            np.concatenate([self.rival_scores, real]),
        )


def mated_ranks(probes: ArrayLike, probe_ids: ArrayLike, gallery: ArrayLike, gallery_ids: ArrayLike) -> MatedRanks:
    """Rank the gallery for every mated probe, in blocks of bounded memory.

    The rank is one more than the number of gallery entries of other identities that score at least as high as
    the best entry of the true identity: a tie counts against the method. With several entries of one other
    identity each counts, as in TinyFace; galleries of one template an identity make it the identity's rank.

    >>> found = mated_ranks([[1.0, 0.0]], ["a"], [[0.6, 0.8], [0.8, 0.6], [0.0, 1.0]], ["a", "b", "b"])
    >>> found.ranks.tolist(), found.scores.tolist(), found.rivals.tolist(), found.rival_scores.tolist()
    ([2], [0.6], [1], [0.8])

    Args:
        probes: (P, D).
        probe_ids: (P,) of any sortable kind, the same as the gallery's.
        gallery: (G, D).
        gallery_ids: (G,).
    """
    count = np.shape(probes)[0]
    ranks, matches, rivals = (np.full(count, empty, dtype=np.int64) for empty in (0, -1, -1))
    true_scores, rival_scores = np.full(count, -np.inf), np.full(count, -np.inf)
    for block, scores, rows, columns in mated_blocks(probes, probe_ids, gallery, gallery_ids):
        own = scores[rows, columns]
        best = np.full(len(scores), -np.inf)
        np.maximum.at(best, rows, own)
        # Backwards, so that of equal entries the first stays.
        at_best = np.flatnonzero(own == best[rows])[::-1]
        matched = np.full(len(scores), -1)
        matched[rows[at_best]] = columns[at_best]
        scores[rows, columns] = -np.inf
        ahead = np.count_nonzero(scores >= best[:, None], axis=1)
        rival = scores.argmax(axis=1)
        rival_score = scores[np.arange(len(scores)), rival]
        ranks[block] = np.where(matched >= 0, ahead + 1, 0)
        true_scores[block], matches[block] = best, matched
        rival_scores[block], rivals[block] = rival_score, np.where(rival_score > -np.inf, rival, -1)
    return MatedRanks(ranks, true_scores, matches, rivals, rival_scores)


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
    precisions = np.zeros(np.shape(probes)[0])
    for block, scores, rows, columns in mated_blocks(probes, probe_ids, gallery, gallery_ids):
        own = scores[rows, columns]
        scores[rows, columns] = -np.inf
        ends = np.searchsorted(rows, np.arange(len(scores) + 1))
        for row in np.flatnonzero(np.diff(ends)):
            hits = -np.sort(-own[ends[row] : ends[row + 1]])
            # Only those that stand before the last true entry have to be sorted.
            others = np.sort(scores[row][scores[row] >= hits[-1]])
            found = np.arange(1, len(hits) + 1)
            before = len(others) - np.searchsorted(others, hits, side="left")
            precisions[block.start + row] = (found / (found + before)).mean()
    return precisions


def best_scores(probes: ArrayLike, gallery: ArrayLike) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return every probe's best score against the gallery and the row that has it, in blocks of bounded memory.

    >>> score, row = best_scores([[1.0, 0.0]], [[0.0, 1.0], [3.0, 4.0]])
    >>> score.tolist(), row.tolist()
    ([0.6], [1])

    Returns:
        (P,) float64 and (P,) int64; -inf and -1 where the gallery is empty.
    """
    count, size = np.shape(probes)[0], np.shape(gallery)[0]
    scores, rows = np.full(count, -np.inf), np.full(count, -1, dtype=np.int64)
    for block, found in _score_blocks(probes, gallery) if size else ():
        rows[block] = found.argmax(axis=1)
        scores[block] = found[np.arange(len(found)), rows[block]]
    return scores, rows


def cmc(ranks: ArrayLike, last: int) -> tuple[FloatArray, FloatArray]:
    """Return the cumulative match characteristic: ranks 1 to `last`, and the share of probes within each.

    >>> rank, share = cmc([1, 3, 2, 0], 3)
    >>> rank.tolist(), share.tolist()
    ([1.0, 2.0, 3.0], [0.25, 0.5, 0.75])
    """
    shown = np.arange(1, last + 1)
    return shown.astype(np.float64), np.array([rank_rate(ranks, int(rank)) for rank in shown])


def rank_rate(ranks: ArrayLike, rank: int) -> float:
    """Return the share of probes whose true identity is among the first `rank`.

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
    return float((mated.within(rank) & (mated.scores > threshold_at_rate(unmated_best, fpir))).mean())


def tpir_curve(mated: MatedRanks, unmated_best: ArrayLike, rank: int = 20) -> tuple[FloatArray, FloatArray]:
    """Return the curve of TPIR over FPIR, at every threshold that an unmated probe's score sets.

    Returns:
        FPIR and TPIR, rising; both empty without mated or unmated probes.
    """
    unmated = np.sort(np.asarray(unmated_best, dtype=np.float64))
    if not mated.ranks.size or not unmated.size:
        return np.empty(0), np.empty(0)
    hits = np.sort(mated.scores[mated.within(rank)])
    thresholds = np.concatenate([np.unique(unmated)[::-1], [-np.inf]])
    fpir = (unmated.size - np.searchsorted(unmated, thresholds, side="right")) / unmated.size
    tpir = (hits.size - np.searchsorted(hits, thresholds, side="right")) / mated.ranks.size
    return fpir, tpir


def tpir_area(mated: MatedRanks, unmated_best: ArrayLike, rank: int = 20) -> float:
    """Return the area under TPIR over FPIR from 0 to 1.

    TPIR holds its value until the next FPIR that can be reached: the same steps as `tpir_at_fpir` takes. That
    makes it the chance that a mated probe is found within the top `rank` and scores above an unmated one.

    >>> mated = MatedRanks(np.array([1, 1]), np.array([0.9, 0.4]), *np.zeros((2, 2), int), np.zeros(2))
    >>> tpir_area(mated, [0.5, 0.3])
    0.75

    Returns:
        0..1; NaN without mated or unmated probes.
    """
    if not mated.ranks.size or not np.size(unmated_best):
        return float("nan")
    fpir, tpir = tpir_curve(mated, unmated_best, rank)
    return float((np.diff(np.concatenate([fpir, [1.0]])) * tpir).sum())


def mated_blocks(
    probes: ArrayLike, probe_ids: ArrayLike, gallery: ArrayLike, gallery_ids: ArrayLike
) -> Iterator[tuple[slice, FloatArray, NDArray[np.int64], NDArray[np.int64]]]:
    """Yield scores with the places of the true identity's entries in them: rows, rising, and columns."""
    ids, owners = np.asarray(probe_ids), np.asarray(gallery_ids)
    if not ids.size or not owners.size:
        return
    # Numbers compare a hundred times faster than text.
    _, code = np.unique(np.concatenate([owners, ids]), return_inverse=True)
    owner, person = code[: len(owners)], code[len(owners) :]
    by_owner = np.argsort(owner, kind="stable")
    first, past = (np.searchsorted(owner[by_owner], person, side=side) for side in ("left", "right"))
    for block, scores in _score_blocks(probes, gallery):
        counts = (past - first)[block]
        rows = np.repeat(np.arange(len(counts)), counts)
        # Of each probe's own run of columns the first, the second and so on.
        within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        yield block, scores, rows, by_owner[first[block][rows] + within]


def _score_blocks(probes: ArrayLike, gallery: ArrayLike) -> Iterator[tuple[slice, FloatArray]]:
    """Yield the scores of some probes with the whole gallery at a time, a quarter of a gibibyte or less."""
    queries, columns = np.asarray(probes), l2_normalised(gallery)
    size = max(1, min(_ROWS, _BLOCK_BYTES // (8 * max(len(columns), 1))))
    for block in _slices(len(queries), size):
        yield block, _rounded_product(l2_normalised(queries[block]), columns)


def _slices(count: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, count, size)]
