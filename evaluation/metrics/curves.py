"""Scores and ranks to the lines of plots."""

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.figures import Curve
from evaluation.metrics.identification import MatedRanks, cmc
from evaluation.metrics.verification import roc

_FEWEST_BINS, _MOST_BINS = 12, 80
LAST_RANK = 20


def roc_curve(name: str, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> list[Curve]:
    """Return the ROC, or nothing if one kind of pairs is missing."""
    if not len(positives) or not len(negatives):
        return []
    far, tar = roc(positives, negatives)
    return [Curve(name, "roc", far, tar)]


def cmc_curve(name: str, ranks: NDArray[np.int64]) -> list[Curve]:
    """Return the CMC up to rank 20, or nothing without probes."""
    return [Curve(name, "cmc", *cmc(ranks, LAST_RANK))] if len(ranks) else []


def score_curves(panel: str, scores: dict[str, NDArray[np.float64]]) -> list[Curve]:
    """Return the distribution of each kind of scores, over bins that all of them share.

    Args:
        panel: the plot's part they belong to, such as "8 px"; "" where there is one.
        scores: (N,) cosines by whose they are; infinite ones are left out.
    """
    finite = {name: values[np.isfinite(values)] for name, values in scores.items()}
    finite = {name: values for name, values in finite.items() if values.size}
    if not finite:
        return []
    # As many bins as the smaller set can fill without noise.
    bins = int(np.clip(np.sqrt(min(len(values) for values in finite.values())), _FEWEST_BINS, _MOST_BINS))
    edges = np.histogram_bin_edges(np.concatenate(list(finite.values())), bins)
    return [
        Curve(
            f"{panel}: {name}" if panel else name,
            "scores",
            (edges[:-1] + edges[1:]) / 2,
            np.histogram(values, edges)[0] / len(values),
        )
        for name, values in finite.items()
    ]


def identification_scores(panel: str, ranked: MatedRanks) -> list[Curve]:
    """Return the distributions of scores with the true person and with the best of all others."""
    return score_curves(panel, {"with the true person": ranked.scores, "best of the others": ranked.rival_scores})
