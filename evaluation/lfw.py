"""LFW, HR to LR: the first photo of a pair in full, the second reduced (Lai and Lam, 2021).

Ten-fold accuracy on LFW's 6,000 pairs; both photos aligned at the network's size, the second one reduced and
enlarged back.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import PairPeople, bootstrap_over_pairs
from evaluation.curves import roc_curve, score_curves
from evaluation.embedder import Embedded, Embeds
from evaluation.figures import Curve, Figure, Mistake, Outcome
from evaluation.lists import (
    Landmarks,
    LfwPair,
    PictureFolder,
    find_folder,
    find_list,
    read_landmark_list,
    read_lfw_pairs,
)
from evaluation.mistakes import worst_pairs
from evaluation.pairs import PairScores, score_pairs
from evaluation.pictures import Picture
from evaluation.prepare import aligned, require_template
from evaluation.published import LFW as PUBLISHED
from evaluation.published import LFW_FULL as PUBLISHED_FULL
from evaluation.sizes import reduced_sizes
from evaluation.verification import ten_fold_decisions
from shards.command import UserError

PROTOCOL = "LFW, HR to LR"
PUBLISHED_PAIRS = 6_000


@dataclass(frozen=True)
class Data:
    """The photos, where their landmarks are, and the pairs whose photos have any."""

    folder: PictureFolder
    landmarks: Landmarks
    listed: int
    pairs: tuple[LfwPair, ...]
    without: dict[str, str]


def read(root: Path, lists: Sequence[Path]) -> Data:
    """Read the lists.

    Args:
        root: folder `LFW`.
        lists: folders searched for `LFW.csv` and `lfw_pairs.txt` before the data set's own.

    Raises:
        UserError: the folder or a list does not fit.
    """
    folder = find_folder(root, "lfw", "LFW/lfw", ".")
    places = [*lists, root, folder, Path("data")]
    landmark_path, pair_path = find_list("LFW.csv", places), find_list("lfw_pairs.txt", places)
    landmarks = read_landmark_list(landmark_path)
    pairs = read_lfw_pairs(pair_path)
    without = {
        name: landmarks.faults.get(name, "no landmarks")
        for pair in pairs
        for name in (pair.left, pair.right)
        if name not in landmarks.points
    }
    usable = tuple(pair for pair in pairs if pair.left not in without and pair.right not in without)
    if not usable:
        raise UserError(
            f"none of {len(pairs):,} pairs of {pair_path} has landmarks in {landmark_path}; expected lists of one set"
        )
    return Data(PictureFolder(folder), landmarks, len(pairs), usable, without)


def evaluate(
    root: Path,
    lists: Sequence[Path],
    embedder: Embeds,
    *,
    sizes: Sequence[int] = (8, 12, 16, 20),
    match_gallery: bool = False,
) -> Outcome:
    """Read the lists and run the protocol; see `read` and `measure`."""
    return measure(read(root, lists), embedder, sizes=sizes, match_gallery=match_gallery)


def measure(
    data: Data, embedder: Embeds, *, sizes: Sequence[int] = (8, 12, 16, 20), match_gallery: bool = False
) -> Outcome:
    """Run the protocol.

    Args:
        data: photos and pairs.
        embedder: the model.
        sizes: of the second photo in pixels; it is also left as it is.
        match_gallery: reduce the first photo to the same size.

    Raises:
        UserError: the checkpoint's template does not fit.
    """
    form = embedder.preprocessing
    require_template(form, PROTOCOL)
    low_sizes, notes = reduced_sizes(sizes, form.size)
    left, right = (sorted({getattr(pair, side) for pair in data.pairs}) for side in ("left", "right"))
    left_row, right_row = ({name: row for row, name in enumerate(names)} for names in (left, right))

    def pictures(names: Sequence[str], low: int | None) -> list[Picture]:
        points = data.landmarks.points
        return [aligned(name, data.folder.path(name), points[name], form, low) for name in names]

    # All in one go: a photo is read and aligned once, whatever the number of sizes.
    lows = [*low_sizes, None]
    parts = [pictures(left, None), *(pictures(right, low) for low in lows)]
    parts += [pictures(left, low) for low in low_sizes] if match_gallery else []
    embedded = _split(embedder.embed([picture for part in parts for picture in part]), [len(part) for part in parts])
    full, reduced = embedded[0], embedded[1 : len(lows) + 1]
    matched = [*embedded[len(lows) + 1 :], full] if match_gallery else [full] * len(lows)
    missing = {**data.without, **full.faults}
    figures: list[Figure] = []
    curves: list[Curve] = []
    mistakes: list[Mistake] = []
    left_out = 0
    for low, first, second in zip(lows, matched, reduced, strict=True):
        size = low or form.size
        scored = score_pairs(
            first, [left_row[p.left] for p in data.pairs], second, [right_row[p.right] for p in data.pairs]
        )
        left_out = data.listed - len(scored.rows)
        used = [data.pairs[row] for row in scored.rows]
        same = np.array([pair.same for pair in used], dtype=bool)
        figures.append(_figure(size, low is None, scored, used))
        curves += roc_curve(f"second photo {size} px", scored.scores[same], scored.scores[~same])
        one, two = scored.scores[same], scored.scores[~same]
        curves += score_curves(f"{size} px", {"one person": one, "two people": two})
        if size == min([*low_sizes, form.size]):
            gallery = pictures([pair.left for pair in used], low if match_gallery else None)
            probes = pictures([pair.right for pair in used], low)
            mistakes = worst_pairs(f"{size} px: ", scored.scores, same, gallery, probes)
    values = np.array([figure.value for figure in figures])
    curves.append(Curve("accuracy", "resolution", np.array([*low_sizes, form.size], dtype=float), values))
    if data.listed != PUBLISHED_PAIRS:
        notes += (f"The list holds {data.listed:,} pairs, LFW's own {PUBLISHED_PAIRS:,}.",)
    if match_gallery:
        notes += ("Both photos of a pair are reduced; the published figures reduce the second one only.",)
    return Outcome(
        PROTOCOL,
        tuple(figures),
        tuple(curves),
        {"pairs in the list": data.listed, "pairs left out": left_out, "pictures": len({*left, *right})},
        tuple(sorted(missing.items())),
        notes,
        incomplete=left_out > 0,
        mistakes=tuple(mistakes),
    )


def _split(embedded: Embedded, lengths: Sequence[int]) -> list[Embedded]:
    ends = np.cumsum(lengths).tolist()
    return [embedded[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _figure(size: int, unreduced: bool, scored: PairScores, pairs: Sequence[LfwPair]) -> Figure:
    known = PUBLISHED_FULL if unreduced else PUBLISHED.get(size)
    name = f"accuracy, second photo at {size} px"
    paper, rerun = (known.paper, known.rerun) if known else (None, None)
    folds = [pair.fold for pair in pairs]
    if len(set(folds)) < 2:
        return Figure(name, float("nan"), len(pairs), paper=paper, rerun=rerun, note="fewer than two folds left")
    right = ten_fold_decisions(scored.scores, [pair.same for pair in pairs], folds)
    _, fold = np.unique(folds, return_inverse=True)
    accuracies = np.bincount(fold, weights=right) / np.bincount(fold)
    spread = float(accuracies.std())
    return Figure(name, float(accuracies.mean()), len(pairs), _interval(right, pairs), spread, paper, rerun)


def _interval(right: NDArray[np.bool_], pairs: Sequence[LfwPair]) -> tuple[float, float] | None:
    people = PairPeople.of(*([getattr(pair, side).split("/")[0] for pair in pairs] for side in ("left", "right")))
    return bootstrap_over_pairs(right, people)
