"""SCface: surveillance pictures at three distances against mugshots (Lai and Lam, 2021).

Gallery: one mugshot a person, aligned at the network's size. Probes: aligned at the size at which the face
stands in the picture, then enlarged. Rank-1 identification, without training on SCface.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.curves import cmc_curve, identification_scores
from evaluation.metrics.figures import Curve, Figure, Mistake, Outcome
from evaluation.metrics.identification import MatedRanks, mated_ranks, rank_rate
from evaluation.metrics.intervals import bootstrap_over_people
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.gallery_model import MatchGallery, gallery_at, match_note, of_gallery
from evaluation.models.pictures import Picture
from evaluation.models.preparation import require_template
from evaluation.protocols.scface_data import DISTANCES, Data, camera, read, subject
from evaluation.scoring.dataset_part import of_empty_parts, of_found
from evaluation.scoring.discarding import NORM, SIDE, discarded_probes, norms
from evaluation.scoring.mistakes import worst_identifications
from evaluation.scoring.published import SCFACE as PUBLISHED
from pipeline.alignment.align import native_size
from shards.format import Preprocessing

__all__ = ["PROTOCOL", "Data", "measure", "read"]
PROTOCOL = "SCface"
RANKS = (1, 5, 10)
HALF_FIRST_SUBJECT = 51
"""The half split leaves subjects 1-50 to training and tests subjects 51-130."""
PUBLISHED_MUGSHOTS, PUBLISHED_PROBES = 130, 650


@dataclass(frozen=True)
class Probes:
    """The usable probes of a distance.

    Attributes:
        rows: (P,) their places in the list.
        people: (P + L,) who they show, those last in whose pictures no face was found.
        cameras: (P + L,) which camera took them.
        gallery: (G,) places of the usable mugshots in their list.
        ranked: (P + L,) against those.
    """

    rows: NDArray[np.int64]
    people: NDArray[np.str_]
    cameras: NDArray[np.str_]
    gallery: NDArray[np.int64]
    ranked: MatedRanks

    def found(self) -> "Probes":
        """Return the probes in whose pictures, and in whose people's mugshots, a face was found."""
        kept = self.ranked.ranks > 0
        ranked = MatedRanks(**{name: values[kept] for name, values in vars(self.ranked).items()})
        return Probes(self.rows[kept[: len(self.rows)]], self.people[kept], self.cameras[kept], self.gallery, ranked)


def measure(data: Data, embedder: PictureEmbedder, *, match_gallery: MatchGallery | None = None) -> Outcome:
    """Run the protocol on all subjects and on the half that tests fine-tuned models.

    Args:
        data: photos and landmarks.
        embedder: the model.
        match_gallery: reduce mugshots to the median size of a distance's probes, or take the mean of both.

    Raises:
        UserError: the checkpoint's template does not fit.
    """
    form, of_mugshots = embedder.preprocessing, of_gallery(embedder)
    for one in (form, of_mugshots.preprocessing):
        require_template(one, PROTOCOL)
    owners, without = data.parted(data.mugshots)
    mugshots = partial(_mugshots, data, owners, of_mugshots.preprocessing)
    gallery = of_mugshots.embed(mugshots(None))
    missing = {name: data.mugshots.faults[name] for name in without} | gallery.faults
    all_figures, half_figures = [], []
    curves: list[Curve] = []
    mistakes: list[Mistake] = []
    counts = {"mugshots": len(data.mugshots.names)}
    sizes, rank_1, left_out, parts = [], [], 0, {"the mugshots": int(gallery.usable.sum())}
    for distance, metres in DISTANCES.items():
        names, lost = data.parted(landmarks := data.probes[distance])
        where = f"d{distance} ({metres})"
        pictures = [data.picture(landmarks, name, form, native=True) for name in names]
        probes = embedder.embed(pictures)
        parts[f"the probes at d{distance}"] = int(probes.usable.sum())
        missing.update({name: landmarks.faults[name] for name in lost} | probes.faults)
        counts[f"probes at d{distance}"] = len(landmarks.names)
        sizes.append(int(np.median([native_size(points) for points in landmarks.points.values()])))
        low = max(1, sizes[-1]) if match_gallery and sizes[-1] < form.size else None
        matched = gallery
        if low is not None:
            matched = gallery_at([gallery, of_mugshots.embed(mugshots(low))], [None, low], match_gallery)[1]
        errors = lost, [subject(name) for name in without]
        ranked = _rank(names, probes, owners, matched, errors, first_subject=0)
        left_out += len(landmarks.names) - len(ranked.people)
        of_distance = _figures(where, ranked, None if match_gallery else distance)
        all_figures += of_distance
        rank_1.append(of_distance[0].value)
        half = _rank(names, probes, owners, matched, errors, first_subject=HALF_FIRST_SUBJECT)
        half_figures.append(_rank_figure(f"d{distance}, subjects 51-130 only: rank-1", half, 1))
        sides = np.array([data.side(landmarks, names[row]) for row in ranked.rows], dtype=np.float64)
        curves += _curves(where, ranked, {NORM: norms(probes.vectors[ranked.rows]), SIDE: sides})
        mistakes += _mistakes(where, ranked, pictures, mugshots(low))
    curves.append(Curve("rank-1", "resolution", np.array(sizes, dtype=float), np.array(rank_1)))
    return Outcome(
        PROTOCOL,
        (*all_figures, *half_figures),
        tuple(curves),
        {**counts, "probes left out": left_out, **data.counts},
        tuple(sorted(missing.items())),
        (*_notes(data, sizes, match_gallery), *of_empty_parts(parts)),
        incomplete=bool(missing) or left_out > 0,
        mistakes=tuple(mistakes),
        alignment=data.alignment,
        as_published=match_gallery is None,
    )


def _mugshots(data: Data, names: Sequence[str], form: Preprocessing, low: int | None) -> list[Picture]:
    return [data.picture(data.mugshots, name, form, low=low) for name in names]


def _rank(
    names: Sequence[str],
    probes: Embedded,
    owners: Sequence[str],
    gallery: Embedded,
    errors: tuple[Sequence[str], Sequence[str]],
    *,
    first_subject: int,
) -> Probes:
    """Rank the usable mugshots for subjects from a number on; errors are probes, and subjects, without a face."""
    subjects = np.array([subject(name) for name in owners])
    people = np.array([subject(name) for name in names])
    kept = np.flatnonzero(gallery.usable & _from(subjects, first_subject))
    # A probe whose mugshot cannot be read has nobody to be identified as: it is left out, not missed.
    no_mugshot = np.array(errors[1], dtype=np.str_)
    present = np.concatenate([subjects[kept], no_mugshot[_from(no_mugshot, first_subject)]])
    rows = np.flatnonzero(probes.usable & np.isin(people, present))
    lost = [name for name in errors[0] if subject(name) in set(present.tolist())]
    cameras = np.array([camera(name) for name in [*(names[row] for row in rows.tolist()), *lost]], dtype=np.str_)
    ranked = mated_ranks(probes.vectors[rows], people[rows], gallery.vectors[kept], subjects[kept])
    shown = np.array([*people[rows].tolist(), *map(subject, lost)], dtype=np.str_)
    return Probes(rows, shown, cameras, kept, ranked.with_misses(len(lost)))


def _from(subjects: NDArray[np.str_], first: int) -> NDArray[np.bool_]:
    """Return which subjects have a number from `first` on."""
    return np.array([first == 0 or (one.isdecimal() and int(one) >= first) for one in subjects.tolist()], dtype=bool)


def _figures(where: str, probes: Probes, published: int | None) -> list[Figure]:
    """Return the figures of a distance: rank-1 of all cameras first, then of each, last those of faces that were found.

    Args:
        where: the distance, before each name.
        probes: of it.
        published: the distance whose published figure stands beside, None for none.
    """
    figures = [_rank_figure(f"{where}: rank-{rank}", probes, rank, published) for rank in RANKS]
    for one in sorted(set(probes.cameras.tolist())):
        figures.append(_rank_figure(f"{where}, {one}: rank-1", probes, 1, chosen=probes.cameras == one))
    if (probes.ranked.ranks == 0).any():
        figures += of_found([_rank_figure(f"{where}: rank-{rank}", probes.found(), rank) for rank in RANKS])
    return figures


def _curves(where: str, probes: Probes, qualities: dict[str, NDArray[np.float64]]) -> list[Curve]:
    """Return the curves of a distance; the qualities are those of its usable probes, (P,) each."""
    ranked = probes.ranked
    return [
        *cmc_curve(where, ranked.ranks),
        *identification_scores(where, ranked),
        *discarded_probes(where, ranked.ranks[: len(probes.rows)] != 1, qualities),
    ]


def _rank_figure(
    name: str, probes: Probes, rank: int, distance: int | None = None, chosen: NDArray[np.bool_] | None = None
) -> Figure:
    mine = np.ones(len(probes.people), dtype=bool) if chosen is None else chosen
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


def _notes(data: Data, sizes: Sequence[int], match_gallery: MatchGallery | None) -> tuple[str, ...]:
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
        notes += [*match_note(match_gallery, "Mugshots", "the probes"), "The published figures have them in full."]
    return tuple(notes)
