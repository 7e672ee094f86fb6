"""The pair sets that InsightFace shares as `.bin` files: LFW, CFP-FP, AgeDB-30, CALFW, CPLFW, XQLFW and others.

Accuracy over ten folds in order exactly as arcface_torch computes it, of the sum of the embeddings of a picture and its
mirror image, which is the published figure, and of the picture alone; and both with the second picture reduced.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.bin_set import BinSet, read_bin_set
from evaluation.metrics.bootstrap import PairPeople, bootstrap_over_pairs
from evaluation.metrics.curves import roc_curve, score_curves
from evaluation.metrics.figures import Alignment, Curve, Figure, Outcome
from evaluation.metrics.identification import l2_normalised, pair_cosines
from evaluation.metrics.verification import distance_decisions, fold_accuracies, folds_in_order
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, embed_sides, gallery_at, match_note, of_gallery, swapped
from evaluation.models.pictures import Picture, Preparation
from evaluation.models.watching import MIRRORED
from evaluation.scoring.both_ways import NOTE, both_ways
from evaluation.scoring.discarding import NORM, discarded_pairs, norms
from evaluation.scoring.mistakes import worst_pairs
from evaluation.scoring.pairs import measurable_figures, reduced_sizes

FOLDS = 10
FARS = (0.1, 0.01, 0.001)


@dataclass(frozen=True)
class Data:
    """The pairs of a file."""

    protocol: str
    path: Path
    pairs: BinSet


def read(paths: Sequence[Path]) -> list[Data]:
    """Read the pair sets; two of the same name go by their folders, too.

    Raises:
        UserError: a file is none.
    """
    names = [path.name for path in paths]
    return [
        Data(path.name if names.count(path.name) == 1 else str(path), path, read_bin_set(path))
        for path in dict.fromkeys(paths)
    ]


@dataclass(frozen=True)
class _Embedded:
    """Embeddings of one side of the pairs: (P, D) each, NaN where a picture cannot be used."""

    alone: NDArray[np.float64]
    mirrored: NDArray[np.float64]


def measure(
    data: Data, embedder: PictureEmbedder, *, sizes: Sequence[int] = (), match_gallery: MatchGallery | None = None
) -> Outcome:
    """Run the protocol.

    Args:
        data: the pairs.
        embedder: the model.
        sizes: to which the second picture of each pair is reduced, beside the pairs as they are.
        match_gallery: reduce the first picture to the same size, or take the mean of both.
    """
    full = embedder.preprocessing.size
    lows, notes = reduced_sizes(sizes, full)
    each = [None, *lows]
    (firsts, seconds), faults = _embed(data, embedder, each if match_gallery else [None], each, match_gallery)
    figures: list[Figure] = []
    curves: list[Curve] = []
    values: list[float] = []
    for number, low in enumerate(each):
        first, second = firsts[number if match_gallery else 0], seconds[number]
        used = _used(first, second)
        same = np.array(data.pairs.same, dtype=bool)[used]
        prefix = f"second at {low} px: " if low else ""
        of_size, scores = _figures(data, first, second, used, prefix)
        values += [figure.value for figure in of_size[:1]]
        if low is None and (swap := swapped(embedder)):
            ((one,), (two,)), _ = _embed(data, swap, [None], [None])
            of_size = both_ways(of_size, _figures(data, one, two, _used(one, two), prefix)[0])
            values[-1], notes = of_size[0].value, (*notes, NOTE)
        figures += of_size
        kinds = {"one person": scores[same], "two people": scores[~same]}
        curves += roc_curve(f"{low or full} px" if lows else data.protocol, *kinds.values())
        curves += score_curves(f"{low or full} px" if lows else "", kinds)
        # Norms of two models are on two scales: the probes' alone then tell.
        lengths = [
            {NORM: norms((one.alone + one.mirrored)[used])} for one in (second if swapped(embedder) else first, second)
        ]
        curves += discarded_pairs(f"{low or full} px" if lows else "", scores, same, *lengths)
        if low == min(lows, default=None):
            side = of_gallery(embedder).preprocessing.size
            left = [picture(data, 2 * row, side, low if match_gallery else None) for row in used.tolist()]
            right = [picture(data, 2 * row + 1, full, low) for row in used.tolist()]
            mistakes = worst_pairs(prefix, scores, same, left, right)
    if lows:
        curves.append(Curve("accuracy", "resolution", np.array([full, *lows], dtype=float), np.array(values)))
    left_out = len(data.pairs.same) - len(used)
    return Outcome(
        data.protocol,
        tuple(figures),
        tuple(curves),
        {"pairs": len(data.pairs.same), "pairs left out": left_out, "pictures": len(data.pairs.pictures)},
        faults,
        (*_NOTES, *notes, *match_note(match_gallery, "First pictures", "the second ones")),
        incomplete=left_out > 0,
        mistakes=tuple(mistakes),
        alignment=Alignment("aligned already", data.path.name, pictures=len(data.pairs.pictures)),
        as_published=match_gallery is None,
    )


_NOTES = (
    "Ten folds in order, thresholds on squared distances, embeddings summed over mirror images: as arcface_torch does.",
    "The set does not tell whom its pictures show: intervals take pairs as independent.",
)


def picture(data: Data, number: int, size: int, low: int | None = None, *, mirrored: bool = False) -> Picture:
    """Return one of the pictures of a set; 2 k and 2 k + 1 are pair k."""
    # Reports name a mirror image apart, and files of embeddings, too.
    name = f"{data.path.stem}/{number}{MIRRORED if mirrored else ''}"
    # The pictures of these sets stand on the centred template.
    preparation = Preparation("whole", size, template="centred", low=low, mirrored=mirrored, on_template=True)
    return Picture(name, data.path / str(number), preparation, data.pairs.pictures[number])


def _embed(
    data: Data,
    embedder: PictureEmbedder,
    first: Sequence[int | None],
    second: Sequence[int | None],
    match: MatchGallery | None = None,
) -> tuple[tuple[list[_Embedded], list[_Embedded]], tuple[tuple[str, str], ...]]:
    """Embed the first pictures of the pairs and the second ones, at each size, and their mirror images; all at once."""
    count = len(data.pairs.same)
    asked = [[(low, mirrored) for mirrored in (False, True) for low in lows] for lows in (first, second)]
    sizes = [model.preprocessing.size for model in (of_gallery(embedder), embedder)]
    pictures = [
        [
            picture(data, 2 * pair + place, sizes[place], low, mirrored=mirrored)
            for low, mirrored in asked[place]
            for pair in range(count)
        ]
        for place in (0, 1)
    ]
    embedded = embed_sides(embedder, *pictures)
    sides = _of_sizes(embedded[0], first, count, match), _of_sizes(embedded[1], second, count, None)
    faults = {name.removesuffix(MIRRORED): reason for one in embedded for name, reason in one.faults.items()}
    return sides, tuple(sorted(faults.items()))


def _of_sizes(
    embedded: Embedded, lows: Sequence[int | None], count: int, match: MatchGallery | None
) -> list[_Embedded]:
    """Cut the embeddings of one side into those of each size, first of all pictures, then of all mirror images."""
    parts = [embedded[start : start + count] for start in range(0, 2 * len(lows) * count, count)]
    alone, mirrored = (gallery_at(half, lows, match) for half in (parts[: len(lows)], parts[len(lows) :]))
    # As float64: a sum in single precision would round otherwise than arcface_torch's.
    return [
        _Embedded(one.vectors.astype(np.float64), two.vectors.astype(np.float64))
        for one, two in zip(alone, mirrored, strict=True)
    ]


def _used(first: _Embedded, second: _Embedded) -> NDArray[np.int64]:
    """Return the rows of the pairs of which both pictures can be used."""
    return np.flatnonzero(np.isfinite(first.mirrored).all(axis=1) & np.isfinite(second.mirrored).all(axis=1))


def _figures(
    data: Data, first: _Embedded, second: _Embedded, used: NDArray[np.int64], prefix: str
) -> tuple[list[Figure], NDArray[np.float64]]:
    """Return the figures of one size, the accuracy with mirror images first, and the scores of the pairs used."""
    same = np.array(data.pairs.same, dtype=bool)[used]
    scores = pair_cosines((first.alone + first.mirrored)[used], (second.alone + second.mirrored)[used])
    named = f"{prefix}with mirror images: "
    accuracies = _accuracies(prefix, first, second, used, data.pairs.same)
    return [*accuracies, *measurable_figures(scores, same, _people(len(used)), FARS, prefix=named)], scores


def _accuracies(
    prefix: str, first: _Embedded, second: _Embedded, used: NDArray[np.int64], truths: Sequence[bool]
) -> list[Figure]:
    """Return the accuracy with mirror images and the one without."""
    same, folds = np.array(truths, dtype=bool)[used], folds_in_order(len(truths), FOLDS)[used]
    figures = []
    for name, one, two in (
        ("with mirror images", first.alone + first.mirrored, second.alone + second.mirrored),
        ("without mirror images", first.alone, second.alone),
    ):
        named = f"{prefix}accuracy {name}"
        if len(truths) < FOLDS or len(set(folds.tolist())) < 2:
            figures.append(Figure(named, float("nan"), len(used), note=f"fewer than {FOLDS} pairs, or than two folds"))
            continue
        distances = np.square(l2_normalised(one[used]) - l2_normalised(two[used])).sum(axis=1)
        right = distance_decisions(distances, same, folds)
        accuracies = fold_accuracies(right, folds)
        interval = bootstrap_over_pairs(right, _people(len(used)))
        figures.append(Figure(named, float(accuracies.mean()), len(used), interval, float(accuracies.std())))
    return figures


def _people(count: int) -> PairPeople:
    """Each pair stands for itself."""
    return PairPeople(np.arange(count), np.arange(count), count)
