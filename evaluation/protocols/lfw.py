"""LFW, HR to LR: the first photo of a pair in full, the second reduced (Lai and Lam, 2021).

Ten-fold accuracy on LFW's 6,000 pairs; both photos aligned at the network's size, the second one reduced and
enlarged back.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.text_lists import (
    Landmarks,
    LfwPair,
    PictureFolder,
    find_folder,
    find_list,
    read_landmark_list,
    read_lfw_pairs,
)
from evaluation.metrics.bootstrap import PairPeople
from evaluation.metrics.curves import roc_curve, score_curves
from evaluation.metrics.figures import Alignment, Curve, Figure, Mistake, Outcome
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, embed_sides, gallery_at, match_note, of_gallery, swapped
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, require_template, whole
from evaluation.scoring.both_ways import NOTE, both_ways
from evaluation.scoring.dataset_part import of_found
from evaluation.scoring.discarding import NORM, discarded_pairs, norms
from evaluation.scoring.faces import NotFound, list_source
from evaluation.scoring.mistakes import worst_pairs
from evaluation.scoring.pairs import PairScores, fold_figure, reduced_sizes, score_pairs
from evaluation.scoring.published import LFW as PUBLISHED
from evaluation.scoring.published import LFW_FULL as PUBLISHED_FULL
from shards.command import UserError
from shards.format import Preprocessing

PROTOCOL = "LFW, HR to LR"
PUBLISHED_PAIRS, PUBLISHED_SIZE = 6_000, 128


@dataclass(frozen=True)
class Data:
    """The photos, where their landmarks are and come from, and the pairs.

    Attributes:
        folder: of the photos.
        landmarks: of the photos in which a face was found.
        pairs: whose photos can be compared.
        lost: pairs of which a photo has no landmarks and counts as an error.
        without: reason by name, of photos without landmarks.
        alignment: where the landmarks come from.
    """

    folder: PictureFolder
    landmarks: Landmarks
    pairs: tuple[LfwPair, ...]
    lost: tuple[LfwPair, ...]
    without: dict[str, str]
    alignment: Alignment

    @property
    def listed(self) -> int:
        """Number of all pairs."""
        return len(self.pairs) + len(self.lost)

    def of_rows(self, rows: Iterable[int]) -> list[LfwPair]:
        """Return pairs by their places among all, the lost ones last."""
        everything = [*self.pairs, *self.lost]
        return [everything[row] for row in rows]

    def picture(self, name: str, form: Preprocessing, low: int | None) -> Picture:
        """Return a photo: aligned where its landmarks are known, else whole."""
        points = self.landmarks.points.get(name)
        path = self.folder.path(name)
        return whole(name, path, form, low) if points is None else aligned(name, path, points, form, low)


def read(root: Path, lists: Sequence[Path], not_found: NotFound = "error") -> Data:
    """Read the lists.

    Args:
        root: folder `LFW`.
        lists: folders searched for `LFW.csv` and `lfw_pairs.txt` before the data set's own.
        not_found: what a photo becomes that the landmark list has no face of.

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
    lost = tuple(pair for pair in pairs if pair.left in without or pair.right in without)
    if not usable:
        raise UserError(
            f"none of {len(pairs):,} pairs of {pair_path} has landmarks in {landmark_path}; expected lists of one set"
        )
    asked = len({name for pair in pairs for name in (pair.left, pair.right)})
    became = "errors" if not_found == "error" else "whole pictures"
    alignment = Alignment("landmark list", *list_source(landmark_path), asked, len(without), became)
    if not_found == "whole":
        usable, lost, without = tuple(pairs), (), {}
    return Data(PictureFolder(folder), landmarks, usable, lost, without, alignment)


def measure(
    data: Data,
    embedder: PictureEmbedder,
    *,
    sizes: Sequence[int] = (8, 12, 16, 20),
    match_gallery: MatchGallery | None = None,
) -> Outcome:
    """Run the protocol.

    Args:
        data: photos and pairs.
        embedder: the model.
        sizes: of the second photo in pixels; it is also left as it is.
        match_gallery: reduce the first photo to the same size, or take the mean of both.

    Raises:
        UserError: the checkpoint's template does not fit.
    """
    for one in (embedder, of_gallery(embedder)):
        require_template(one.preprocessing, PROTOCOL)
    full = embedder.preprocessing.size
    low_sizes, notes = reduced_sizes(sizes, full)
    lows = [*low_sizes, None]
    left, right = (_Side.of([getattr(pair, side) for pair in data.pairs]) for side in ("left", "right"))
    matched, reduced = _embed(data, embedder, left.names, right.names, lows, match_gallery=match_gallery)
    figures: list[Figure] = []
    curves: list[Curve] = []
    mistakes: list[Mistake] = []
    values, left_out = [], 0
    for low, first, second in zip(lows, matched, reduced, strict=True):
        size = low or full
        found = score_pairs(first, left.rows, second, right.rows)
        scored = _with_lost(data, found)
        # A file of embeddings may lack the pictures of one size only.
        left_out = max(left_out, data.listed - len(scored.rows))
        figures.append(_figure(size, low is None, scored, data.of_rows(scored.rows), published=match_gallery is None))
        values.append(figures[-1].value)
        if low is None and (swap := swapped(embedder)):
            figures[-1:] = both_ways(figures[-1:], [_other_way(data, swap, left, right, size)])
            values[-1], notes = figures[-3].value, (*notes, NOTE)
        used = data.of_rows(found.rows)
        if data.lost:
            figures += of_found([_figure(size, low is None, found, used, published=False)])
        # Norms of two models are on two scales: the probes' alone then tell.
        curves += _curves(size, found, used, [(second, right) if swapped(embedder) else (first, left), (second, right)])
        if size == min([*low_sizes, full]):
            mistakes = _mistakes(f"{size} px: ", data, found, embedder, (low if match_gallery else None, low))
    curves.append(Curve("accuracy", "resolution", np.array([*low_sizes, full], dtype=float), np.array(values)))
    return Outcome(
        PROTOCOL,
        tuple(figures),
        tuple(curves),
        {"pairs in the list": data.listed, "pairs left out": left_out, "pictures": len({*left.names, *right.names})},
        tuple(sorted({**data.without, **matched[-1].faults, **reduced[-1].faults}.items())),
        (*notes, *_notes(data, match_gallery)),
        incomplete=left_out > 0,
        mistakes=tuple(mistakes),
        alignment=data.alignment,
        as_published=match_gallery is None,
    )


@dataclass(frozen=True)
class _Side:
    """The photos on one side of the pairs.

    Attributes:
        names: of the photos, each once.
        rows: (pairs,) place among them of each pair's photo.
    """

    names: list[str]
    rows: list[int]

    @staticmethod
    def of(shown: Sequence[str]) -> "_Side":
        """Number the photos that the pairs show."""
        names = sorted(set(shown))
        row = {name: number for number, name in enumerate(names)}
        return _Side(names, [row[name] for name in shown])


def _other_way(data: Data, swap: PictureEmbedder, left: _Side, right: _Side, size: int) -> Figure:
    """Return the accuracy in full where the first photos are embedded by the probes' model."""
    (one,), (two,) = _embed(data, swap, left.names, right.names, [None], match_gallery=None)
    scored = _with_lost(data, score_pairs(one, left.rows, two, right.rows))
    return _figure(size, True, scored, data.of_rows(scored.rows), published=False)


def _same(pairs: Sequence[LfwPair]) -> NDArray[np.bool_]:
    """Return whether each pair is of one person."""
    return np.array([pair.same for pair in pairs], dtype=bool)


def _curves(
    size: int, found: PairScores, pairs: Sequence[LfwPair], sides: Sequence[tuple[Embedded, _Side]]
) -> list[Curve]:
    """Return the curves of the pairs with a score."""
    same = _same(pairs)
    of_one, of_two = found.scores[same], found.scores[~same]
    lengths = [{NORM: norms(of.vectors)[np.array(side.rows)[found.rows]]} for of, side in sides]
    return [
        *roc_curve(f"second photo {size} px", of_one, of_two),
        *score_curves(f"{size} px", {"one person": of_one, "two people": of_two}),
        *discarded_pairs(f"{size} px", found.scores, same, *lengths),
    ]


def _notes(data: Data, match_gallery: MatchGallery | None) -> list[str]:
    notes = []
    if data.listed != PUBLISHED_PAIRS:
        notes.append(f"The list holds {data.listed:,} pairs, LFW's own {PUBLISHED_PAIRS:,}.")
    if match_gallery:
        notes += [
            *match_note(match_gallery, "First photos", "the second ones"),
            "The published figures have them in full.",
        ]
    return notes


def _mistakes(
    where: str, data: Data, found: PairScores, embedder: PictureEmbedder, lows: tuple[int | None, int | None]
) -> list[Mistake]:
    """Return the worst pairs, their photos reduced to a size each."""
    used = data.of_rows(found.rows)
    first = _pictures(data, [pair.left for pair in used], of_gallery(embedder).preprocessing, lows[0])
    second = _pictures(data, [pair.right for pair in used], embedder.preprocessing, lows[1])
    return worst_pairs(where, found.scores, _same(used), first, second)


def _pictures(data: Data, names: Sequence[str], form: Preprocessing, low: int | None) -> list[Picture]:
    return [data.picture(name, form, low) for name in names]


def _with_lost(data: Data, scored: PairScores) -> PairScores:
    """Add the pairs of which a photo has no face: those of one person as errors, those of two are left out."""
    rows = [len(data.pairs) + number for number, pair in enumerate(data.lost) if pair.same]
    return scored.with_misses(rows, len(data.lost) - len(rows))


def _embed(
    data: Data,
    embedder: PictureEmbedder,
    left: Sequence[str],
    right: Sequence[str],
    lows: Sequence[int | None],
    *,
    match_gallery: MatchGallery | None,
) -> tuple[list[Embedded], list[Embedded]]:
    """Return the embeddings of the first photos and those of the second ones, for each size; the last is in full.

    All in one go: a photo is read and aligned once, whatever the number of sizes.
    """
    form = of_gallery(embedder).preprocessing
    firsts = [_pictures(data, left, form, low) for low in (lows if match_gallery else [None])]
    seconds = [_pictures(data, right, embedder.preprocessing, low) for low in lows]
    sides = [[picture for part in parts for picture in part] for parts in (firsts, seconds)]
    first, second = embed_sides(embedder, *sides)
    matched = _split(first, [len(part) for part in firsts])
    enrolled = gallery_at(matched, lows, match_gallery) if match_gallery else matched * len(lows)
    return enrolled, _split(second, [len(part) for part in seconds])


def _split(embedded: Embedded, lengths: Sequence[int]) -> list[Embedded]:
    ends = np.cumsum(lengths).tolist()
    return [embedded[end - length : end] for end, length in zip(ends, lengths, strict=True)]


def _figure(size: int, unreduced: bool, scored: PairScores, pairs: Sequence[LfwPair], *, published: bool) -> Figure:
    # The paper's photos in full are 128 pixels wide: the full size of a smaller network is another figure.
    known = (PUBLISHED_FULL if size == PUBLISHED_SIZE else None) if unreduced else PUBLISHED.get(size)
    people = PairPeople.of(*([getattr(pair, side).split("/")[0] for pair in pairs] for side in ("left", "right")))
    name = f"accuracy, second photo at {size} px"
    figure = fold_figure(name, scored.scores, [pair.same for pair in pairs], [pair.fold for pair in pairs], people)
    return replace(figure, paper=known.paper, rerun=known.rerun) if known and published else figure
