"""QMUL-SurvFace, verification: pairs of surveillance faces, resized whole or aligned as `scoring.faces` says.

Exact TAR at FAR; the authors' code interpolates between two points of the ROC with an inverted slope, so that
its TARs differ slightly (docs/protocols.md).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from evaluation.lists.mat_lists import read_name_pairs
from evaluation.lists.text_lists import PictureFolder, find_folder, find_list
from evaluation.metrics.bootstrap import PairPeople, bootstrap_over_pairs
from evaluation.metrics.curves import roc_curve, score_curves
from evaluation.metrics.figures import Curve, Figure, Outcome
from evaluation.metrics.verification import best_decisions
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.gallery_model import of_gallery, swapped
from evaluation.models.pictures import Picture
from evaluation.scoring.both_ways import NOTE, both_ways
from evaluation.scoring.dataset_part import NOBODY, Part, alignment_of, of_found, with_faces
from evaluation.scoring.discarding import NORM, SIDE, Qualities, discarded_pairs, known_sides, norms
from evaluation.scoring.faces import WHOLE, FaceSource
from evaluation.scoring.mistakes import worst_pairs
from evaluation.scoring.native_sides import by_side
from evaluation.scoring.pairs import PairScores, people_of_pairs, score_pairs, verification_figures
from evaluation.scoring.published import SURVFACE_AUC, SURVFACE_TAR

PROTOCOL = "QMUL-SurvFace verification"
FARS = (0.3, 0.1, 0.01, 0.001)
PUBLISHED_PAIRS = 5_319
FOLDERS = (
    "QMUL-SurvFace/Face_Verification_Test_Set",
    "Face_Verification_Test_Set",
    "QMUL-SurvFace/QMUL-SurvFace/Face_Verification_Test_Set",
)


@dataclass(frozen=True)
class Data:
    """The pictures, and the names of pairs of one person and of two."""

    pictures: Part
    positive: list[tuple[str, str]]
    negative: list[tuple[str, str]]


def read(root: Path, lists: Sequence[Path], faces: FaceSource = WHOLE) -> Data:
    """Read the pair lists.

    Args:
        root: folder `QMUL-SurvFace`.
        lists: folders searched for the pair lists before the data set's own.
        faces: where the faces stand.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(root, *FOLDERS)
    places = [*lists, folder, folder.parent / "Face_Verification_Evaluation", root, Path("data")]
    positive, negative = (
        read_name_pairs(find_list(f"{kind}_pairs_names.mat", places), f"{kind}_pairs_names")
        for kind in ("positive", "negative")
    )
    names = sorted({name for pair in (*positive, *negative) for name in pair})
    part = Part(PictureFolder(folder / "verification_images"), [(name, NOBODY) for name in names])
    (pictures,) = with_faces([part], faces)
    return Data(pictures, positive, negative)


def measure(data: Data, embedder: PictureEmbedder) -> Outcome:
    """Run the protocol.

    Raises:
        UserError: faces are to be aligned, and the checkpoint's template does not fit.
    """
    alignment = alignment_of([data.pictures], embedder)
    pairs = [*data.positive, *data.negative]
    embedded, pictures = _embed(data, embedder)
    enrolled = _embed(data, of_gallery(embedder))[0] if swapped(embedder) else embedded
    row = {name: number for number, name in enumerate(pictures)}
    scored = _score(data, enrolled, embedded, row)
    same = scored.rows < len(data.positive)
    positive_people, negative_people, told = people_of_pairs(data.positive, data.negative)
    people = PairPeople.joined(positive_people, negative_people)
    published = alignment.kind == "whole"
    sides = {name: data.pictures.side(name) for name, _ in data.pictures.named}
    figures, line = _all_figures(data, scored, people, sides, published=published)
    if swapped(embedder):
        other_way = _all_figures(data, _score(data, embedded, enrolled, row), people, sides, published=False)[0]
        figures = both_ways(figures, other_way)
    positives, negatives = scored.scores[same], scored.scores[~same]
    shown = scored.found()
    used = [pairs[place] for place in shown.rows]
    return Outcome(
        PROTOCOL,
        tuple(figures),
        (
            *roc_curve("QMUL-SurvFace", positives, negatives),
            *score_curves("", {"one person": positives, "two people": negatives}),
            *line,
            # Of two models' norms, which are on two scales, the probes' alone.
            *_discarded(data, scored, dict(zip(row, norms(embedded.vectors).tolist(), strict=True)), sides),
        ),
        {
            "positive pairs": len(data.positive),
            "negative pairs": len(data.negative),
            "pairs left out": scored.left_out,
            "pictures": len(data.pictures.named),
        },
        tuple(sorted({**enrolled.faults, **embedded.faults}.items())),
        (*_notes(data, len(negatives), told), *((NOTE,) if swapped(embedder) else ())),
        incomplete=scored.left_out > 0,
        mistakes=tuple(
            worst_pairs(
                "",
                shown.scores,
                shown.rows < len(data.positive),
                [pictures[a] for a, _ in used],
                [pictures[b] for _, b in used],
            )
        ),
        alignment=alignment,
    )


def _embed(data: Data, embedder: PictureEmbedder) -> tuple[Embedded, dict[str, Picture]]:
    """Embed the pictures whose faces are not lost; return them by name, in the order of the embeddings."""
    faces, folder, form = data.pictures.faces, data.pictures.folder, embedder.preprocessing
    pictures = {
        name: faces.picture(name, folder.path(name), name, form)
        for name, _ in data.pictures.named
        if name not in faces.lost
    }
    return embedder.embed(list(pictures.values())), pictures


def _score(data: Data, first: Embedded, second: Embedded, row: dict[str, int]) -> PairScores:
    pairs = [*data.positive, *data.negative]
    there = np.array([number for number, (a, b) in enumerate(pairs) if a in row and b in row], dtype=np.int64)
    scored = score_pairs(first, [row[pairs[n][0]] for n in there], second, [row[pairs[n][1]] for n in there])
    missed = sorted(set(range(len(pairs))) - set(there.tolist()))
    of_one = [number for number in missed if number < len(data.positive)]
    return replace(scored, rows=there[scored.rows]).with_misses(of_one, len(missed) - len(of_one))


def _all_figures(
    data: Data, scored: PairScores, people: PairPeople, sides: dict[str, int], *, published: bool
) -> tuple[list[Figure], list[Curve]]:
    """Return the figures of all pairs, of those in which both faces were found, and by size, with its curve."""
    figures, found = _figures(scored, len(data.positive), people, published=published), scored.found()
    if len(found.rows) < len(scored.rows):
        figures += of_found(_figures(found, len(data.positive), people, published=False))
    by_size, line = _by_size(data, scored, people, sides)
    return figures + by_size, line


def _discarded(data: Data, scored: PairScores, lengths: dict[str, float], sides: dict[str, int]) -> list[Curve]:
    """Return the error against the share discarded, by norms and by sides; pictures without a face go first."""
    pairs = [*data.positive, *data.negative]
    qualities: list[Qualities] = []
    for place in (0, 1):
        names = [pairs[row][place] for row in scored.rows]
        known = known_sides(np.array([sides[name] for name in names], dtype=np.int64))
        qualities.append({NORM: np.array([lengths.get(name, -np.inf) for name in names]), SIDE: known})
    return discarded_pairs("", scored.scores, scored.rows < len(data.positive), *qualities)


def _figures(scored: PairScores, positive: int, people: PairPeople, *, published: bool) -> list[Figure]:
    same = scored.rows < positive
    return verification_figures(
        scored.scores[same],
        scored.scores[~same],
        (people.of_rows(scored.rows[same]), people.of_rows(scored.rows[~same])),
        FARS,
        published_tar=SURVFACE_TAR if published else None,
        published_auc=SURVFACE_AUC if published else None,
    )


def _by_size(
    data: Data, scored: PairScores, people: PairPeople, sides: dict[str, int]
) -> tuple[list[Figure], list[Curve]]:
    pairs = [*data.positive, *data.negative]
    smaller = np.array([min(sides[a], sides[b]) for a, b in (pairs[row] for row in scored.rows)], dtype=np.int64)
    everyone = people.of_rows(scored.rows)
    right = best_decisions(scored.scores, scored.rows < len(data.positive))
    return by_side("accuracy", right, smaller, lambda rows: bootstrap_over_pairs(right[rows], everyone.of_rows(rows)))


def _notes(data: Data, negatives: int, told: bool) -> tuple[str, ...]:
    notes = [
        "TAR is exact here. The authors' code interpolates between ROC points with an inverted slope, so the "
        "published TARs are slightly off.",
        f"FAR 0.1 % of {negatives:,} negative pairs is {int(np.floor(negatives / 1000))} pairs: that figure is coarse.",
    ]
    notes += [
        f"The list holds {len(pairs):,} {kind} pairs, the paper names {PUBLISHED_PAIRS:,}."
        for kind, pairs in (("positive", data.positive), ("negative", data.negative))
        if len(pairs) != PUBLISHED_PAIRS
    ]
    if not told:
        notes.append("The names of the pictures do not tell whom they show: intervals take pairs as independent.")
    return tuple(notes)
