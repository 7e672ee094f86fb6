"""TinyFace: low-resolution probes against a mated gallery among distractors without identity.

Every picture is resized whole, or aligned as `evaluation.scoring.faces` says. Rank-1, 5, 10, 20 and mean average
precision over the gallery pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.mat_lists import read_named_identities
from evaluation.lists.text_lists import PictureFolder, find_folder, find_list
from evaluation.metrics.curves import cmc_curve, identification_scores
from evaluation.metrics.figures import Figure, Outcome
from evaluation.metrics.identification import MatedRanks, average_precisions, mated_ranks, rank_rate
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import of_gallery
from evaluation.models.preparation import picture_names
from evaluation.scoring.dataset_part import (
    NOBODY,
    EmbeddedPart,
    Part,
    alignment_of,
    embed_part,
    faults_of,
    of_empty_parts,
    of_found,
    of_hidden_files,
    with_faces,
)
from evaluation.scoring.discarding import NORM, SIDE, discarded_probes, known_sides, norms
from evaluation.scoring.faces import WHOLE, FaceSource
from evaluation.scoring.mistakes import worst_identifications
from evaluation.scoring.native_sides import by_side

PROTOCOL = "TinyFace"
RANKS = (1, 5, 10, 20)
PUBLISHED_DISTRACTORS = 153_428


@dataclass(frozen=True)
class Data:
    """The mated gallery, the distractors that join it without identity, and the probes."""

    match: Part
    distractors: Part
    probes: Part


def read(root: Path, lists: Sequence[Path], faces: FaceSource = WHOLE) -> Data:
    """Read the lists, and the names of the distractors from their folder, if there is one.

    Args:
        root: folder `TinyFace`.
        lists: folders searched for the .mat files before the data set's own.
        faces: where the faces stand.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(root, "Testing_Set", "TinyFace/Testing_Set", "tinyface/Testing_Set")
    places = [*lists, folder, root, Path("data")]
    match = read_named_identities(find_list("gallery_match_img_ID_pairs.mat", places), "gallery_set", "gallery_ids")
    probes = read_named_identities(find_list("probe_img_ID_pairs.mat", places), "probe_set", "probe_ids")
    names, hidden = picture_names(folder / "Gallery_Distractor")
    parts = [
        Part(PictureFolder(folder / "Gallery_Match"), match),
        Part(PictureFolder(folder / "Gallery_Distractor"), [(name, NOBODY) for name in names], hidden),
        Part(PictureFolder(folder / "Probe"), probes),
    ]
    return Data(*with_faces(parts, faces))


def measure(data: Data, embedder: PictureEmbedder) -> Outcome:
    """Run the protocol.

    Raises:
        UserError: faces are to be aligned, and the checkpoint's template does not fit.
    """
    alignment = alignment_of([data.match, data.distractors, data.probes], embedder)
    match, others = (embed_part(part, of_gallery(embedder)) for part in (data.match, data.distractors))
    probes = embed_part(data.probes, embedder)
    parts = (match, others, probes)
    if not len(match.people):
        # Without a mated gallery nobody is missed, but nobody can be found either.
        probes = probes.without_any()
    gallery, owners = np.concatenate([match.vectors, others.vectors]), np.concatenate([match.people, others.people])
    gallery_pictures = [*match.pictures, *others.pictures]
    people = probes.everyone
    found = mated_ranks(probes.vectors, probes.people, gallery, owners)
    ranked = found.with_misses(len(probes.lost))
    precisions = average_precisions(probes.vectors, probes.people, gallery, owners)
    figures = [
        *_figures(ranked, np.concatenate([precisions, np.zeros(len(probes.lost))]), people),
        *(of_found(_figures(found, precisions, probes.people)) if len(probes.lost) else ()),
    ]
    hits, sides = ranked.within(1), probes.sides
    qualities = {NORM: norms(probes.vectors, len(probes.lost)), SIDE: known_sides(sides)}
    by_size, line = by_side("rank-1", hits, sides, lambda r: bootstrap_over_people(hits[r], people[r]))
    faults = faults_of(parts)
    return Outcome(
        PROTOCOL,
        (*figures, *by_size),
        (
            *cmc_curve("TinyFace", ranked.ranks),
            *identification_scores("", ranked),
            *line,
            *discarded_probes("", ~hits, qualities),
        ),
        {"probes": parts[2].listed, "mated gallery": match.listed, "distractors": others.listed},
        faults,
        (
            *_notes(parts, int((found.ranks == 0).sum()), whole=alignment.kind == "whole"),
            *of_hidden_files([data.distractors]),
        ),
        incomplete=bool(faults) or not others.listed,
        mistakes=tuple(
            worst_identifications(
                "", ranked, lambda probe: probes.pictures[probe], lambda probe, row: gallery_pictures[row]
            )
        ),
        alignment=alignment,
        as_published=bool(others.listed),
    )


def _figures(ranked: MatedRanks, precisions: NDArray[np.float64], people: NDArray[np.str_]) -> list[Figure]:
    mean = float(precisions.mean()) if len(people) else float("nan")
    return [
        *(
            Figure(
                f"rank-{r}", rank_rate(ranked.ranks, r), len(people), bootstrap_over_people(ranked.within(r), people)
            )
            for r in RANKS
        ),
        Figure("mAP", mean, len(people), bootstrap_over_people(precisions, people)),
    ]


def _notes(parts: Sequence[EmbeddedPart], absent: int, *, whole: bool) -> tuple[str, ...]:
    notes = []
    if whole:
        notes.append(
            "The figures that papers report for TinyFace are of pictures aligned by five points and stand beside no "
            "whole picture: an AdaFace with 72.02 at rank-1 there was seen to have 46.03 on whole pictures."
        )
    distractors = parts[1].listed
    if not distractors:
        notes.append("There are no distractors (Gallery_Distractor): the figures are easier than the benchmark's.")
    elif distractors != PUBLISHED_DISTRACTORS:
        notes.append(f"Gallery_Distractor holds {distractors:,} pictures, the benchmark {PUBLISHED_DISTRACTORS:,}.")
    if absent:
        notes.append(f"{absent:,} probes show people who are not in the gallery; they count as misses.")
    return (*notes, *of_empty_parts({part.name: len(part.people) for part in parts if part.listed}))
