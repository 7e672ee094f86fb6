"""IJB-B and IJB-C, 1:1: templates of many faces, compared in millions of pairs.

As arcface_torch evaluates them: the embedding of a face is the sum over picture and mirror image, times the detector's
score; a template is the sum over its media of the mean over the faces of a medium, then normalised. TAR is exact, where
arcface_torch takes the point of the ROC nearest to a FAR.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.ijb_lists import SETS, IjbLists, read_ijb_lists
from evaluation.metrics.curves import score_curves
from evaluation.metrics.figures import Alignment, Curve, Figure, Outcome
from evaluation.metrics.identification import l2_normalised
from evaluation.metrics.intervals import Resampled, bootstrap_over_people, wilson, with_draws
from evaluation.metrics.verification import auc, tar_at_far, threshold_at_rate
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import of_gallery, swapped
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, require_template
from evaluation.models.watching import MIRRORED
from evaluation.scoring.both_ways import NOTE, both_ways
from evaluation.scoring.pairs import reduced_sizes, tar_name, too_few
from shards.command import UserError

FARS = (0.000001, 0.00001, 0.0001, 0.001, 0.01, 0.1)
# Faces and pairs whose embeddings are in memory at once.
_FACES, _PAIRS = 8_192, 65_536


@dataclass(frozen=True)
class Data:
    """The lists, and where the pictures lie."""

    lists: IjbLists
    pictures: Path


def read(root: Path) -> Data:
    """Read the lists.

    Raises:
        UserError: the folder holds no such set, or a list is damaged.
    """
    if not (root / "loose_crop").is_dir():
        raise UserError(f"{root} holds no folder loose_crop; name the folder of {' or '.join(SETS.values())}")
    return Data(read_ijb_lists(root), root / "loose_crop")


def measure(data: Data, embedder: PictureEmbedder, *, sizes: Sequence[int] = ()) -> Outcome:
    """Run the protocol, in blocks of bounded memory.

    Args:
        data: the lists.
        embedder: the model.
        sizes: to which the faces of each pair's second template are reduced, beside the pairs as they are.

    Raises:
        UserError: the checkpoint's template does not fit.
    """
    for model in (embedder, of_gallery(embedder)):
        require_template(model.preprocessing, data.lists.name)
    lows, notes = reduced_sizes(sizes, embedder.preprocessing.size)
    faults: dict[str, str] = {}
    names, full = _templates(data, embedder, None, faults)
    enrolled = _templates(data, of_gallery(embedder), None, faults)[1] if swapped(embedder) else full
    figures: list[Figure] = []
    curves: list[Curve] = []
    left_out = 0
    for low in (None, *lows):
        other = _templates(data, embedder, low, faults)[1] if low else full
        scores = _pair_scores(data.lists, names, enrolled, other)
        used = np.isfinite(scores)
        left_out = max(left_out, int((~used).sum()))
        positives, negatives = scores[used & data.lists.same], scores[used & ~data.lists.same]
        of_size = _figures(f"second at {low} px: " if low else "", positives, negatives)
        if low is None and swapped(embedder):
            scores = _pair_scores(data.lists, names, full, enrolled)
            used = np.isfinite(scores)
            other_way = _figures("", scores[used & data.lists.same], scores[used & ~data.lists.same])
            of_size, notes = both_ways(of_size, other_way), (*notes, NOTE)
        figures += of_size
        kinds = {"one person": positives, "two people": negatives}
        curves += score_curves(f"{low or embedder.preprocessing.size} px" if lows else "", kinds)
    lists = data.lists
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


def _templates(
    data: Data, embedder: PictureEmbedder, low: int | None, faults: dict[str, str]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the numbers of the templates, rising, and (T, D) templates; NaN where no face can be used."""
    lists = data.lists
    order = np.lexsort([lists.media, lists.templates])
    numbers = np.unique(lists.templates)
    found: list[NDArray[np.float64]] = []
    for faces in _blocks(order, lists.templates):
        pictures = [_picture(data, embedder, int(face), low) for face in faces]
        mirrored = [_mirrored(picture) for picture in pictures]
        together = embedder.embed([*pictures, *mirrored])
        faults.update({name.removesuffix(MIRRORED): reason for name, reason in together.faults.items()})
        vectors = together.vectors.astype(np.float64)
        summed = (vectors[: len(faces)] + vectors[len(faces) :]) * lists.scores[faces, None]
        found.append(_pooled(summed, lists.templates[faces], lists.media[faces]))
    return numbers, l2_normalised(np.concatenate(found))


def _blocks(order: NDArray[np.int64], templates: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Cut the faces, in the order of their templates, into blocks of whole templates."""
    sorted_templates = templates[order]
    ends = np.append(np.flatnonzero(np.diff(sorted_templates)) + 1, len(order))
    start = 0
    while start < len(order):
        # The last end within reach, or the next one of a template that alone is beyond it.
        within = ends[(ends > start) & (ends <= start + _FACES)]
        end = int(within[-1]) if len(within) else int(ends[ends > start][0])
        yield order[start:end]
        start = end


def _pooled(
    vectors: NDArray[np.float64], templates: NDArray[np.int64], media: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the sum over media of the mean over each medium's usable faces: (F, D), sorted by both -> (T, D)."""
    numbers, template = np.unique(templates, return_inverse=True)
    usable = np.isfinite(vectors).all(axis=1)
    _, first, medium, counts = np.unique(
        np.stack([template, media], axis=1)[usable], axis=0, return_index=True, return_inverse=True, return_counts=True
    )
    means = np.zeros((len(counts), vectors.shape[1]))
    np.add.at(means, medium.ravel(), vectors[usable])
    means /= counts[:, None]
    pooled = np.zeros((len(numbers), vectors.shape[1]))
    np.add.at(pooled, template[usable][first], means)
    pooled[~np.isin(np.arange(len(numbers)), template[usable])] = np.nan
    return pooled


def _picture(data: Data, embedder: PictureEmbedder, face: int, low: int | None) -> Picture:
    name = data.lists.pictures[face]
    return aligned(name, data.pictures / name, data.lists.points[face], embedder.preprocessing, low)


def _mirrored(picture: Picture) -> Picture:
    return replace(picture, name=f"{picture.name}{MIRRORED}", preparation=replace(picture.preparation, mirrored=True))


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
