"""TinyFace: low-resolution probes against a mated gallery among distractors without identity.

Every picture is resized whole. Rank-1, 5, 10, 20 and mean average precision over the gallery pictures.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.embedder import Embeds
from evaluation.figures import Curve, Figure, Outcome
from evaluation.identification import average_precisions, mated_ranks, rank_rate
from evaluation.intervals import bootstrap_over_people
from evaluation.lists import find_folder, find_list, read_named_identities
from evaluation.prepare import PICTURE_SUFFIXES, whole_folder

PROTOCOL = "TinyFace"
RANKS = (1, 5, 10, 20)
# No probe has this identity.
_DISTRACTOR = ""


def evaluate(root: Path, lists: Sequence[Path], embedder: Embeds) -> Outcome:
    """Run the protocol.

    Args:
        root: folder `TinyFace`.
        lists: folders searched for the .mat files before the data set's own.
        embedder: the model.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(root, "Testing_Set", "TinyFace/Testing_Set", "tinyface/Testing_Set")
    form = embedder.preprocessing
    places = [*lists, folder, root, Path("data")]
    match_list = read_named_identities(
        find_list("gallery_match_img_ID_pairs.mat", places), "gallery_set", "gallery_ids"
    )
    probe_list = read_named_identities(find_list("probe_img_ID_pairs.mat", places), "probe_set", "probe_ids")
    distractor_folder = find_folder(folder, "Gallery_Distractor")
    distractors = sorted(p.name for p in distractor_folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    match = embedder.embed(whole_folder(form, folder / "Gallery_Match", [name for name, _ in match_list]))
    others = embedder.embed(whole_folder(form, distractor_folder, distractors))
    probes = embedder.embed(whole_folder(form, folder / "Probe", [name for name, _ in probe_list]))
    people = np.array([owner for _, owner in probe_list])[probes.usable]
    owners = np.array([owner for _, owner in match_list])[match.usable]
    gallery = np.concatenate([match.vectors[match.usable], others.vectors[others.usable]])
    owners = np.concatenate([owners, np.full(int(others.usable.sum()), _DISTRACTOR)])
    queries = probes.vectors[probes.usable]
    ranks = mated_ranks(queries, people, gallery, owners).ranks
    precisions = average_precisions(queries, people, gallery, owners)
    faults = {**match.faults, **others.faults, **probes.faults}
    figures = [
        Figure(f"rank-{r}", rank_rate(ranks, r), len(ranks), bootstrap_over_people((ranks >= 1) & (ranks <= r), people))
        for r in RANKS
    ]
    figures.append(
        Figure("mAP", float(precisions.mean()), len(ranks), bootstrap_over_people(precisions, people))
        if len(ranks)
        else Figure("mAP", float("nan"), 0)
    )
    places_shown = np.arange(1, 21)
    curve = np.array([rank_rate(ranks, int(place)) for place in places_shown])
    return Outcome(
        PROTOCOL,
        tuple(figures),
        (Curve("TinyFace", "cmc", places_shown.astype(float), curve),),
        {"probes": len(probe_list), "mated gallery": len(match_list), "distractors": len(distractors)},
        tuple(sorted(faults.items())),
        incomplete=bool(faults),
    )
