"""What protocols of pairs share: pictures embedded once, scores, and the figures of verification."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedded
from evaluation.figures import Curve, Figure
from evaluation.identification import pair_cosines
from evaluation.intervals import bootstrap_of, wilson
from evaluation.published import Published
from evaluation.verification import (
    auc,
    best_accuracy,
    equal_error_rate,
    roc,
    tar_at_far,
    threshold_at_rate,
)


@dataclass(frozen=True)
class PairScores:
    """Scores of the pairs whose two pictures could be used.

    Attributes:
        scores: (N,) cosines.
        rows: (N,) int64 places of these pairs in the list.
        left_out: number of pairs of which a picture could not be used.
    """

    scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    left_out: int


def score_pairs(left: Embedded, left_rows: Sequence[int], right: Embedded, right_rows: Sequence[int]) -> PairScores:
    """Score pairs given by the rows of their pictures; a picture named by many pairs was embedded once."""
    a, b = np.asarray(left_rows, dtype=np.int64), np.asarray(right_rows, dtype=np.int64)
    rows = np.flatnonzero(left.usable[a] & right.usable[b])
    scores = pair_cosines(left.vectors[a[rows]], right.vectors[b[rows]]) if rows.size else np.empty(0)
    return PairScores(scores, rows, len(a) - len(rows))


def verification_figures(
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    fars: Sequence[float],
    *,
    published_tar: dict[float, Published] | None = None,
    published_auc: Published | None = None,
) -> list[Figure]:
    """Return TAR at each FAR, AUC, EER and accuracy with their intervals."""
    n = len(positives) + len(negatives)
    figures = []
    for far in fars:
        value = tar_at_far(positives, negatives, far)
        known = (published_tar or {}).get(far)
        accepted = int((negatives > threshold_at_rate(negatives, far)).sum()) if len(negatives) else 0
        figures.append(
            Figure(
                f"TAR at FAR {100 * far:g} %",
                value,
                len(positives),
                wilson(value, len(positives)),
                paper=known.paper if known else None,
                rerun=known.rerun if known else None,
                note=f"FAR rests on {accepted} accepted of {len(negatives)} negative pairs",
            )
        )
    area = auc(positives, negatives)

    def resampled_auc(rows: NDArray[np.int64]) -> float:
        scores = np.concatenate([positives, negatives])[rows]
        same = rows < len(positives)
        return auc(scores[same], scores[~same])

    eer = equal_error_rate(positives, negatives)
    accuracy = best_accuracy(positives, negatives)
    return [
        *figures,
        Figure(
            "AUC",
            area,
            n,
            bootstrap_of(resampled_auc, n),
            paper=published_auc.paper if published_auc else None,
            rerun=published_auc.rerun if published_auc else None,
        ),
        Figure("EER", eer, n, wilson(eer, n)),
        Figure("best accuracy", accuracy, n, wilson(accuracy, n)),
    ]


def roc_curve(name: str, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> list[Curve]:
    """Return the ROC as a curve, or nothing where there are no pairs of one kind."""
    if not len(positives) or not len(negatives):
        return []
    far, tar = roc(positives, negatives)
    return [Curve(name, "roc", far, tar)]
