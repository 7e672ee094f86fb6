"""Following of faces from frame to frame: which box of this frame belongs to which track. Pure: no pixels, no files.

Each track predicts its box at constant velocity; boxes are given to tracks by the assignment of least total cost
(Hungarian method), as in SORT (Bewley et al., 2016). Where embeddings are given, a track keeps a running mean of them,
and what looks different is not joined, however near it is (as in Wojke et al., 2017).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

_FORBIDDEN = 1e6


@dataclass(frozen=True)
class Following:
    """What decides which box continues a track.

    Attributes:
        reach: largest distance from where a track is expected to where a face is, in mean sides of the two boxes, for
            a track seen in the last frame; twice as large for a track seen once, whose velocity is not known, and
            growing with the time for which the track was not seen.
        growth: largest ratio of the sides of two boxes of one face.
        least_cosine: least cosine of the embeddings of box and track; used where both have one.
        appearance: share of the cost that the cosine decides, 0 to 1, where both have an embedding.
        patience: seconds for which a track that is not seen is kept.
        steadiness: 0..1, how much of a track's velocity a new measurement leaves.
    """

    reach: float = 0.6
    growth: float = 1.6
    least_cosine: float = 0.0
    appearance: float = 0.5
    patience: float = 1.0
    steadiness: float = 0.7


@dataclass(frozen=True)
class Track:
    """A face followed so far.

    Attributes:
        number: of the track, counted from 0 in the order of appearance.
        middle: (2,) x, y of the box in pixels, when it was last seen.
        side: (2,) width and height of the box in pixels, then.
        velocity: (2,) of the middle, in pixels a second.
        began: seconds at which it was first seen.
        seen: seconds at which it was last seen.
        count: of frames in which it was seen.
        embedding: (D,) running mean of unit embeddings, None where none were given.
    """

    number: int
    middle: NDArray[np.float64]
    side: NDArray[np.float64]
    velocity: NDArray[np.float64]
    began: float
    seen: float
    count: int = 1
    embedding: NDArray[np.float64] | None = None

    def expected(self, seconds: float) -> NDArray[np.float64]:
        """Return the box (4,), left, top, width, height, where the face is expected at a time."""
        middle = self.middle + self.velocity * (seconds - self.seen)
        return np.concatenate([middle - self.side / 2, self.side])


@dataclass(frozen=True)
class Tracks:
    """All faces followed at some time.

    Attributes:
        alive: tracks that may go on.
        ended: tracks that were not seen for longer than the patience.
        seconds: time of the last frame.
    """

    alive: tuple[Track, ...] = ()
    ended: tuple[Track, ...] = ()
    seconds: float = -np.inf

    def __len__(self) -> int:
        """Return the number of tracks so far."""
        return len(self.alive) + len(self.ended)


@dataclass(frozen=True)
class Step:
    """What a frame did: the tracks after it, and the number of the track of each of its boxes, -1 of one without."""

    tracks: Tracks
    numbers: tuple[int, ...] = field(default=())


def follow(
    tracks: Tracks,
    seconds: float,
    boxes: NDArray[np.float64],
    embeddings: NDArray[np.floating] | None = None,
    how: Following | None = None,
    begins: Sequence[bool] | None = None,
) -> Step:
    """Give the boxes of a frame to tracks; a box that continues none begins one, where it may.

    Boxes of which the detector is less sure may continue a track and begin none (as in Zhang et al., ByteTrack, 2022).

    Args:
        tracks: after the frames before, `Tracks()` at the beginning.
        seconds: time of the frame, later than that of the one before; frames may have any distance.
        boxes: (N, 4) left, top, width, height in pixels.
        embeddings: (N, D), of any norm; None, or a row that is not finite, where there is none.
        how: settings.
        begins: (N,) whether a box may begin a track; None: each may.

    Raises:
        ValueError: the time does not grow, a box has no side, or there are not as many embeddings as boxes.
    """
    how = how or Following()
    boxes = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    if not seconds > tracks.seconds:
        raise ValueError(f"a frame at {seconds} s after one at {tracks.seconds} s")
    if not (np.isfinite(boxes).all() and (boxes[:, 2:] > 0).all()):
        raise ValueError("a box without a width or height")
    if embeddings is not None and len(embeddings) != len(boxes):
        raise ValueError(f"{len(embeddings)} embeddings of {len(boxes)} boxes")
    units = _units(embeddings, len(boxes))
    alive = [track for track in tracks.alive if seconds - track.seen <= how.patience]
    ended = tuple(track for track in tracks.alive if seconds - track.seen > how.patience)
    costs = _costs(alive, seconds, boxes, units, how, tracks.seconds)
    numbers, after = [-1] * len(boxes), list(alive)
    for row, column in np.column_stack(linear_sum_assignment(costs)).tolist():
        if costs[row, column] < _FORBIDDEN:
            after[row] = _continued(alive[row], seconds, boxes[column], units[column], how)
            numbers[column] = alive[row].number
    total = len(tracks)
    for column, number in enumerate(numbers):
        if number < 0 and (begins is None or begins[column]):
            numbers[column] = total
            box = boxes[column]
            after.append(
                Track(total, box[:2] + box[2:] / 2, box[2:], np.zeros(2), seconds, seconds, embedding=units[column])
            )
            total += 1
    return Step(Tracks(tuple(after), tracks.ended + ended, seconds), tuple(numbers))


def overlap(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union (N, M) of boxes (N, 4) and (M, 4): left, top, width, height."""
    begin = np.maximum(first[:, None, :2], second[None, :, :2])
    end = np.minimum(first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:])
    common = np.clip(end - begin, 0, None).prod(axis=2)
    return common / (first[:, 2:].prod(axis=1)[:, None] + second[:, 2:].prod(axis=1)[None] - common)


def _costs(
    alive: Sequence[Track],
    seconds: float,
    boxes: NDArray[np.float64],
    units: Sequence[NDArray[np.float64] | None],
    how: Following,
    before: float,
) -> NDArray[np.float64]:
    """Return what joining each track (row) with each box (column) costs; forbidden pairs cost more than all others."""
    if not alive or not len(boxes):
        return np.empty((len(alive), len(boxes)))
    expected = np.array([track.expected(seconds) for track in alive])
    sides = np.sqrt(expected[:, 2:].prod(axis=1)[:, None]), np.sqrt(boxes[:, 2:].prod(axis=1)[None])
    apart = (expected[:, None, :2] + expected[:, None, 2:] / 2) - (boxes[None, :, :2] + boxes[None, :, 2:] / 2)
    distance = np.linalg.norm(apart, axis=2) / ((sides[0] + sides[1]) / 2)
    # Frames missed since, as far as the distance of the last two tells.
    frame = max(seconds - before, 1e-9)
    missed = np.array([(seconds - track.seen) / frame - 1 for track in alive]).clip(0, 8)[:, None]
    ratio = np.maximum(sides[0] / sides[1], sides[1] / sides[0])
    costs = 1 - overlap(expected, boxes) + distance
    for row, track in enumerate(alive):
        for column, unit in enumerate(units):
            if track.embedding is not None and unit is not None:
                cosine = float(track.embedding @ unit / max(float(np.linalg.norm(track.embedding)), 1e-12))
                costs[row, column] = (1 - how.appearance) * costs[row, column] + how.appearance * (1 - cosine)
                if cosine < how.least_cosine:
                    costs[row, column] = _FORBIDDEN
    unsure = np.array([2.0 if track.count == 1 else 1.0 for track in alive])[:, None]
    far = distance > how.reach * unsure * (1 + 0.5 * missed)
    costs[far | (ratio > how.growth * (1 + 0.1 * missed))] = _FORBIDDEN
    return costs


def _continued(
    track: Track, seconds: float, box: NDArray[np.float64], unit: NDArray[np.float64] | None, how: Following
) -> Track:
    """Return a track after it was seen once more."""
    middle = box[:2] + box[2:] / 2
    measured = (middle - track.middle) / (seconds - track.seen)
    # The first measurement is all that is known.
    kept = 0.0 if track.count == 1 else how.steadiness
    embedding = track.embedding if unit is None else unit if track.embedding is None else None
    if embedding is None and unit is not None and track.embedding is not None:
        embedding = track.embedding + (unit - track.embedding) / min(track.count + 1, 20)
    return replace(
        track,
        middle=middle,
        side=box[2:],
        velocity=kept * track.velocity + (1 - kept) * measured,
        seen=seconds,
        count=track.count + 1,
        embedding=embedding,
    )


def _units(embeddings: NDArray[np.floating] | None, count: int) -> list[NDArray[np.float64] | None]:
    """Return unit vectors, None for what has no direction."""
    if embeddings is None:
        return [None] * count
    found: list[NDArray[np.float64] | None] = []
    for vector in np.asarray(embeddings, dtype=np.float64):
        norm = float(np.linalg.norm(vector))
        found.append(vector / norm if np.isfinite(norm) and norm > 0 else None)
    return found
