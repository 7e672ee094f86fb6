"""SCface: surveillance pictures at three distances against mugshots (Lai and Lam, 2021).

Gallery: one mugshot a person, aligned at the network's size. Probes: aligned at the size at which the face
stands in the picture, then enlarged. Rank-1 identification, without training on SCface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.text_lists import Landmarks, PictureFolder, find_folder, find_list, read_landmark_list
from evaluation.metrics.curves import cmc_curve, identification_scores
from evaluation.metrics.figures import Alignment, Curve, Figure, Mistake, Outcome
from evaluation.metrics.identification import MatedRanks, mated_ranks, rank_rate
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.gallery_model import of_gallery
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, require_template
from evaluation.scoring.dataset_part import of_empty_parts
from evaluation.scoring.discarding import NORM, SIDE, discarded_probes, norms
from evaluation.scoring.faces import joined, list_source
from evaluation.scoring.mistakes import worst_identifications
from evaluation.scoring.published import SCFACE as PUBLISHED
from pipeline.alignment.align import native_size
from shards.command import UserError

PROTOCOL = "SCface"
DISTANCES = {1: "4.2 m", 2: "2.6 m", 3: "1.0 m"}
RANKS = (1, 5, 10)
HALF_FIRST_SUBJECT = 51
"""The half split leaves subjects 1-50 to training and tests subjects 51-130."""
PUBLISHED_MUGSHOTS, PUBLISHED_PROBES = 130, 650
# Cameras 6 and 7 are 1 and 5 by infrared light, 8 takes infrared mugshots.
_INFRARED = {"cam6", "cam7", "cam8"}


@dataclass(frozen=True)
class Data:
    """The photos with their landmarks: mugshots, and the probes of each distance.

    Attributes:
        folder: of all photos.
        mugshots: one a subject.
        probes: by distance, 1 to 3.
        counts: what else was found, by what it is.
        alignment: where the landmarks come from.
    """

    folder: PictureFolder
    mugshots: Landmarks
    probes: dict[int, Landmarks]
    counts: dict[str, int]
    alignment: Alignment


@dataclass(frozen=True)
class Probes:
    """The usable probes of a distance.

    Attributes:
        rows: (P,) their places in the list.
        people: (P,) who they show.
        cameras: (P,) which camera took them.
        gallery: (G,) places of the usable mugshots in their list.
        ranked: against those.
    """

    rows: NDArray[np.int64]
    people: NDArray[np.str_]
    cameras: NDArray[np.str_]
    gallery: NDArray[np.int64]
    ranked: MatedRanks


def read(root: Path, lists: Sequence[Path]) -> Data:
    """Read the lists; infrared pictures in them are left out and counted.

    Args:
        root: folder `SCface`.
        lists: folders searched for the `scface_*.csv` lists before the data set's own.

    Raises:
        UserError: the folder or a list does not fit.
    """
    folder = find_folder(root, "SCface_database", "SCface/SCface_database", ".")
    places = [*lists, root, folder, Path("data")]
    paths = [find_list(f"scface_{part}.csv", places) for part in ("mugshot", *(f"distance{d}" for d in DISTANCES))]
    mugshots, *of_distances = (read_landmark_list(path) for path in paths)
    found = dict(zip(DISTANCES, of_distances, strict=True))
    infrared = {name for listed in found.values() for name in listed.names if _camera(name) in _INFRARED}
    probes = {d: _without(listed, infrared) for d, listed in found.items()}
    for distance, part in probes.items():
        if not part.points:
            raise UserError(
                f"scface_distance{distance}.csv names no usable picture of cameras 1 to 5; expected 5 of each subject"
            )
    listed = set(mugshots.names).union(infrared, *(part.names for part in probes.values()))
    counts = {"pictures beside that no list names (other cameras)": _unlisted(folder, listed)}
    if infrared:
        counts["infrared pictures in the lists, left out"] = len(infrared)
    alignment = joined(
        [
            Alignment("landmark list", *list_source(path), len(part.names), len(part.faults), "pictures left out")
            for path, part in zip(paths, (mugshots, *probes.values()), strict=True)
        ]
    )
    return Data(PictureFolder(folder), mugshots, probes, counts, alignment)


def measure(data: Data, embedder: PictureEmbedder, *, match_gallery: bool = False) -> Outcome:
    """Run the protocol on all subjects and on the half that tests fine-tuned models.

    Args:
        data: photos and landmarks.
        embedder: the model.
        match_gallery: reduce mugshots to the median size of a distance's probes.

    Raises:
        UserError: the checkpoint's template does not fit.
    """
    form, of_mugshots = embedder.preprocessing, of_gallery(embedder)
    for one in (form, of_mugshots.preprocessing):
        require_template(one, PROTOCOL)
    owners = list(data.mugshots.points)

    def mugshots(low: int | None) -> list[Picture]:
        form = of_mugshots.preprocessing
        return [aligned(n, data.folder.path(n), data.mugshots.points[n], form, low) for n in owners]

    gallery = of_mugshots.embed(mugshots(None))
    missing = {**data.mugshots.faults, **gallery.faults}
    all_figures, half_figures = [], []
    curves: list[Curve] = []
    mistakes: list[Mistake] = []
    counts = {"mugshots": len(data.mugshots.names)}
    sizes, rank_1, left_out, parts = [], [], 0, {"the mugshots": int(gallery.usable.sum())}
    for distance, metres in DISTANCES.items():
        landmarks = data.probes[distance]
        names = list(landmarks.points)
        where = f"d{distance} ({metres})"
        pictures = [aligned(n, data.folder.path(n), landmarks.points[n], form, native=True) for n in names]
        probes = embedder.embed(pictures)
        parts[f"the probes at d{distance}"] = int(probes.usable.sum())
        missing.update({**landmarks.faults, **probes.faults})
        counts[f"probes at d{distance}"] = len(landmarks.names)
        sizes.append(int(np.median([native_size(points) for points in landmarks.points.values()])))
        low = max(1, sizes[-1]) if match_gallery and sizes[-1] < form.size else None
        matched = of_mugshots.embed(mugshots(low)) if low else gallery
        ranked = _rank(names, probes, owners, matched, first_subject=0)
        left_out += len(landmarks.names) - len(ranked.rows)
        of_distance = _figures(where, ranked, None if match_gallery else distance)
        all_figures += of_distance
        rank_1.append(of_distance[0].value)
        half = _rank(names, probes, owners, matched, first_subject=HALF_FIRST_SUBJECT)
        half_figures.append(_rank_figure(f"d{distance}, subjects 51-130 only: rank-1", half, 1))
        curves += cmc_curve(where, ranked.ranked.ranks) + identification_scores(where, ranked.ranked)
        sides = np.array([native_size(landmarks.points[names[row]]) for row in ranked.rows], dtype=np.float64)
        qualities = {NORM: norms(probes.vectors[ranked.rows]), SIDE: sides}
        curves += discarded_probes(where, ranked.ranked.ranks != 1, qualities)
        mistakes += _mistakes(where, ranked, pictures, mugshots(low))
    curves.append(Curve("rank-1", "resolution", np.array(sizes, dtype=float), np.array(rank_1)))
    counts["probes left out"] = left_out
    return Outcome(
        PROTOCOL,
        (*all_figures, *half_figures),
        tuple(curves),
        {**counts, **data.counts},
        tuple(sorted(missing.items())),
        (*_notes(data, sizes, match_gallery), *of_empty_parts(parts)),
        incomplete=bool(missing) or left_out > 0,
        mistakes=tuple(mistakes),
        alignment=data.alignment,
        as_published=not match_gallery,
    )


def _rank(
    names: Sequence[str], probes: Embedded, owners: Sequence[str], gallery: Embedded, *, first_subject: int
) -> Probes:
    """Rank the usable mugshots for the usable probes of subjects from a number on."""
    subjects = np.array([_subject(name) for name in owners])
    people = np.array([_subject(name) for name in names])
    numbers = np.array([int(subject) if subject.isdecimal() else 0 for subject in subjects])
    kept = np.flatnonzero(gallery.usable & (numbers >= first_subject))
    # A probe whose mugshot cannot be used has nobody to be identified as: it is left out, not missed.
    rows = np.flatnonzero(probes.usable & np.isin(people, subjects[kept]))
    cameras = np.array([_camera(name) for name in names])[rows]
    ranked = mated_ranks(probes.vectors[rows], people[rows], gallery.vectors[kept], subjects[kept])
    return Probes(rows, people[rows], cameras, kept, ranked)


def _figures(where: str, probes: Probes, published: int | None) -> list[Figure]:
    """Return the figures of a distance: rank-1 of all cameras first, last rank-1 of each.

    Args:
        where: the distance, before each name.
        probes: of it.
        published: the distance whose published figure stands beside, None for none.
    """
    figures = [_rank_figure(f"{where}: rank-{rank}", probes, rank, published) for rank in RANKS]
    for camera in sorted(set(probes.cameras.tolist())):
        figures.append(_rank_figure(f"{where}, {camera}: rank-1", probes, 1, chosen=probes.cameras == camera))
    return figures


def _rank_figure(
    name: str, probes: Probes, rank: int, distance: int | None = None, chosen: NDArray[np.bool_] | None = None
) -> Figure:
    mine = np.ones(len(probes.rows), dtype=bool) if chosen is None else chosen
    known = PUBLISHED[distance] if distance and rank == 1 else None
    paper, rerun = (known.paper, known.rerun) if known else (None, None)
    interval = bootstrap_over_people(probes.ranked.within(rank)[mine], probes.people[mine])
    return Figure(name, rank_rate(probes.ranked.ranks[mine], rank), int(mine.sum()), interval, paper=paper, rerun=rerun)


def _mistakes(where: str, probes: Probes, pictures: Sequence[Picture], mugshots: Sequence[Picture]) -> list[Mistake]:
    return worst_identifications(
        f"{where}: ",
        probes.ranked,
        lambda probe: pictures[probes.rows[probe]],
        lambda probe, row: mugshots[probes.gallery[row]],
    )


def _notes(data: Data, sizes: Sequence[int], match_gallery: bool) -> tuple[str, ...]:
    notes = ["Figures with another n are not comparable: many papers train on subjects 1-50 and test on 80."]
    counts = [len(data.mugshots.names), *(len(part.names) for part in data.probes.values())]
    if counts != [PUBLISHED_MUGSHOTS, *[PUBLISHED_PROBES] * len(DISTANCES)]:
        probes = ", ".join(f"{count:,}" for count in counts[1:])
        notes.append(
            f"The lists hold {counts[0]:,} mugshots and {probes} probes; the paper names {PUBLISHED_MUGSHOTS} and "
            f"{PUBLISHED_PROBES} a distance."
        )
    median = ", ".join(f"d{distance} {size} px" for distance, size in zip(DISTANCES, sizes, strict=True))
    notes.append(f"Median side of the aligned faces in their pictures: {median}.")
    if match_gallery:
        notes.append("Mugshots are reduced to that size; the published figures have them in full.")
    return tuple(notes)


def _subject(name: str) -> str:
    """Return the subject of `.../001_cam1_1.jpg` or `.../001_frontal.jpg`, without leading zeros."""
    subject = PurePosixPath(name).stem.split("_")[0]
    return subject.lstrip("0") or "0"


def _camera(name: str) -> str:
    return (PurePosixPath(name).stem.split("_") + ["", ""])[1].lower()


def _without(listed: Landmarks, names: set[str]) -> Landmarks:
    points = {name: points for name, points in listed.points.items() if name not in names}
    return Landmarks(points, {name: reason for name, reason in listed.faults.items() if name not in names})


def _unlisted(folder: Path, listed: set[str]) -> int:
    """Count pictures of the surveillance cameras that the lists do not name, such as infrared ones."""
    cameras = folder / "surveillance_cameras_all"
    if not cameras.is_dir():
        return 0
    known = {name.casefold() for name in listed}
    pictures = (f"{cameras.name}/{p.name}".casefold() for p in cameras.iterdir() if p.suffix.lower() == ".jpg")
    return sum(name not in known for name in pictures)
