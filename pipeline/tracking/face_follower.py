"""Faces found and followed through a video: everywhere at intervals, between them where faces are expected."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipeline.detection.cascade import DetectedFace, find_faces, find_near
from pipeline.tracking.tracker import Following, Tracks, follow, overlap
from pipeline.tracking.video import Frame
from shards.cores import usable_cores

Describe = Callable[[NDArray[np.uint8], Sequence[DetectedFace]], NDArray[np.floating]]
"""Embeds faces of a frame: (H, W, 3) uint8 RGB and N faces -> (N, D); a row that is not finite is no embedding."""
# Bytes of frames that may wait while those to come are searched.
_WAITING = 1 << 28
# Overlap from which two boxes are one face.
_SAME = 0.4


@dataclass(frozen=True)
class Search:
    """Where and when faces are looked for.

    Attributes:
        smallest: side in pixels of the smallest face that is looked for.
        least_score: 0..1, how sure the detector must be of a face that begins a track.
        continuing_score: the same of one that continues a track.
        interval: seconds from one search of the whole frame to the next; 0 searches every frame. Between them faces
            are looked for where tracks are expected alone.
        embedding_interval: the same of embedding the faces found.
    """

    smallest: float = 10
    least_score: float = 0.9
    continuing_score: float = 0.6
    interval: float = 0.3
    embedding_interval: float = 0.1


@dataclass(frozen=True)
class FollowedFrame:
    """The faces of a frame.

    Attributes:
        frame: the frame.
        faces: found in it, each on a track.
        numbers: of their tracks.
        vectors: (N, D) embeddings; None where this frame's were not asked for.
    """

    frame: Frame
    faces: tuple[DetectedFace, ...]
    numbers: tuple[int, ...]
    vectors: NDArray[np.floating] | None


@dataclass(frozen=True)
class Before:
    """What following goes on from: the tracks, and the time of the last frame."""

    tracks: Tracks = field(default_factory=Tracks)
    seconds: float = -np.inf


def follow_faces(
    frames: Iterable[Frame],
    describe: Describe,
    search: Search | None = None,
    how: Following | None = None,
    before: Before | None = None,
) -> Iterator[FollowedFrame]:
    """Find and follow the faces of a video, frame by frame.

    Which frames are searched as a whole and which are embedded depends on their times alone, so that following which
    goes on from what was kept finds what it would have found. Whole frames are searched in threads, ahead of the rest.

    Args:
        frames: in order, from the first or from where `before` ends.
        describe: embeds faces.
        search: settings.
        how: settings of the tracker.
        before: of the frames before.
    """
    search, before = search or Search(), before or Before()
    tracks, last = before.tracks, before.seconds
    for frame, whole in _searched_ahead(frames, search, last):
        expected = np.array([track.expected(frame.seconds) for track in tracks.alive]).reshape(-1, 4)
        near = find_near(frame.pixels, expected, search.continuing_score) if len(expected) else []
        faces = together(whole.result() if whole else [], near)
        boxes = np.array([face.box for face in faces]).reshape(-1, 4)
        vectors = None
        if faces and (begins_interval(last, frame.seconds, search.embedding_interval)):
            vectors = describe(frame.pixels, faces)
        sure = [face.score >= search.least_score for face in faces]
        step = follow(tracks, frame.seconds, boxes, vectors, how, sure)
        tracks, last = step.tracks, frame.seconds
        kept = [row for row, number in enumerate(step.numbers) if number >= 0]
        yield FollowedFrame(
            frame,
            tuple(faces[row] for row in kept),
            tuple(step.numbers[row] for row in kept),
            None if vectors is None else vectors[kept],
        )


def begins_interval(before: float, seconds: float, interval: float) -> bool:
    """Tell whether the first frame of an interval is reached: the time falls into another one than that before."""
    if not np.isfinite(before) or not interval:
        return True
    return bool(np.floor(seconds / interval) > np.floor(before / interval))


def _searched_ahead(
    frames: Iterable[Frame], search: Search, last: float
) -> Iterator[tuple[Frame, Future[list[DetectedFace]] | None]]:
    """Yield frames, with what is found in those that are searched as a whole; these are searched ahead in threads."""
    workers = max(1, usable_cores() - 1)
    waiting: deque[tuple[Frame, Future[list[DetectedFace]] | None]] = deque()
    size = searched = 0

    def first() -> tuple[Frame, Future[list[DetectedFace]] | None]:
        nonlocal size, searched
        frame, found = waiting.popleft()
        size, searched = size - frame.pixels.nbytes, searched - (found is not None)
        return frame, found

    with ThreadPoolExecutor(workers) as pool:
        for frame in frames:
            found = None
            if begins_interval(last, frame.seconds, search.interval):
                found = pool.submit(find_faces, frame.pixels, search.smallest, search.least_score)
            last = frame.seconds
            waiting.append((frame, found))
            size, searched = size + frame.pixels.nbytes, searched + (found is not None)
            while searched > workers or (size > _WAITING and len(waiting) > 1):
                yield first()
        while waiting:
            yield first()


def together(whole: Sequence[DetectedFace], near: Sequence[DetectedFace]) -> list[DetectedFace]:
    """Put faces found in the whole frame and near tracks together, each once: the surer one."""
    kept: list[DetectedFace] = []
    for face in sorted([*whole, *near], key=lambda face: -face.score):
        boxes = np.array([other.box for other in kept]).reshape(-1, 4)
        positive = bool((face.box[2:] > 0).all())
        if positive and not (kept and (overlap(face.box[None], boxes) > _SAME).any()):
            kept.append(face)
    return kept
