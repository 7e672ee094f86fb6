"""TinyFace: low-resolution probes against a mated gallery among distractors without identity.

Every picture is resized whole. Rank-1, 5, 10, 20 and mean average precision over the gallery pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.lists.mat_lists import read_named_identities
from evaluation.lists.text_lists import PictureFolder, find_folder, find_list
from evaluation.metrics.curves import cmc_curve, identification_scores
from evaluation.metrics.figures import Figure, Outcome
from evaluation.metrics.identification import average_precisions, mated_ranks, rank_rate
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.preparation import picture_names
from evaluation.scoring.dataset_part import (
    NOBODY,
    EmbeddedPart,
    Part,
    embed_part,
    faults_of,
    of_empty_parts,
    of_hidden_files,
)
from evaluation.scoring.mistakes import worst_identifications
from evaluation.scoring.native_sides import by_side, native_sides

PROTOCOL = "TinyFace"
RANKS = (1, 5, 10, 20)
PUBLISHED_DISTRACTORS = 153_428


@dataclass(frozen=True)
class Data:
    """The mated gallery, the distractors that join it without identity, and the probes."""

    match: Part
    distractors: Part
    probes: Part


def read(root: Path, lists: Sequence[Path]) -> Data:
    """Read the lists, and the names of the distractors from their folder, if there is one.

    Args:
        root: folder `TinyFace`.
        lists: folders searched for the .mat files before the data set's own.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(root, "Testing_Set", "TinyFace/Testing_Set", "tinyface/Testing_Set")
    places = [*lists, folder, root, Path("data")]
    match = read_named_identities(find_list("gallery_match_img_ID_pairs.mat", places), "gallery_set", "gallery_ids")
    probes = read_named_identities(find_list("probe_img_ID_pairs.mat", places), "probe_set", "probe_ids")
    names, hidden = picture_names(folder / "Gallery_Distractor")
    return Data(
        Part(PictureFolder(folder / "Gallery_Match"), match),
        Part(PictureFolder(folder / "Gallery_Distractor"), [(name, NOBODY) for name in names], hidden),
        Part(PictureFolder(folder / "Probe"), probes),
    )


def measure(data: Data, embedder: PictureEmbedder) -> Outcome:
    """Run the protocol."""
    match, others, probes = (embed_part(part, embedder) for part in (data.match, data.distractors, data.probes))
    parts = (match, others, probes)
    if not len(match.people):
        # Without a mated gallery nobody is missed, but nobody can be found either.
        probes = probes.without_any()
    gallery, owners = np.concatenate([match.vectors, others.vectors]), np.concatenate([match.people, others.people])
    gallery_pictures = [*match.pictures, *others.pictures]
    people = probes.people
    ranked = mated_ranks(probes.vectors, people, gallery, owners)
    precisions = average_precisions(probes.vectors, people, gallery, owners)
    figures = [
        Figure(f"rank-{r}", rank_rate(ranked.ranks, r), len(people), bootstrap_over_people(ranked.within(r), people))
        for r in RANKS
    ]
    mean = float(precisions.mean()) if len(people) else float("nan")
    figures.append(Figure("mAP", mean, len(people), bootstrap_over_people(precisions, people)))
    hits = ranked.within(1)
    by_size, line = by_side(
        "rank-1", hits, native_sides(probes.pictures), lambda r: bootstrap_over_people(hits[r], people[r])
    )
    faults = faults_of(parts)
    return Outcome(
        PROTOCOL,
        (*figures, *by_size),
        (*cmc_curve("TinyFace", ranked.ranks), *identification_scores("", ranked), *line),
        {"probes": parts[2].listed, "mated gallery": match.listed, "distractors": others.listed},
        faults,
        (*_notes(parts, int((ranked.ranks == 0).sum())), *of_hidden_files([data.distractors])),
        incomplete=bool(faults) or not others.listed,
        mistakes=tuple(
            worst_identifications(
                "", ranked, lambda probe: probes.pictures[probe], lambda probe, row: gallery_pictures[row]
            )
        ),
    )


def _notes(parts: Sequence[EmbeddedPart], absent: int) -> tuple[str, ...]:
    notes = []
    distractors = parts[1].listed
    if not distractors:
        notes.append("There are no distractors (Gallery_Distractor): the figures are easier than the benchmark's.")
    elif distractors != PUBLISHED_DISTRACTORS:
        notes.append(f"Gallery_Distractor holds {distractors:,} pictures, the benchmark {PUBLISHED_DISTRACTORS:,}.")
    if absent:
        notes.append(f"{absent:,} probes show people who are not in the gallery; they count as misses.")
    return (*notes, *of_empty_parts({part.name: len(part.people) for part in parts if part.listed}))
