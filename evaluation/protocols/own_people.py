"""Own people: a gallery and probes in folders of people, and strangers who must not be found.

One template a person of the gallery: the normalised mean of the normalised embeddings of all photos of that person.
Identification: rank-r of each probe among all people, TPIR at FPIR with strangers. Verification: every probe with
every person of the gallery.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.lists.people_folders import PeopleFolder, read_people, refuse_names_by_case, some_names, track_of
from evaluation.lists.text_lists import PictureFolder
from evaluation.metrics.figures import Curve, Figure, Mistake, Outcome
from evaluation.metrics.identification import (
    rank_rate,
)
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, match_note, of_gallery
from evaluation.scoring.dataset_part import (
    EmbeddedPart,
    Part,
    alignment_of,
    embed_part_at,
    faults_of,
    of_found,
    of_hidden_files,
    with_faces,
)
from evaluation.scoring.discarding import SIDE, discarded_probes, known_sides
from evaluation.scoring.faces import WHOLE, FaceSource
from evaluation.scoring.gallery_search import FARS, GallerySearch
from evaluation.scoring.native_sides import by_side
from evaluation.scoring.pairs import reduced_sizes
from evaluation.scoring.track_probes import NOTE, count_tracks, search_tracks
from shards.command import UserError

PROTOCOL = "Own people"
FACE_EDGES = (16, 24, 32, 64, 128)


@dataclass(frozen=True)
class Data:
    """The photos.

    Attributes:
        gallery: whom the system knows.
        probes: of people in the gallery.
        strangers: of people who are not; empty where none were given.
        unknown: number of photos by person, of probes who are neither in the gallery nor strangers.
        loose: number of photos that lie in no person's folder.
        tracks: folders below a person's are tracks, which are measured beside single pictures.
    """

    gallery: Part
    probes: Part
    strangers: Part
    unknown: dict[str, int]
    loose: int
    tracks: bool = False


def read(
    gallery: Path, probes: Path, strangers: Path | None = None, faces: FaceSource = WHOLE, *, tracks: bool = False
) -> Data:
    """Find the photos, and the faces in them.

    Args:
        gallery: folder of people whom the system knows.
        probes: folder of other photos of the same people, under the same names.
        strangers: folder of people who must not be found, or of photos of such.
        faces: where the faces stand.
        tracks: a folder below a person's folder is a track.

    Raises:
        UserError: a folder does not fit, no track is there, or the folders contradict each other.
    """
    if gallery.resolve() == probes.resolve():
        raise UserError(f"--gallery and --probes are both {gallery}; every photo would find itself: name other photos")
    known, asked = (read_people(*one, tracks=tracks) for one in ((gallery, "--gallery"), (probes, "--probes")))
    others = read_people(strangers, "--strangers", loose_is_enough=True, tracks=tracks) if strangers else None
    if tracks and not any(track_of(path) for path, _ in asked.named):
        raise UserError(f"--tracks: {probes} holds no track; expected {probes}/PERSON/TRACK/PICTURE")
    refuse_names_by_case(known.people | asked.people, f"{gallery} and {probes}")
    outside = others.people if others else set()
    if both := sorted(known.people & outside):
        raise UserError(f"{some_names(both)} stand in both --gallery and --strangers; strangers are in no gallery")
    if not known.people & asked.people:
        raise UserError(
            f"none of the {len(asked.people):,} people of {probes}, such as {min(asked.people)}, is in {gallery}, "
            f"which holds {some_names(sorted(known.people), 3)}; give the same person's folder the same name in both"
        )
    mated = [(path, person) for path, person in asked.named if person in known.people]
    also = [(path, person) for path, person in asked.named if person in outside]
    unknown = Counter(person for _, person in asked.named if person not in known.people | outside)
    # A photo in no person's folder stands for a stranger of his own.
    strange = [*others.named, *((path, path) for path in others.loose)] if others else []
    parts = [
        _part(known, "gallery", known.named),
        # Probes of strangers lie in the probes' folder: they are told apart below.
        _part(asked, "probes", [*mated, *also]),
        *([_part(others, "strangers", strange)] if others else []),
    ]
    found = with_faces(parts, faces)
    return Data(
        found[0],
        found[1],
        found[2] if others else Part(PictureFolder(probes), [], label="strangers"),
        dict(sorted(unknown.items())),
        len(known.loose) + len(asked.loose),
        tracks,
    )


def _part(folder: PeopleFolder, label: str, named: list[tuple[str, str]]) -> Part:
    return Part(PictureFolder(folder.root), named, folder.hidden, label)


def measure(
    data: Data, embedder: PictureEmbedder, *, sizes: Sequence[int] = (), match_gallery: MatchGallery | None = None
) -> Outcome:
    """Run the protocol.

    Args:
        data: the photos.
        embedder: the model.
        sizes: of reduced probes in pixels, beside the probes as they are.
        match_gallery: reduce the gallery's photos to the same size, or take the mean of both.

    Raises:
        UserError: faces are to be aligned, and the checkpoint's template does not fit.
    """
    alignment = alignment_of([data.gallery, data.probes, data.strangers], embedder)
    form = embedder.preprocessing
    lows, notes = reduced_sizes(sizes, form.size)
    each = [None, *lows]
    galleries = embed_part_at(data.gallery, of_gallery(embedder), each if match_gallery else [None], match_gallery)
    probes, strangers = (embed_part_at(part, embedder, each) for part in (data.probes, data.strangers))
    figures: list[Figure] = []
    curves: list[Curve] = []
    mistakes: list[Mistake] = []
    rank_1, unplaced = [], 0
    for number, low in enumerate(each):
        prefix = f"{low} px: " if low else ""
        gallery = galleries[number] if match_gallery else galleries[0]
        mated, also = _told_apart(probes[number], data)
        placed, left_out = _placed(mated, gallery)
        found = GallerySearch.of(gallery, placed, strangers[number].joined_by(also))
        figures += found.figures(prefix)
        if len(placed.lost) or not np.isin(placed.people, found.names).all():
            figures += of_found(found.without_lost().figures(prefix))
        curves += found.curves(f"{low or form.size} px" if lows else "own people")
        if data.tracks:
            of_tracks = search_tracks(gallery, placed, strangers[number], also, low or form.size)
            figures += [one for way, tracks in of_tracks.items() for one in tracks.figures(f"{prefix}{way}: ")]
            curves += [line for way, tracks in of_tracks.items() if not low for line in tracks.curves(way)]
        rank_1.append(rank_rate(found.ranked.ranks, 1))
        unplaced = max(unplaced, left_out)
        if low is None:
            by_size, line, discarded = _by_face(found)
            figures, curves = figures + by_size, curves + ([] if lows else line) + discarded
        if low == min(lows, default=None):
            mistakes = found.mistakes(prefix)
    if lows:
        curves.append(Curve("rank-1", "resolution", np.array([form.size, *lows], float), np.array(rank_1)))
    faults = tuple(sorted({fault for part in (*galleries, *probes, *strangers) for fault in faults_of([part])}))
    return Outcome(
        PROTOCOL,
        tuple(figures),
        tuple(curves),
        _counts(data, unplaced),
        faults,
        (*_notes(data, probes[0], galleries[0], match_gallery), *notes),
        incomplete=bool(faults),
        mistakes=tuple(mistakes),
        alignment=alignment,
    )


def _told_apart(probes: EmbeddedPart, data: Data) -> tuple[EmbeddedPart, EmbeddedPart]:
    """Return the probes of people in the gallery, and those of strangers."""
    known = sorted({person for _, person in data.gallery.named})
    used, lost = np.isin(probes.people, known), np.isin(probes.lost, known)
    return probes.chosen(used, lost), probes.chosen(~used, ~lost)


def _placed(mated: EmbeddedPart, gallery: EmbeddedPart) -> tuple[EmbeddedPart, int]:
    """Leave out probes of people of whom no photo in the gallery can be read: nobody could find them.

    Where photos could be read but no face was found in them, the person counts as not found.
    """
    present = np.concatenate([gallery.people, gallery.lost])
    used, lost = np.isin(mated.people, present), np.isin(mated.lost, present)
    return mated.chosen(used, lost), int((~used).sum() + (~lost).sum())


def _by_face(found: GallerySearch) -> tuple[list[Figure], list[Curve], list[Curve]]:
    """Return rank-1 by the side of the face, its line, and the error against the share discarded by that side."""
    hits, people, sides = found.ranked.within(1), found.mated.everyone, found.mated.sides
    figures, line = by_side(
        "rank-1",
        hits,
        sides,
        lambda rows: bootstrap_over_people(hits[rows], people[rows]),
        of="face",
        edges=FACE_EDGES,
    )
    return figures, line, discarded_probes("own people", ~hits, {SIDE: known_sides(sides)})


def _counts(data: Data, unplaced: int) -> dict[str, int]:
    known = {person for _, person in data.gallery.named}
    mated = [person for _, person in data.probes.named if person in known]
    counts = {
        "people in the gallery": len(known),
        "photos in the gallery": len(data.gallery.named),
        "probes": len(mated),
        "people in the probes": len(set(mated)),
    }
    if data.strangers.named or len(mated) < len(data.probes.named):
        strange = [person for _, person in [*data.strangers.named, *data.probes.named] if person not in known]
        counts |= {"photos of strangers": len(strange), "strangers": len(set(strange))}
    if data.tracks:
        counts |= count_tracks(data.probes.named, data.strangers.named)
    if data.unknown:
        counts["probes of people who are not in the gallery, not measured"] = sum(data.unknown.values())
    if unplaced:
        counts["probes left out, for no photo of their person in the gallery can be read"] = unplaced
    return counts


def _notes(data: Data, probes: EmbeddedPart, gallery: EmbeddedPart, match_gallery: MatchGallery | None) -> list[str]:
    photos = list(Counter(gallery.people.tolist()).values()) or [0]
    notes = [f"A template is the mean of a person's {min(photos)} to {max(photos)} photos in the gallery."]
    if data.tracks:
        notes.append(NOTE)
    if data.unknown:
        notes.append(
            f"{sum(data.unknown.values()):,} probes show {len(data.unknown):,} people who are not in the gallery "
            f"({some_names(list(data.unknown))}); they are not measured: give them with --strangers."
        )
    if data.loose:
        notes.append(f"{data.loose:,} photos lie in no person's folder and are not measured.")
    notes += match_note(match_gallery, "Photos in the gallery", "the probes")
    people = len(set(probes.everyone.tolist()))
    each = len(probes.everyone) / max(people, 1)
    # each n (n - 1) comparisons of n people.
    needed = {far: math.ceil((1 + math.sqrt(1 + 4 / (far * max(each, 1)))) / 2) for far in FARS}
    notes.append(
        f"With {each:.3g} probes a person, all of them compared with all, a FAR can be measured from so many people "
        f"on: {', '.join(f'{100 * far:g} % {count:,}' for far, count in needed.items())}; here are {people:,}. "
        "To be trusted it takes 30 times the comparisons."
    )
    return [*notes, *of_hidden_files([data.gallery, data.probes, data.strangers])]
