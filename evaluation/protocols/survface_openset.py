"""QMUL-SurvFace, open-set identification: surveillance probes, some of people who are not in the gallery.

One template a gallery identity (the normalised mean of its normalised embeddings); mated probes for TPIR,
unmated probes for FPIR, which never enter the gallery. Every picture is resized whole, or aligned as
`evaluation.scoring.faces` says.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.mat_lists import read_named_identities
from evaluation.lists.text_lists import PictureFolder, find_folder, find_list
from evaluation.metrics.bootstrap import Statistic, WeightedCurve, open_set_intervals
from evaluation.metrics.curves import cmc_curve, score_curves
from evaluation.metrics.figures import Curve, Figure, Mistake, Outcome
from evaluation.metrics.identification import (
    MatedRanks,
    best_scores,
    mated_ranks,
    mean_templates,
    rank_rate,
    tpir_area,
    tpir_at_fpir,
    tpir_curve,
)
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.gallery_model import of_gallery
from evaluation.models.preparation import picture_names
from evaluation.scoring.dataset_part import (
    EmbeddedPart,
    Part,
    alignment_of,
    embed_part,
    faults_of,
    most_similar_picture,
    of_empty_parts,
    of_found,
    of_hidden_files,
    with_faces,
)
from evaluation.scoring.discarding import NORM, SIDE, discarded_probes, known_sides, norms
from evaluation.scoring.faces import WHOLE, FaceSource
from evaluation.scoring.mistakes import worst_false_alarms, worst_identifications
from evaluation.scoring.pairs import person_in_name

PROTOCOL = "QMUL-SurvFace open-set identification"
FPIRS = (0.3, 0.2, 0.1, 0.01)
RANK = 20
FOLDERS = (
    "QMUL-SurvFace/Face_Identification_Test_Set",
    "Face_Identification_Test_Set",
    "QMUL-SurvFace/QMUL-SurvFace/Face_Identification_Test_Set",
)


@dataclass(frozen=True)
class Data:
    """The gallery, the probes of people in it, and those of others."""

    gallery: Part
    mated: Part
    unmated: Part


def read(root: Path, lists: Sequence[Path], faces: FaceSource = WHOLE) -> Data:
    """Read the lists, and the names of the unmated probes from their folder.

    Args:
        root: folder `QMUL-SurvFace`.
        lists: folders searched for the .mat files before the data set's own.
        faces: where the faces stand.

    Raises:
        UserError: a folder or a list is missing or cannot be read.
    """
    folder = find_folder(root, *FOLDERS)
    beside = folder.parent / "Face_Identification_Evaluation"
    places = [*lists, folder, beside, root, Path("data")]
    gallery = read_named_identities(find_list("gallery_img_ID_pairs.mat", places), "gallery_set", "gallery_ids")
    mated = read_named_identities(
        find_list("mated_probe_img_ID_pairs.mat", places), "mated_probe_set", "mated_probe_ids"
    )
    names, hidden = picture_names(folder / "unmated_probe")
    parts = [
        Part(PictureFolder(folder / "gallery"), gallery),
        Part(PictureFolder(folder / "mated_probe"), mated),
        Part(PictureFolder(folder / "unmated_probe"), [(name, person_in_name(name)) for name in names], hidden),
    ]
    return Data(*with_faces(parts, faces))


def measure(data: Data, embedder: PictureEmbedder) -> Outcome:
    """Run the protocol.

    Raises:
        UserError: faces are to be aligned, and the checkpoint's template does not fit.
    """
    alignment = alignment_of([data.gallery, data.mated, data.unmated], embedder)
    gallery = embed_part(data.gallery, of_gallery(embedder))
    mated, unmated = (embed_part(part, embedder) for part in (data.mated, data.unmated))
    parts = (gallery, mated, unmated)
    if not len(gallery.people):
        # Without a gallery nobody is missed, but nobody can be found either.
        mated = mated.without_any()
    templates, names = mean_templates(gallery.vectors, gallery.people)
    found = mated_ranks(mated.vectors, mated.people, templates, names)
    ranked = found.with_misses(len(mated.lost))
    best, best_rows = best_scores(unmated.vectors, templates)
    qualities = {NORM: norms(mated.vectors, len(mated.lost)), SIDE: known_sides(mated.sides)}
    absent = int((found.ranks == 0).sum())
    note = f"{absent:,} mated probes show people who are not in the gallery; they count as misses."
    faults = faults_of(parts)
    return Outcome(
        PROTOCOL,
        (
            *_figures(ranked, mated.everyone, best, unmated.people),
            *(of_found(_figures(found, mated.people, best, unmated.people)) if len(mated.lost) else ()),
        ),
        (*_curves(ranked, best), *discarded_probes("", ranked.ranks != 1, qualities)),
        {
            "gallery pictures": gallery.listed,
            "gallery identities": len(names),
            "mated probes": parts[1].listed,
            "unmated probes": unmated.listed,
            "mated probes of people who are not in the gallery": absent,
        },
        faults,
        (
            *((note,) if absent else ()),
            *of_empty_parts({part.name: len(part.people) for part in parts}),
            *of_hidden_files([data.unmated]),
        ),
        incomplete=bool(faults) or not unmated.listed,
        mistakes=tuple(_mistakes((gallery, mated, unmated), names, ranked, best, best_rows)),
        alignment=alignment,
    )


def _figures(
    ranked: MatedRanks, people: NDArray[np.str_], best: NDArray[np.float64], strangers: NDArray[np.str_]
) -> list[Figure]:
    area = f"area under TPIR{RANK} over FPIR"
    statistics: dict[str, Statistic] = {_tpir_name(fpir): (lambda c, fpir=fpir: c.rate_at(fpir)) for fpir in FPIRS}  # type: ignore[misc]
    statistics[area] = WeightedCurve.area_strictly_above
    intervals = open_set_intervals(ranked, people, best, strangers, statistics, rank=RANK)
    values = {_tpir_name(fpir): tpir_at_fpir(ranked, best, fpir, RANK) for fpir in FPIRS}
    values[area] = tpir_area(ranked, best, RANK)
    figures = [Figure(name, value, len(people), intervals[name]) for name, value in values.items()]
    rank_1 = bootstrap_over_people(ranked.within(1), people)
    return [*figures, Figure("rank-1 (closed set)", rank_rate(ranked.ranks, 1), len(people), rank_1)]


def _tpir_name(fpir: float) -> str:
    return f"TPIR{RANK} at FPIR {100 * fpir:g} %"


def _curves(ranked: MatedRanks, best: NDArray[np.float64]) -> list[Curve]:
    fpir, tpir = tpir_curve(ranked, best, RANK)
    scores = {"mated probes with the true person": ranked.scores, "best of unmated probes": best}
    return [
        *([Curve(f"TPIR{RANK} over FPIR", "open-set", fpir, tpir)] if fpir.size else []),
        *cmc_curve("closed set", ranked.ranks),
        *score_curves("", scores),
    ]


def _mistakes(
    parts: tuple[EmbeddedPart, EmbeddedPart, EmbeddedPart],
    names: NDArray[np.str_],
    ranked: MatedRanks,
    best: NDArray[np.float64],
    best_rows: NDArray[np.int64],
) -> list[Mistake]:
    gallery, mated, unmated = parts
    return [
        *worst_false_alarms(
            best,
            best_rows,
            lambda row: unmated.pictures[row],
            lambda row, identity: most_similar_picture(gallery, names[identity], unmated.vectors[row]),
        ),
        *worst_identifications(
            "",
            ranked,
            lambda row: mated.pictures[row],
            lambda row, identity: most_similar_picture(gallery, names[identity], mated.vectors[row]),
        ),
    ]
