"""QMUL-SurvFace, open-set identification: surveillance probes, some of people who are not in the gallery.

One template a gallery identity (the normalised mean of its normalised embeddings); mated probes for TPIR,
unmated probes for FPIR, which never enter the gallery. Every picture is resized whole.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.bootstrap import Statistic, WeightedCurve, open_set_intervals
from evaluation.curves import cmc_curve, score_curves
from evaluation.embedder import Embedded, Embeds, of_empty_parts
from evaluation.figures import Curve, Figure, Mistake, Outcome
from evaluation.identification import (
    MatedRanks,
    best_scores,
    cosines,
    mated_ranks,
    mean_templates,
    rank_rate,
    tpir_area,
    tpir_at_fpir,
    tpir_curve,
)
from evaluation.intervals import bootstrap_over_people
from evaluation.lists import PictureFolder, find_folder, find_list, has_folder
from evaluation.mat_lists import read_named_identities
from evaluation.mistakes import worst_false_alarms, worst_identifications
from evaluation.pairs import person_in_name
from evaluation.pictures import Picture
from evaluation.prepare import picture_names, whole_pictures

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
    """Folders of pictures, and the names in them with their identities."""

    folders: dict[str, PictureFolder]
    gallery: list[tuple[str, str]]
    mated: list[tuple[str, str]]
    unmated: list[str]


def read(root: Path, lists: Sequence[Path]) -> Data:
    """Read the lists, and the names of the unmated probes from their folder.

    Args:
        root: folder `QMUL-SurvFace`.
        lists: folders searched for the .mat files before the data set's own.

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
    unmated = picture_names(folder / "unmated_probe") if has_folder(folder, "unmated_probe") else []
    folders = {part: PictureFolder(folder / part) for part in ("gallery", "mated_probe", "unmated_probe")}
    return Data(folders, gallery, mated, unmated)


def evaluate(root: Path, lists: Sequence[Path], embedder: Embeds) -> Outcome:
    """Read the lists and run the protocol; see `read` and `measure`."""
    return measure(read(root, lists), embedder)


def measure(data: Data, embedder: Embeds) -> Outcome:
    """Run the protocol."""
    parts = {
        "gallery": [name for name, _ in data.gallery],
        "mated_probe": [name for name, _ in data.mated],
        "unmated_probe": data.unmated,
    }
    pictures = {
        part: whole_pictures(data.folders[part], names, embedder.preprocessing) for part, names in parts.items()
    }
    embedded = {part: embedder.embed(pictures[part]) for part in parts}
    gallery, mated, unmated = embedded.values()
    shown = {part: np.flatnonzero(found.usable) for part, found in embedded.items()}
    if not len(shown["gallery"]):
        # Without a gallery nobody is missed, but nobody can be found either.
        shown["mated_probe"] = shown["mated_probe"][:0]
    owners = np.array([owner for _, owner in data.gallery])[shown["gallery"]]
    templates, names = mean_templates(gallery.vectors[shown["gallery"]], owners)
    people = np.array([owner for _, owner in data.mated])[shown["mated_probe"]]
    ranked = mated_ranks(mated.vectors[shown["mated_probe"]], people, templates, names)
    best, best_rows = best_scores(unmated.vectors[shown["unmated_probe"]], templates)
    strangers = np.array([person_in_name(data.unmated[row]) for row in shown["unmated_probe"]])
    faults = {**gallery.faults, **mated.faults, **unmated.faults}
    absent = int((ranked.ranks == 0).sum())
    counts = {
        "gallery pictures": len(data.gallery),
        "gallery identities": len(names),
        "mated probes": len(data.mated),
        "unmated probes": len(data.unmated),
        "mated probes of people who are not in the gallery": absent,
    }
    found = _Found(pictures, shown, owners, names, gallery, mated, unmated)
    return Outcome(
        PROTOCOL,
        tuple(_figures(ranked, people, best, strangers)),
        tuple(_curves(ranked, best)),
        counts,
        tuple(sorted(faults.items())),
        _notes(absent, embedded),
        incomplete=bool(faults) or not data.unmated,
        mistakes=tuple(_mistakes(found, ranked, best, best_rows)),
    )


def _notes(absent: int, embedded: dict[str, Embedded]) -> tuple[str, ...]:
    told = f"{absent:,} mated probes show people who are not in the gallery; they count as misses."
    return (*((told,) if absent else ()), *of_empty_parts(embedded))


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


@dataclass(frozen=True)
class _Found:
    """What mistakes are shown from; `shown` holds the rows of usable pictures by part."""

    pictures: dict[str, list[Picture]]
    shown: dict[str, NDArray[np.int64]]
    owners: NDArray[np.str_]
    names: NDArray[np.str_]
    gallery: Embedded
    mated: Embedded
    unmated: Embedded

    def picture(self, part: str, row: int) -> Picture:
        return self.pictures[part][self.shown[part][row]]

    def likest(self, identity: int, probe: NDArray[np.float32]) -> Picture:
        """Return the picture of a gallery identity that is most like a probe: a template has no face."""
        rows = np.flatnonzero(self.owners == self.names[identity])
        scores = cosines(probe[None], self.gallery.vectors[self.shown["gallery"][rows]])
        return self.picture("gallery", int(rows[scores.argmax()]))


def _mistakes(
    found: _Found, ranked: MatedRanks, best: NDArray[np.float64], best_rows: NDArray[np.int64]
) -> list[Mistake]:
    def probe_of(part: str, embedded: Embedded, row: int) -> NDArray[np.float32]:
        return embedded.vectors[found.shown[part][row]]

    return [
        *worst_false_alarms(
            best,
            best_rows,
            lambda row: found.picture("unmated_probe", row),
            lambda row, identity: found.likest(identity, probe_of("unmated_probe", found.unmated, row)),
        ),
        *worst_identifications(
            "",
            ranked,
            lambda row: found.picture("mated_probe", row),
            lambda row, identity: found.likest(identity, probe_of("mated_probe", found.mated, row)),
        ),
    ]
