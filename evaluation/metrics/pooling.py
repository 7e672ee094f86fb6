"""Several embeddings of one face to one, as of the faces of a track."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.identification import l2_normalised


@dataclass(frozen=True, eq=False)
class Pooled:
    """The embeddings of tracks.

    Attributes:
        weighted: (T, D) float64 of length one: the sum of size times embedding, so that a face weighs by its size and
            by the norm of its embedding; zero where nothing is pooled.
        plain: (T, D) float64 of length one: the mean of the normalised embeddings.
        weights: (N,) float64 share of each face in its track; those of a track add up to one.
    """

    weighted: NDArray[np.float64]
    plain: NDArray[np.float64]
    weights: NDArray[np.float64]


def pool(vectors: ArrayLike, sizes: ArrayLike, tracks: ArrayLike, count: int) -> Pooled:
    """Pool the embeddings of each track.

    A larger face shows more, and networks often give what shows little a shorter embedding (Ranjan et al.,
    L2-constrained softmax, 2017; Meng et al., MagFace, 2021).

    Args:
        vectors: (N, D) embeddings, not normalised.
        sizes: (N,) pixels, above 0.
        tracks: (N,) int64 number of each one's track, 0..count - 1.
        count: of tracks.

    >>> pooled = pool([[3, 0], [0, 1]], [20, 20], [0, 0], 1)
    >>> pooled.weights.tolist(), pooled.plain.round(3).tolist(), pooled.weighted.round(3).tolist()
    ([0.75, 0.25], [[0.707, 0.707]], [[0.949, 0.316]])
    """
    raw, number = np.asarray(vectors, dtype=np.float64), np.asarray(tracks, dtype=np.int64)
    assert raw.ndim == 2 and number.shape == (len(raw),)
    size = np.asarray(sizes, dtype=np.float64)
    weights = size * np.linalg.norm(raw, axis=1)
    totals = np.bincount(number, weights, minlength=count)
    shares = np.divide(weights, totals[number], out=np.zeros_like(weights), where=totals[number] > 0)
    return Pooled(_sums(size[:, None] * raw, number, count), _sums(l2_normalised(raw), number, count), shares)


def _sums(rows: NDArray[np.float64], number: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the normalised sum of the rows of each number: (N, D) -> (count, D)."""
    sums = np.zeros((count, rows.shape[1]))
    np.add.at(sums, number, rows)
    return l2_normalised(sums)
