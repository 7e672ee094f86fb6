"""QMUL-SurvFace, open-set identification: surveillance probes, some of people who are not in the gallery.

One template a gallery identity (the normalised mean of its normalised embeddings); mated probes for TPIR,
unmated probes for FPIR, which never enter the gallery. Every picture is resized whole.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from evaluation.embedder import Embeds
from evaluation.figures import Curve, Figure, Outcome
from evaluation.identification import (
    MatedRanks,
    best_scores,
    mated_ranks,
    mean_templates,
    rank_rate,
    tpir_area,
    tpir_at_fpir,
    tpir_curve,
)
from evaluation.intervals import bootstrap_over_people
from evaluation.lists import find_folder, find_list, read_named_identities
from evaluation.prepare import PICTURE_SUFFIXES, whole_folder
from evaluation.verification import threshold_at_rate

PROTOCOL = "QMUL-SurvFace open-set identification"
FPIRS = (0.3, 0.2, 0.1, 0.01)
RANK = 20
FOLDERS = (
    "QMUL-SurvFace/Face_Identification_Test_Set",
    "Face_Identification_Test_Set",
    "QMUL-SurvFace/QMUL-SurvFace/Face_Identification_Test_Set",
)


def evaluate(root: Path, lists: Sequence[Path], embedder: Embeds) -> Outcome:
    """Run the protocol.

    Args:
        root: folder `QMUL-SurvFace`.
        lists: folders searched for the .mat files before the data set's own.
        embedder: the model.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(root, *FOLDERS)
    beside = folder.parent / "Face_Identification_Evaluation"
    form = embedder.preprocessing
    places = [*lists, folder, beside, root, Path("data")]
    gallery_list = read_named_identities(find_list("gallery_img_ID_pairs.mat", places), "gallery_set", "gallery_ids")
    mated_list = read_named_identities(
        find_list("mated_probe_img_ID_pairs.mat", places), "mated_probe_set", "mated_probe_ids"
    )
    unmated_folder = find_folder(folder, "unmated_probe")
    unmated_names = sorted(p.name for p in unmated_folder.iterdir() if p.suffix.lower() in PICTURE_SUFFIXES)
    gallery = embedder.embed(whole_folder(form, folder / "gallery", [name for name, _ in gallery_list]))
    mated = embedder.embed(whole_folder(form, folder / "mated_probe", [name for name, _ in mated_list]))
    unmated = embedder.embed(whole_folder(form, unmated_folder, unmated_names))
    templates, owners = mean_templates(
        gallery.vectors[gallery.usable], np.array([owner for _, owner in gallery_list])[gallery.usable]
    )
    people = np.array([owner for _, owner in mated_list])[mated.usable]
    ranked = mated_ranks(mated.vectors[mated.usable], people, templates, owners)
    best = best_scores(unmated.vectors[unmated.usable], templates)
    faults = {**gallery.faults, **mated.faults, **unmated.faults}
    fpir, tpir = tpir_curve(ranked, best, RANK)
    return Outcome(
        PROTOCOL,
        tuple(_figures(ranked, best, people)),
        (Curve(f"TPIR{RANK} over FPIR", "roc", fpir, tpir),),
        {
            "gallery pictures": len(gallery_list),
            "gallery identities": len(owners),
            "mated probes": len(mated_list),
            "unmated probes": len(unmated_names),
            "mated probes of people who are not in the gallery": int((ranked.ranks == 0).sum()),
        },
        tuple(sorted(faults.items())),
        (f"The curve's axes are FPIR and TPIR{RANK}.",),
        incomplete=bool(faults),
    )


def _figures(ranked: MatedRanks, best: np.ndarray, people: np.ndarray) -> list[Figure]:
    figures = []
    within = (ranked.ranks >= 1) & (ranked.ranks <= RANK)
    for fpir in FPIRS:
        hits = within & (ranked.scores > threshold_at_rate(best, fpir)) if len(best) else within & False
        value = tpir_at_fpir(ranked, best, fpir, RANK)
        interval = bootstrap_over_people(hits, people)
        figures.append(Figure(f"TPIR{RANK} at FPIR {100 * fpir:g} %", value, len(people), interval))
    figures.append(Figure(f"area under TPIR{RANK} over FPIR", tpir_area(ranked, best, RANK), len(people)))
    rank_1 = ranked.ranks == 1
    figures.append(
        Figure("rank-1 (closed set)", rank_rate(ranked.ranks, 1), len(people), bootstrap_over_people(rank_1, people))
    )
    return figures
