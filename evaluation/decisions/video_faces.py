"""A video to the faces in it, found, followed and embedded; a killed run goes on where it was."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.decisions.video_parts import VideoFaces, gone_on_from, joined, read_part, write_part
from evaluation.enrolled.measuring import Measuring, jpeg, photo_state
from evaluation.enrolled.photo_quality import sharpness, side_in_photo
from evaluation.models.pictures import PictureError
from evaluation.models.preparation import aligned
from pipeline.alignment.align import DegenerateLandmarks
from pipeline.detection.cascade import DetectedFace
from pipeline.jobs.progress import progress
from pipeline.tracking.face_follower import FollowedFrame, Search, follow_faces
from pipeline.tracking.tracker import Following
from pipeline.tracking.video import Frame, Video
from shards.command import UserError

_FRAMES_PER_PART = 200
CROPS = 3
"""Pictures kept of a track, and in each part of a video."""
APART = 0.5
"""Seconds that these pictures lie apart, where the track is long enough."""


@dataclass(frozen=True)
class Watched:
    """What was found in a video.

    Attributes:
        faces: found.
        faults: what is wrong with the video.
    """

    faces: VideoFaces
    faults: tuple[str, ...]


def watch(path: Path, how: Measuring, search: Search, work: Path) -> Watched:
    """Find, follow and embed the faces of a video, or what an interrupted run left of it.

    Args:
        path: of the video.
        how: the model.
        search: where and when faces are looked for.
        work: folder of what is finished; it is made, and the caller removes it when all is done.

    Raises:
        UserError: no frame can be read, or the model takes whole pictures, in which no face is looked for.
    """
    if how.aligned:
        raise UserError("--video finds and aligns faces; give a model of aligned faces, and leave --aligned out")
    following = Following()
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o700)
    settings = [how.made, str(path.absolute()), photo_state(path), asdict(search), asdict(following)]
    name = hashlib.sha256(json.dumps(settings).encode()).hexdigest()[:32]
    parts = _finished(work, name)
    before = gone_on_from(parts, following)
    if before is None:
        parts, before = [], gone_on_from([], following)
    video = Video(path, begin=int(parts[-1].frames[-1]) + 1 if parts else 0)
    with progress("video", video.named, lost="unreadable", what="frames") as advance:
        done = sum(len(part.frames) for part in parts)
        part = _Part(how)
        for followed in follow_faces(video, part.describe, search, following, before):
            part.add(followed)
            done += 1
            if len(part) == _FRAMES_PER_PART:
                parts.append(part.finished())
                write_part(work / f"{name}-{len(parts):06d}", parts[-1])
                part.clear()
            advance(done, 0)
            done = 0
        if len(part):
            parts.append(part.finished())
    faces = joined(parts)
    lost = video.read - len(faces.frames)
    faults = [fault for fault in (video.fault(), f"{lost:,} frames cannot be read" if lost else "") if fault]
    return Watched(faces, tuple(faults))


def _finished(work: Path, name: str) -> list[VideoFaces]:
    parts: list[VideoFaces] = []
    while (part := read_part(work / f"{name}-{len(parts) + 1:06d}")) is not None:
        parts.append(part)
    return parts


@dataclass(frozen=True)
class _Crop:
    """A picture of a track: its weight, time, row among the faces embedded, and bytes."""

    weight: float
    seconds: float
    row: int
    jpeg: bytes


@dataclass(frozen=True)
class _Seen:
    """A face as the network sees it, (S, S, 3) uint8 RGB, and its five points (5, 2) in units of its side."""

    pixels: NDArray[np.uint8]
    points: NDArray[np.float32]


class _Part:
    """The faces of the frames of a part, as they come.

    Args:
        how: the model.
    """

    def __init__(self, how: Measuring) -> None:
        self._how = how
        size = how.embedder.preprocessing.size
        nothing = np.zeros((0, size, size, 3), dtype=np.uint8), np.zeros((0, 5, 2), dtype=np.float32)
        self._length = how.embedder.embed_faces(*nothing).shape[1]
        self.clear()

    def clear(self) -> None:
        """Begin the next part."""
        self._frames: list[tuple[int, float, bool]] = []
        self._faces: list[tuple[int, int, DetectedFace]] = []
        self._embedded: list[tuple[int, float, float, NDArray[np.float32]]] = []
        self._best: dict[int, list[_Crop]] = {}

    def __len__(self) -> int:
        return len(self._frames)

    def describe(self, pixels: NDArray[np.uint8], faces: Sequence[DetectedFace]) -> NDArray[np.float32]:
        """Embed faces of a frame; a row of one that cannot be aligned is not finite."""
        seen = [self._as_seen(pixels, face) for face in faces]
        some = [face for face in seen if face is not None]
        size = self._how.embedder.preprocessing.size
        stacked = np.stack([one.pixels for one in some]) if some else np.zeros((0, size, size, 3), dtype=np.uint8)
        points = np.array([one.points for one in some], dtype=np.float32).reshape(-1, 5, 2)
        found = self._how.embedder.embed_faces(stacked, points)
        vectors = np.full((len(faces), found.shape[1]), np.nan, dtype=np.float32)
        vectors[[face is not None for face in seen]] = found
        return vectors

    def add(self, followed: FollowedFrame) -> None:
        """Take in the faces of a frame."""
        frame, vectors = followed.frame, followed.vectors
        self._frames.append((frame.number, frame.seconds, vectors is not None))
        for place, (face, track) in enumerate(zip(followed.faces, followed.numbers, strict=True)):
            self._faces.append((frame.number, track, face))
            if vectors is not None and np.isfinite(vectors[place]).all():
                self._measure(frame, face, track, vectors[place].astype(np.float32))

    def _measure(self, frame: Frame, face: DetectedFace, track: int, vector: NDArray[np.float32]) -> None:
        seen = self._as_seen(frame.pixels, face)
        assert seen is not None
        side = side_in_photo(face.landmarks, self._how.embedder.preprocessing.template)
        sharp = sharpness(seen.pixels)
        row = len(self._embedded)
        self._embedded.append((len(self._faces) - 1, side, sharp, vector))
        kept = self._best.setdefault(track, [])
        weight = min(side, sharp) * float(np.linalg.norm(vector))
        # The new one takes the place of one of about the same time, otherwise of the least.
        near = [one for one in kept if abs(one.seconds - frame.seconds) < APART]
        rivals = near or (kept if len(kept) == CROPS else [])
        if all(weight > one.weight for one in near) and (not rivals or weight > min(one.weight for one in rivals)):
            gone = near or sorted(rivals, key=lambda one: one.weight)[:1]
            picture = jpeg(seen.pixels)
            assert picture is not None
            self._best[track] = [*(one for one in kept if one not in gone), _Crop(weight, frame.seconds, row, picture)]

    def _as_seen(self, pixels: NDArray[np.uint8], face: DetectedFace) -> _Seen | None:
        form = self._how.embedder.preprocessing
        try:
            side_in_photo(face.landmarks, form.template)
            preparation = aligned("", Path(), face.landmarks, form).preparation
            points = preparation.points()
            assert points is not None
            return _Seen(preparation.apply(pixels), points)
        except (DegenerateLandmarks, PictureError):
            return None

    def finished(self) -> VideoFaces:
        """Return the part."""
        numbers, seconds, asked = zip(*self._frames, strict=True)
        faces = [face for *_, face in self._faces]
        crops = sorted((one.row, one.jpeg) for kept in self._best.values() for one in kept)
        return VideoFaces(
            np.array(numbers, dtype=np.int64),
            np.array(seconds, dtype=np.float64),
            np.array(asked, dtype=np.bool_),
            np.array([number for number, *_ in self._faces], dtype=np.int64),
            np.array([track for _, track, _ in self._faces], dtype=np.int64),
            np.array([face.box for face in faces], dtype=np.float64).reshape(-1, 4),
            np.array([face.landmarks for face in faces], dtype=np.float64).reshape(-1, 5, 2),
            np.array([face.score for face in faces], dtype=np.float64),
            np.array([row for row, *_ in self._embedded], dtype=np.int64),
            np.array([side for _, side, _, _ in self._embedded], dtype=np.float64),
            np.array([sharp for _, _, sharp, _ in self._embedded], dtype=np.float64),
            np.array([vector for *_, vector in self._embedded], dtype=np.float32).reshape(-1, self._length),
            np.array([row for row, _ in crops], dtype=np.int64),
            np.cumsum([len(picture) for _, picture in crops], dtype=np.int64),
            np.frombuffer(b"".join(picture for _, picture in crops), dtype=np.uint8),
        )
