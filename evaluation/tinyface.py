"""TinyFace: low-resolution probes against a mated gallery among distractors without identity.

Every picture is resized whole. Rank-1, 5, 10, 20 and mean average precision over the gallery pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluation.curves import cmc_curve, identification_scores
from evaluation.embedder import Embeds, of_empty_parts
from evaluation.figures import Figure, Outcome
from evaluation.identification import average_precisions, mated_ranks, rank_rate
from evaluation.intervals import bootstrap_over_people
from evaluation.lists import PictureFolder, find_folder, find_list, has_folder
from evaluation.mat_lists import read_named_identities
from evaluation.mistakes import worst_identifications
from evaluation.prepare import picture_names, whole_pictures

PROTOCOL = "TinyFace"
RANKS = (1, 5, 10, 20)
PUBLISHED_DISTRACTORS = 153_428
# No probe has this identity.
_DISTRACTOR = ""


@dataclass(frozen=True)
class Data:
    """Folders of pictures, and the names in them with their identities."""

    folders: dict[str, PictureFolder]
    match: list[tuple[str, str]]
    probes: list[tuple[str, str]]
    distractors: list[str]


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
    there = has_folder(folder, "Gallery_Distractor")
    distractors = picture_names(folder / "Gallery_Distractor") if there else []
    folders = {part: PictureFolder(folder / part) for part in ("Gallery_Match", "Gallery_Distractor", "Probe")}
    return Data(folders, match, probes, distractors)


def evaluate(root: Path, lists: Sequence[Path], embedder: Embeds) -> Outcome:
    """Read the lists and run the protocol; see `read` and `measure`."""
    return measure(read(root, lists), embedder)


def measure(data: Data, embedder: Embeds) -> Outcome:
    """Run the protocol."""
    parts = {
        "Gallery_Match": [name for name, _ in data.match],
        "Gallery_Distractor": data.distractors,
        "Probe": [name for name, _ in data.probes],
    }
    pictures = {
        part: whole_pictures(data.folders[part], names, embedder.preprocessing) for part, names in parts.items()
    }
    found = {part: embedder.embed(pictures[part]) for part in parts}
    shown = {part: np.flatnonzero(embedded.usable) for part, embedded in found.items()}
    if not len(shown["Gallery_Match"]):
        # Without a mated gallery nobody is missed, but nobody can be found either.
        shown["Probe"] = shown["Probe"][:0]
    people = np.array([owner for _, owner in data.probes])[shown["Probe"]]
    match, others = shown["Gallery_Match"], shown["Gallery_Distractor"]
    owners = np.array([*(data.match[row][1] for row in match), *[_DISTRACTOR] * len(others)])
    gallery = np.concatenate([found["Gallery_Match"].vectors[match], found["Gallery_Distractor"].vectors[others]])
    rows = [("Gallery_Match", row) for row in match] + [("Gallery_Distractor", row) for row in others]
    queries = found["Probe"].vectors[shown["Probe"]]
    ranked = mated_ranks(queries, people, gallery, owners)
    precisions = average_precisions(queries, people, gallery, owners)
    faults = {name: reason for embedded in found.values() for name, reason in embedded.faults.items()}
    figures = [
        Figure(f"rank-{r}", rank_rate(ranked.ranks, r), len(people), bootstrap_over_people(ranked.within(r), people))
        for r in RANKS
    ]
    mean = float(precisions.mean()) if len(people) else float("nan")
    figures.append(Figure("mAP", mean, len(people), bootstrap_over_people(precisions, people)))
    absent = int((ranked.ranks == 0).sum())
    return Outcome(
        PROTOCOL,
        tuple(figures),
        (*cmc_curve("TinyFace", ranked.ranks), *identification_scores("", ranked)),
        {"probes": len(data.probes), "mated gallery": len(data.match), "distractors": len(data.distractors)},
        tuple(sorted(faults.items())),
        (*_notes(data, absent), *of_empty_parts({part: found[part] for part in parts if parts[part]})),
        incomplete=bool(faults) or not data.distractors,
        mistakes=tuple(
            worst_identifications(
                "",
                ranked,
                lambda probe: pictures["Probe"][shown["Probe"][probe]],
                lambda probe, row: pictures[rows[row][0]][rows[row][1]],
            )
        ),
    )


def _notes(data: Data, absent: int) -> tuple[str, ...]:
    notes = []
    if not data.distractors:
        notes.append("There are no distractors (Gallery_Distractor): the figures are easier than the benchmark's.")
    elif len(data.distractors) != PUBLISHED_DISTRACTORS:
        notes.append(
            f"Gallery_Distractor holds {len(data.distractors):,} pictures, the benchmark {PUBLISHED_DISTRACTORS:,}."
        )
    if absent:
        notes.append(f"{absent:,} probes show people who are not in the gallery; they count as misses.")
    return tuple(notes)
