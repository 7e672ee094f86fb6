"""IJB-B and IJB-C, 1:1: templates of many faces, compared in millions of pairs.

As arcface_torch evaluates them: the embedding of a face is the sum over picture and mirror image, times the detector's
score; a template is the sum over its media of the mean over the faces of a medium, then normalised. TAR is exact, where
arcface_torch takes the point of the ROC nearest to a FAR.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.ijb_lists import IjbLists
from evaluation.metrics.curves import score_curves
from evaluation.metrics.figures import Alignment, Curve, Figure, Outcome
from evaluation.metrics.intervals import Resampled, bootstrap_over_people, wilson, with_draws
from evaluation.metrics.verification import auc, tar_at_far, threshold_at_rate
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import of_gallery, swapped
from evaluation.models.preparation import require_template
from evaluation.scoring.both_ways import NOTE, both_ways
from evaluation.scoring.media_templates import media_templates
from evaluation.scoring.pairs import reduced_sizes, tar_name, too_few

FARS = (0.000001, 0.00001, 0.0001, 0.001, 0.01, 0.1)
# Pairs whose templates are side by side in memory.
_PAIRS = 65_536


def measure(lists: IjbLists, embedder: PictureEmbedder, *, sizes: Sequence[int] = ()) -> Outcome:
    """Run the protocol, in blocks of bounded memory.

    Args:
        lists: faces, templates and pairs.
        embedder: the model.
        sizes: to which the faces of each pair's second template are reduced, beside the pairs as they are.

    Raises:
        UserError: the checkpoint's template does not fit.
    """
    for model in (embedder, of_gallery(embedder)):
        require_template(model.preprocessing, lists.name)
    lows, notes = reduced_sizes(sizes, embedder.preprocessing.size)
    faults: dict[str, str] = {}
    names, full = media_templates(lists, embedder, None, faults)
    enrolled = media_templates(lists, of_gallery(embedder), None, faults)[1] if swapped(embedder) else full
    figures: list[Figure] = []
    curves: list[Curve] = []
    left_out = 0
    for low in (None, *lows):
        other = media_templates(lists, embedder, low, faults)[1] if low else full
        scores = _pair_scores(lists, names, enrolled, other)
        used = np.isfinite(scores)
        left_out = max(left_out, int((~used).sum()))
        positives, negatives = scores[used & lists.same], scores[used & ~lists.same]
        of_size = _figures(f"second at {low} px: " if low else "", positives, negatives)
        if low is None and swapped(embedder):
            scores = _pair_scores(lists, names, full, enrolled)
            used = np.isfinite(scores)
            other_way = _figures("", scores[used & lists.same], scores[used & ~lists.same])
            of_size, notes = both_ways(of_size, other_way), (*notes, NOTE)
        figures += of_size
        kinds = {"one person": positives, "two people": negatives}
        curves += score_curves(f"{low or embedder.preprocessing.size} px" if lows else "", kinds)
    counts = {"faces": len(lists.pictures), "templates": len(names), "pairs": len(lists.same)}
    alignment = Alignment("landmark list", f"{lists.name}'s own name_5pts_score list", pictures=len(lists.pictures))
    return Outcome(
        f"{lists.name} 1:1",
        tuple(figures),
        tuple(curves),
        {**counts, "pairs left out": left_out},
        tuple(sorted(faults.items())),
        ("Intervals are Wilson's: pairs are taken as independent, and thresholds as given.", *notes),
        incomplete=bool(faults),
        alignment=alignment,
    )


def _figures(prefix: str, positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> list[Figure]:
    figures = []
    n = len(positives)
    for far in FARS:
        name = f"{prefix}{tar_name(far)}"
        if far * len(negatives) < 1:
            figures.append(Figure(name, float("nan"), n, note=too_few(far, len(negatives), "pairs of two people")))
            continue
        value, threshold = tar_at_far(positives, negatives, far), threshold_at_rate(negatives, far)
        accepted = bootstrap_over_people(positives > threshold, np.arange(n))
        # Of pairs that are independent the draws serve differences alone.
        behind = (accepted.draws, accepted.drawn) if isinstance(accepted, Resampled) else ((), "")
        figures.append(Figure(name, value, n, with_draws(wilson(value, n), *behind), threshold=threshold))
    return [*figures, Figure(f"{prefix}AUC", auc(positives, negatives), n + len(negatives))]


def _pair_scores(
    lists: IjbLists, numbers: NDArray[np.int64], first: NDArray[np.float64], second: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return (P,) cosines, to 12 decimals; NaN where a template has no usable face."""
    left, right = (np.searchsorted(numbers, side) for side in (lists.left, lists.right))
    scores = np.empty(len(left))
    for start in range(0, len(left), _PAIRS):
        some = slice(start, start + _PAIRS)
        scores[some] = np.einsum("nd,nd->n", first[left[some]], second[right[some]])
    return np.round(scores, 12)
