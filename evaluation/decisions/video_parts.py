"""What was found in a video, kept in parts, so that a killed command continues; readable by the owner alone."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from pipeline.tracking.face_follower import Before
from pipeline.tracking.tracker import Following, Tracks, follow
from shards.writer import write_atomically

_FORMAT = "faces of a video, version 1"


@dataclass(frozen=True, eq=False)
class VideoFaces:
    """The faces found in some frames of a video.

    Attributes:
        frames: (F,) int64 numbers of all these frames.
        seconds: (F,) float64 when they are shown.
        asked: (F,) bool whether the frame's faces were embedded.
        numbers: (N,) int64 number of each face's frame.
        tracks: (N,) int64 number of its track.
        boxes: (N, 4) float64 left, top, width, height in pixels.
        landmarks: (N, 5, 2) float64 x, y in pixels.
        scores: (N,) float64 how sure the detector is, 0..1.
        rows: (M,) int64 faces that have an embedding.
        sides: (M,) float64 side in pixels of the aligned face in its frame.
        sharpness: (M,) float64, see `photo_quality`.
        vectors: (M, D) float32, not normalised.
        crop_rows: (K,) int64 rows of the M of which a picture is kept.
        crop_ends: (K,) int64 ends of their bytes.
        crops: (B,) uint8 JPEG files, one after the other.
    """

    frames: NDArray[np.int64]
    seconds: NDArray[np.float64]
    asked: NDArray[np.bool_]
    numbers: NDArray[np.int64]
    tracks: NDArray[np.int64]
    boxes: NDArray[np.float64]
    landmarks: NDArray[np.float64]
    scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    sides: NDArray[np.float64]
    sharpness: NDArray[np.float64]
    vectors: NDArray[np.float32]
    crop_rows: NDArray[np.int64]
    crop_ends: NDArray[np.int64]
    crops: NDArray[np.uint8]

    @property
    def sizes(self) -> NDArray[np.float64]:
        """(M,) pixels that the faces with an embedding show: a face that was enlarged shows no more than is sharp."""
        return np.minimum(self.sides, self.sharpness)

    def times(self, numbers: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the seconds of frames by their numbers."""
        return np.asarray(self.seconds[np.searchsorted(self.frames, numbers)])

    def crop(self, place: int) -> bytes:
        """Return one of the kept pictures."""
        begin = int(self.crop_ends[place - 1]) if place else 0
        return self.crops[begin : int(self.crop_ends[place])].tobytes()


def joined(parts: Sequence[VideoFaces]) -> VideoFaces:
    """Put parts of a video together, in their order."""
    faces = np.cumsum([0, *(len(part.numbers) for part in parts)])
    embedded = np.cumsum([0, *(len(part.rows) for part in parts)])
    lengths = np.cumsum([0, *(len(part.crops) for part in parts)])
    shifts = {"rows": faces, "crop_rows": embedded, "crop_ends": lengths}
    columns = {}
    for one in fields(VideoFaces):
        arrays = [getattr(part, one.name) for part in parts]
        if one.name in shifts:
            arrays = [array + shift for array, shift in zip(arrays, shifts[one.name], strict=False)]
        columns[one.name] = np.concatenate(arrays)
    return VideoFaces(**columns)


def write_part(path: Path, part: VideoFaces) -> None:
    """Write a part, whole or not at all.

    Raises:
        OSError: the disk is full or the folder cannot be written.
    """
    tensors = {one.name: np.ascontiguousarray(getattr(part, one.name)) for one in fields(VideoFaces)}
    write_atomically(path, save(tensors, {"format": _FORMAT}), private=True)


def read_part(path: Path) -> VideoFaces | None:
    """Read a part; None where there is none or it is damaged."""
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get("format") != _FORMAT:
                return None
        part = VideoFaces(**load(path.read_bytes()))
    except (OSError, SafetensorError, TypeError, ValueError):
        return None
    groups = (
        (part.frames, part.seconds, part.asked),
        (part.numbers, part.tracks, part.boxes, part.landmarks, part.scores),
        (part.rows, part.sides, part.sharpness, part.vectors),
        (part.crop_rows, part.crop_ends),
    )
    sound = all(len(array) == len(group[0]) for group in groups for array in group)
    return part if sound and len(part.frames) else None


def gone_on_from(parts: Sequence[VideoFaces], how: Following) -> Before | None:
    """Follow the kept faces again, and return what following goes on from; None where it does not lead there."""
    if not parts:
        return Before()
    known = joined(parts)
    tracks = Tracks()
    faces = np.searchsorted(known.numbers, [known.frames, known.frames + 1])
    vectors = np.full((len(known.numbers), known.vectors.shape[1]), np.nan, dtype=np.float32)
    vectors[known.rows] = known.vectors
    for place, (seconds, asked) in enumerate(zip(known.seconds.tolist(), known.asked.tolist(), strict=True)):
        own = slice(int(faces[0, place]), int(faces[1, place]))
        step = follow(tracks, seconds, known.boxes[own], vectors[own] if asked else None, how)
        if list(step.numbers) != known.tracks[own].tolist():
            return None
        tracks = step.tracks
    return Before(tracks, float(known.seconds[-1]))
