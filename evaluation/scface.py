"""SCface: surveillance pictures at three distances against mugshots (Lai and Lam, 2021).

Gallery: one mugshot a person, aligned at the network's size. Probes: aligned at the size at which the face
stands in the picture, then enlarged. Rank-1 identification, without training on SCface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.embedder import Embedded, Embeds
from evaluation.figures import Curve, Figure, Outcome
from evaluation.identification import mated_ranks, rank_rate
from evaluation.intervals import bootstrap_over_people
from evaluation.lists import find_folder, find_list, landmarks_by_name
from evaluation.prepare import aligned, aligned_at_native_size, require_template
from evaluation.published import SCFACE as PUBLISHED

PROTOCOL = "SCface"
DISTANCES = {1: "4.2 m", 2: "2.6 m", 3: "1.0 m"}
HALF_FIRST_SUBJECT = 51
"""The half split leaves subjects 1-50 to training and tests subjects 51-130."""


@dataclass(frozen=True)
class Probes:
    """The usable probes of a distance: who they show, which camera took them, and their ranks."""

    people: NDArray[np.str_]
    cameras: NDArray[np.str_]
    ranks: NDArray[np.int64]


def evaluate(root: Path, lists: Sequence[Path], embedder: Embeds) -> Outcome:
    """Run the protocol on all subjects and on the half that tests fine-tuned models.

    Args:
        root: folder `SCface`.
        lists: folders searched for the `scface_*.csv` lists before the data set's own.
        embedder: the model.

    Raises:
        UserError: the folder, a list or the checkpoint's template does not fit.
    """
    form = embedder.preprocessing
    require_template(form, PROTOCOL)
    folder = find_folder(root, "SCface_database", "SCface/SCface_database", ".")
    places = [*lists, root, folder, Path("data")]
    mugshots = landmarks_by_name(find_list("scface_mugshot.csv", places))
    gallery_names = list(mugshots)
    gallery = embedder.embed([aligned(n, folder / n, mugshots[n], form) for n in gallery_names])
    missing = dict(gallery.faults)
    all_figures: list[Figure] = []
    half_figures: list[Figure] = []
    curves: list[Curve] = []
    counts = {"mugshots": len(gallery_names)}
    lists_by_distance = {d: landmarks_by_name(find_list(f"scface_distance{d}.csv", places)) for d in DISTANCES}
    for distance, metres in DISTANCES.items():
        landmarks = lists_by_distance[distance]
        names = list(landmarks)
        probes = embedder.embed([aligned_at_native_size(n, folder / n, landmarks[n], form) for n in names])
        missing.update(probes.faults)
        counts[f"probes at d{distance}"] = len(names)
        ranked = _rank(names, probes, gallery_names, gallery, first_subject=0)
        all_figures += _figures(f"d{distance} ({metres})", ranked, distance)
        half = _rank(names, probes, gallery_names, gallery, first_subject=HALF_FIRST_SUBJECT)
        half_figures.append(_rank_figure(f"d{distance}, subjects 51-130 only: rank-1", half, 1))
        ranks = np.arange(1, 21)
        curves.append(
            Curve(
                f"d{distance} ({metres})",
                "cmc",
                ranks.astype(float),
                np.array([rank_rate(ranked.ranks, int(rank)) for rank in ranks]),
            )
        )
    listed = set(gallery_names).union(*lists_by_distance.values())
    counts["pictures beside that no list names (other cameras)"] = _unlisted(folder, listed)
    return Outcome(
        PROTOCOL,
        (*all_figures, *half_figures),
        tuple(curves),
        counts,
        tuple(sorted(missing.items())),
        notes=("Figures with another n are not comparable: many papers train on subjects 1-50 and test on 80.",),
        incomplete=bool(missing),
    )


def _rank(
    names: Sequence[str],
    probes: Embedded,
    gallery_names: Sequence[str],
    gallery: Embedded,
    *,
    first_subject: int,
) -> Probes:
    """Rank the usable mugshots for the usable probes of subjects from a number on."""
    owners = np.array([_subject(name) for name in gallery_names])
    people = np.array([_subject(name) for name in names])
    kept = gallery.usable & (np.array([_number(p) for p in owners]) >= first_subject)
    # A probe whose mugshot cannot be used has nobody to be identified as: it is left out, not missed.
    chosen = probes.usable & np.isin(people, owners[kept])
    cameras = np.array([_camera(name) for name in names])
    if not chosen.any() or not kept.any():
        return Probes(people[:0], cameras[:0], np.empty(0, dtype=np.int64))
    result = mated_ranks(probes.vectors[chosen], people[chosen], gallery.vectors[kept], owners[kept])
    return Probes(people[chosen], cameras[chosen], result.ranks)


def _figures(name: str, probes: Probes, distance: int) -> list[Figure]:
    figures = [_rank_figure(f"{name}: rank-{rank}", probes, rank, distance) for rank in (1, 5, 10)]
    for camera in sorted(set(probes.cameras.tolist())):
        mine = probes.cameras == camera
        part = Probes(probes.people[mine], probes.cameras[mine], probes.ranks[mine])
        figures.append(_rank_figure(f"{name}, {camera}: rank-1", part, 1))
    return figures


def _rank_figure(name: str, probes: Probes, rank: int, distance: int | None = None) -> Figure:
    hits = (probes.ranks >= 1) & (probes.ranks <= rank)
    known = PUBLISHED[distance] if distance and rank == 1 else None
    return Figure(
        name,
        rank_rate(probes.ranks, rank),
        len(probes.ranks),
        bootstrap_over_people(hits, probes.people),
        paper=known.paper if known else None,
        rerun=known.rerun if known else None,
    )


def _subject(name: str) -> str:
    """Return the subject of `.../001_cam1_1.jpg` or `.../001_frontal.jpg`."""
    return Path(name).stem.split("_")[0]


def _number(subject: str) -> int:
    return int(subject) if subject.isdecimal() else 0


def _camera(name: str) -> str:
    return (Path(name).stem.split("_") + ["", ""])[1]


def _unlisted(folder: Path, listed: set[str]) -> int:
    """Count pictures of the surveillance cameras that the lists do not name, such as infrared ones."""
    cameras = folder / "surveillance_cameras_all"
    if not cameras.is_dir():
        return 0
    return sum(f"{cameras.name}/{p.name}" not in listed for p in cameras.iterdir() if p.suffix.lower() == ".jpg")
