"""How well faces were followed, where the truth is known: identity switches, misses, false tracks, IDF1.

Definitions: CLEAR MOT (Bernardin and Stiefelhagen, 2008) and IDF1 (Ristani et al., 2016).
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from pipeline.tracking.tracker import overlap


@dataclass(frozen=True)
class Boxes:
    """The boxes of a frame and whose they are.

    Attributes:
        names: of people, or numbers of tracks; no name occurs twice.
        boxes: (N, 4) left, top, width, height in pixels.
    """

    names: tuple[Hashable, ...]
    boxes: NDArray[np.float64]


@dataclass(frozen=True)
class Followed:
    """How well faces were followed.

    Attributes:
        faces: true boxes in all frames.
        misses: of them, those without a box of a track.
        false: boxes of tracks where there is no face.
        switches: times at which a person's face is on another track than the last time it was on one.
        tracks: number of tracks.
        mota: 1 - (misses + false + switches) / faces; NaN without faces.
        idf1: share of boxes that are the right person's, where each person is given one track, 0 to 1.
    """

    faces: int
    misses: int
    false: int
    switches: int
    tracks: int
    mota: float
    idf1: float


def measure_following(truth: Sequence[Boxes], found: Sequence[Boxes], least_overlap: float = 0.3) -> Followed:
    """Hold the boxes of tracks against the true ones, frame by frame.

    Args:
        truth: of each frame, people.
        found: of the same frames, tracks.
        least_overlap: intersection over union from which a box is a face's; a face of 10 pixels that is measured one
            pixel off in place and size has 0.6 left.
    """
    assert len(truth) == len(found)
    last: dict[Hashable, Hashable] = {}
    pairs: Counter[tuple[Hashable, Hashable]] = Counter()
    misses = false = switches = 0
    for people, tracks in zip(truth, found, strict=True):
        matched = _matched(people, tracks, last, least_overlap)
        misses += len(people.names) - len(matched)
        false += len(tracks.names) - len(matched)
        switches += sum(last.get(person, track) != track for person, track in matched.items())
        last |= matched
        pairs.update(matched.items())
    faces = sum(len(people.names) for people in truth)
    boxes = sum(len(tracks.names) for tracks in found)
    mota = 1 - (misses + false + switches) / faces if faces else float("nan")
    right = _best_total(pairs)
    every = {name for tracks in found for name in tracks.names}
    return Followed(faces, misses, false, switches, len(every), mota, 2 * right / max(1, faces + boxes))


def _matched(
    people: Boxes, tracks: Boxes, last: dict[Hashable, Hashable], least_overlap: float
) -> dict[Hashable, Hashable]:
    """Match people and tracks: a pair of the frame before goes on where it can, others by the largest overlap."""
    shared = overlap(people.boxes.reshape(-1, 4), tracks.boxes.reshape(-1, 4))
    matched: dict[Hashable, Hashable] = {}
    for row, person in enumerate(people.names):
        track = last.get(person)
        if track in tracks.names and track not in matched.values():
            column = tracks.names.index(track)
            if shared[row, column] >= least_overlap:
                matched[person] = track
                shared[row, :] = shared[:, column] = 0
    gain = np.where(shared >= least_overlap, shared, 0)
    for row, column in np.column_stack(linear_sum_assignment(-gain)).tolist():
        if shared[row, column] >= least_overlap and shared[row, column] > 0:
            matched[people.names[row]] = tracks.names[column]
    return matched


def _best_total(pairs: Counter[tuple[Hashable, Hashable]]) -> int:
    """Return the most boxes that are right where each person has one track and each track one person."""
    people = list(dict.fromkeys(person for person, _ in pairs))
    tracks = list(dict.fromkeys(track for _, track in pairs))
    counts = np.zeros((len(people), len(tracks)), dtype=int)
    for (person, track), count in pairs.items():
        counts[people.index(person), tracks.index(track)] = count
    return int(counts[linear_sum_assignment(-counts)].sum())
