"""Own pairs: a list of two pictures and whether they show one person, in full and with the second one reduced."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.pair_list import NamedPair, read_pair_list
from evaluation.lists.text_lists import PictureFolder
from evaluation.metrics.bootstrap import PairPeople, bootstrap_over_pairs
from evaluation.metrics.curves import roc_curve, score_curves
from evaluation.metrics.figures import Curve, Figure, Mistake, Outcome
from evaluation.metrics.identification import pair_cosines
from evaluation.metrics.verification import best_decisions
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, match_note, of_gallery, swapped
from evaluation.scoring.both_ways import NOTE, both_ways
from evaluation.scoring.dataset_part import (
    NOBODY,
    EmbeddedPart,
    Part,
    alignment_of,
    embed_part,
    embed_part_at,
    of_found,
    with_faces,
)
from evaluation.scoring.discarding import NORM, SIDE, Qualities, discarded_pairs, known_sides, norms
from evaluation.scoring.faces import WHOLE, FaceSource
from evaluation.scoring.mistakes import worst_pairs
from evaluation.scoring.native_sides import by_side
from evaluation.scoring.pairs import PairScores, fold_figure, measurable_figures, people_of_pairs, reduced_sizes
from shards.command import UserError

PROTOCOL = "Own pairs"
FARS = (0.1, 0.01, 0.001, 0.0001)
FACE_EDGES = (16, 24, 32, 64, 128)
# Pairs whose embeddings are side by side in memory.
_AT_ONCE = 65_536


@dataclass(frozen=True)
class Data:
    """The pictures, and which of them are compared.

    Attributes:
        protocol: as reports name it.
        pictures: all of them.
        pairs: of their names, those of one person first.
        notes: what a reader must know of this set.
    """

    protocol: str
    pictures: Part
    pairs: list[NamedPair]
    notes: tuple[str, ...] = ()


def read(
    pairs: Path, root: Path, faces: FaceSource = WHOLE, *, protocol: str = PROTOCOL, notes: tuple[str, ...] = ()
) -> Data:
    """Read the list, and find the faces in its pictures.

    Args:
        pairs: the list.
        root: folder of the pictures, which the list names relative to it.
        faces: where the faces stand.
        protocol: as reports name it.
        notes: what a reader must know of this set.

    Raises:
        UserError: the list or the folder does not fit.
    """
    if not root.is_dir():
        raise UserError(f"--root: no folder {root}; name the folder that the names in {pairs} are relative to")
    listed = sorted(read_pair_list(pairs), key=lambda pair: not pair.same)
    names = sorted({name for pair in listed for name in (pair.left, pair.right)})
    folder = PictureFolder(root)
    if not any(folder.path(name).is_file() for name in names):
        raise UserError(
            f"none of {len(names):,} pictures of {pairs}, such as {names[0]}, is in {root}; name their folder"
        )
    (part,) = with_faces([Part(folder, [(name, NOBODY) for name in names])], faces)
    return Data(protocol, part, listed, notes)


def measure(
    data: Data, embedder: PictureEmbedder, *, sizes: Sequence[int] = (), match_gallery: MatchGallery | None = None
) -> Outcome:
    """Run the protocol.

    Args:
        data: pictures and pairs.
        embedder: the model.
        sizes: to which the second picture of each pair is reduced, beside the pairs as they are.
        match_gallery: reduce the first picture to the same size, or take the mean of both.

    Raises:
        UserError: faces are to be aligned, and the checkpoint's template does not fit.
    """
    alignment = alignment_of([data.pictures], embedder)
    full = embedder.preprocessing.size
    lows, notes = reduced_sizes(sizes, full)
    each = [None, *lows]
    left, right = _side(data, "left"), _side(data, "right")
    first = embed_part_at(left, of_gallery(embedder), each if match_gallery else [None], match_gallery)
    second = embed_part_at(right, embedder, each)
    people, told = _people(data)
    figures: list[Figure] = []
    curves: list[Curve] = []
    left_out = 0
    for number, low in enumerate(each):
        scored = _score(data, first[number] if match_gallery else first[0], second[number])
        left_out = max(left_out, scored.left_out)
        prefix = f"second at {low} px: " if low else ""
        of_size = _all_figures(data, scored, people, prefix)
        curves += _curves(f"{low or full} px" if lows else "", scored, _same(data, scored), data.protocol)
        firsts = second[number] if swapped(embedder) else first[number] if match_gallery else first[0]
        # Norms of two models are on two scales: the probes' alone then tell.
        curves += _discarded(data, scored, firsts, second[number], f"{low or full} px" if lows else "")
        if low is None:
            by_size, line, discarded = _by_face(data, scored, people)
            of_size, curves = of_size + by_size, curves + ([] if lows else line) + discarded
            if swap := swapped(embedder):
                other = _score(data, embed_part(left, of_gallery(swap)), embed_part(right, swap))
                of_other = _all_figures(data, other, people, prefix) + _by_face(data, other, people)[0]
                of_size, notes = both_ways(of_size, of_other), (*notes, NOTE)
        figures += of_size
        if low == min(lows, default=None):
            mistakes = _mistakes(data, scored.found(), embedder, low if match_gallery else None, low)
    curves += _areas(figures, lows, full)
    faults = dict(fault for part in (*first, *second) for fault in part.faults.items())
    return Outcome(
        data.protocol,
        tuple(figures),
        tuple(curves),
        _counts(data, left_out),
        tuple(sorted(faults.items())),
        (*data.notes, *_notes(told, match_gallery), *notes),
        incomplete=bool(faults),
        mistakes=tuple(mistakes),
        alignment=alignment,
        as_published=match_gallery is None,
    )


def _areas(figures: Sequence[Figure], lows: Sequence[int], full: int) -> list[Curve]:
    """Return the curve of the area under the ROC over the sizes, where there are several."""
    if not lows:
        return []
    areas = {figure.name: figure.value for figure in figures}
    values = np.array([areas["AUC"], *(areas[f"second at {low} px: AUC"] for low in lows)])
    return [Curve("AUC", "resolution", np.array([full, *lows], dtype=float), values)]


def _counts(data: Data, left_out: int) -> dict[str, int]:
    return {
        "pairs of one person": sum(pair.same for pair in data.pairs),
        "pairs of two people": sum(not pair.same for pair in data.pairs),
        "pairs left out": left_out,
        "pictures": len(data.pictures.named),
    }


def _people(data: Data) -> tuple[PairPeople, bool]:
    """Return who stands in the pairs, by the folders of the pictures, and whether these tell."""
    named = [(pair.left, pair.right) for pair in data.pairs]
    count = sum(pair.same for pair in data.pairs)
    same, other, told = people_of_pairs(named[:count], named[count:], _folder)
    return PairPeople.joined(same, other), told


def _side(data: Data, side: str) -> Part:
    names = sorted({getattr(pair, side) for pair in data.pairs})
    return replace(data.pictures, named=[(name, NOBODY) for name in names])


def _folder(name: str) -> str:
    """Return whom a picture shows, by its folder: `anna/1.jpg` shows anna."""
    return str(PurePosixPath(name).parent)


def _score(data: Data, left: EmbeddedPart, right: EmbeddedPart) -> PairScores:
    """Score the pairs, the embeddings of some of them at a time in memory."""
    places = [{name: row for row, name in enumerate(part.names[: len(part.people)])} for part in (left, right)]
    lost = data.pictures.faces.lost
    rows, missed, discarded = [], [], 0
    for number, pair in enumerate(data.pairs):
        if pair.left in lost or pair.right in lost:
            missed += [number] if pair.same else []
            discarded += not pair.same
        elif pair.left in places[0] and pair.right in places[1]:
            rows.append(number)
    scores = np.empty(len(rows))
    for start in range(0, len(rows), _AT_ONCE):
        some = [data.pairs[row] for row in rows[start : start + _AT_ONCE]]
        first = left.vectors[[places[0][pair.left] for pair in some]]
        scores[start : start + len(some)] = pair_cosines(first, right.vectors[[places[1][p.right] for p in some]])
    unusable = len(data.pairs) - len(rows) - len(missed) - discarded
    return PairScores(scores, np.array(rows, dtype=np.int64), unusable).with_misses(missed, discarded)


def _same(data: Data, scored: PairScores) -> NDArray[np.bool_]:
    return np.array([data.pairs[row].same for row in scored.rows], dtype=bool)


def _figures(data: Data, scored: PairScores, people: PairPeople, prefix: str) -> list[Figure]:
    """Return the accuracy over folds where the list has them, then the figures of verification."""
    used = [data.pairs[row] for row in scored.rows]
    folds = [pair.fold for pair in used if pair.fold is not None]
    of_rows = people.of_rows(scored.rows)
    figures = []
    if folds and len(folds) == len(used):
        name = f"{prefix}accuracy over {len(set(folds))} folds"
        figures.append(fold_figure(name, scored.scores, _same(data, scored).tolist(), folds, of_rows))
    return figures + measurable_figures(scored.scores, _same(data, scored), of_rows, FARS, prefix=prefix)


def _discarded(data: Data, scored: PairScores, left: EmbeddedPart, right: EmbeddedPart, panel: str) -> list[Curve]:
    """Return the error against the share discarded by the norm of the embedding."""
    used = [data.pairs[row] for row in scored.rows]
    qualities: list[Qualities] = []
    for part, name in ((left, "left"), (right, "right")):
        lengths = dict(zip(part.names, norms(part.vectors, len(part.lost)).tolist(), strict=True))
        qualities.append({NORM: np.array([lengths.get(getattr(pair, name), np.nan) for pair in used])})
    return discarded_pairs(panel, scored.scores, _same(data, scored), *qualities)


def _all_figures(data: Data, scored: PairScores, people: PairPeople, prefix: str) -> list[Figure]:
    """Return the figures of all pairs, then of those in which both faces were found where some were not."""
    figures, found = _figures(data, scored, people, prefix), scored.found()
    if len(found.rows) < len(scored.rows):
        figures += of_found(_figures(data, found, people, prefix))
    return figures


def _curves(panel: str, scored: PairScores, truth: NDArray[np.bool_], protocol: str) -> list[Curve]:
    one, two = scored.scores[truth], scored.scores[~truth]
    return [*roc_curve(panel or protocol, one, two), *score_curves(panel, {"one person": one, "two people": two})]


def _by_face(data: Data, scored: PairScores, people: PairPeople) -> tuple[list[Figure], list[Curve], list[Curve]]:
    """Return the accuracy at the best threshold by the smaller face of a pair, its line, and that of discarding."""
    sides = {name: data.pictures.side(name) for name, _ in data.pictures.named}
    used = [data.pairs[row] for row in scored.rows]
    smaller = np.array([min(sides[pair.left], sides[pair.right]) for pair in used], dtype=np.int64)
    right = best_decisions(scored.scores, _same(data, scored))
    of_rows = people.of_rows(scored.rows)
    quality = {SIDE: known_sides(smaller)}
    discarded = discarded_pairs("", scored.scores, _same(data, scored), quality, quality)
    figures, line = by_side(
        "accuracy",
        right,
        smaller,
        lambda rows: bootstrap_over_pairs(right[rows], of_rows.of_rows(rows)),
        of="smaller face",
        edges=FACE_EDGES,
    )
    return figures, line, discarded


def _mistakes(
    data: Data, scored: PairScores, embedder: PictureEmbedder, first: int | None, second: int | None
) -> list[Mistake]:
    used = [data.pairs[row] for row in scored.rows]
    of_first, of_second = of_gallery(embedder).preprocessing, embedder.preprocessing
    left = [data.pictures.picture(pair.left, of_first, first) for pair in used]
    right = [data.pictures.picture(pair.right, of_second, second) for pair in used]
    where = f"second at {second} px: " if second else ""
    return worst_pairs(where, scored.scores, _same(data, scored), left, right)


def _notes(told: bool, match_gallery: MatchGallery | None) -> list[str]:
    notes = []
    if not told:
        notes.append("The folders of the pictures do not tell whom they show: intervals take pairs as independent.")
    return [*notes, *match_note(match_gallery, "First pictures", "the second ones")]
