"""Faces in photos by the cascade of MTCNN: a pyramid of levels, then two networks that look closer.

With the same smallest face and least score it finds what the package's own code finds, up to rounding. It works on one
level after the other and in strips of it, so that the memory of a photo of any size is a few times the photo's.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.detection.boxes import keep_best, moved, squares, whole_pixels
from pipeline.detection.networks import STRIDE, WINDOW, finish, offsets, propose, refine
from pipeline.detection.shrink import crops, level

# Where a face may be beside where it is expected, in sides of the box: x, y and side.
_NEAR = np.array([(0, 0, 1), (0, 0, 0.8), (0, 0, 1.25), (-0.2, 0, 1), (0.2, 0, 1), (0, -0.2, 1), (0, 0.2, 1)])
STAGE_SCORES = (0.6, 0.7)
"""Least scores of the first two networks."""
_FACTOR = 0.709
# Crops of the third network held at once: 14 MB of its largest layer.
_TOGETHER = 64


@dataclass(frozen=True)
class DetectedFace:
    """A face in a photo.

    Attributes:
        score: 0..1, how sure the detector is.
        box: left, top, width, height in pixels.
        landmarks: (5, 2) x, y in pixels of left eye, right eye, nose tip, left and right mouth corner, left and
            right as seen in the picture; the centre of the first pixel is (0, 0).
    """

    score: float
    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]


def scales(height: int, width: int, smallest: float) -> list[float]:
    """Return the scales of the levels on which a face of at least `smallest` pixels fills the first network's window.

    >>> [round(scale, 3) for scale in scales(100, 50, 20)]
    [0.6, 0.425, 0.302]
    """
    first = WINDOW / smallest
    side = min(height, width) * first
    found: list[float] = []
    while side >= WINDOW:
        found.append(first * _FACTOR ** len(found))
        side *= _FACTOR
    return found


def find_faces(photo: NDArray[np.uint8], smallest: float, least_score: float) -> list[DetectedFace]:
    """Find the faces in an upright photo, the surest first.

    Args:
        photo: (H, W, 3) uint8 RGB.
        smallest: side in pixels of the smallest face that is looked for.
        least_score: 0..1, faces of less are left out.
    """
    # Compiled code takes contiguous arrays alone, which photo[:, :, ::-1] is not.
    photo = np.ascontiguousarray(photo)
    boxes = _proposed(photo, smallest)
    boxes = _refined(photo, boxes)
    return _finished(photo, boxes, least_score)


def find_near(photo: NDArray[np.uint8], expected: NDArray[np.float64], least_score: float) -> list[DetectedFace]:
    """Find the faces that are about where some are expected, the surest first; the rest of the photo is not looked at.

    Args:
        photo: (H, W, 3) uint8 RGB.
        expected: (N, 4) left, top, width, height in pixels, as `find_faces` gives boxes.
        least_score: 0..1, faces of less are left out.
    """
    photo = np.ascontiguousarray(photo)
    side = expected[:, 2:].max(axis=1)[:, None]
    # (N, 7, 2) and (N, 7, 1)
    middles = (expected[:, :2] + expected[:, 2:] / 2)[:, None] + side[:, :, None] * _NEAR[None, :, :2]
    halves = side[:, :, None] * _NEAR[None, :, 2:] / 2
    boxes = np.concatenate([middles - halves, middles + halves], axis=2).reshape(-1, 4)
    height, width = photo.shape[:2]
    inside = (boxes[:, 2:] > 1).all(axis=1) & (boxes[:, 0] < width) & (boxes[:, 1] < height)
    return _finished(photo, _refined(photo, whole_pixels(boxes[inside])), least_score)


def _proposed(photo: NDArray[np.uint8], smallest: float) -> NDArray[np.float64]:
    """Return squares (N, 4) of whole pixels, counted from 1, that may hold a face."""
    height, width = photo.shape[:2]
    found = [_of_level(photo, scale) for scale in scales(height, width, smallest)]
    if not found:
        return np.empty((0, 4))
    boxes, scores, moves = (np.concatenate(part) for part in zip(*found, strict=True))
    kept = keep_best(boxes, scores, 0.7)
    sides = boxes[kept, 2:] - boxes[kept, :2]
    return whole_pixels(squares(boxes[kept] + moves[kept] * np.hstack([sides, sides])))


def _of_level(
    photo: NDArray[np.uint8], scale: float
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float32]]:
    """Return the windows (N, 4) of one level in pixels of the photo, their scores, and how their edges move."""
    height, width = photo.shape[:2]
    picture = level(photo, int(np.ceil(width * scale)), int(np.ceil(height * scale)))
    scores = probability(propose(picture))
    # By column and then by row, as the package lists them.
    columns, rows = np.nonzero(np.float32(STAGE_SCORES[0]) <= scores.T)
    begin = STRIDE * np.column_stack([columns, rows])
    boxes = whole_pixels(np.hstack([(begin + 1) / scale, (begin + WINDOW) / scale]))
    found = scores[rows, columns].astype(np.float64)
    kept = keep_best(boxes, found, 0.5)
    places = np.column_stack([rows, columns])[kept]
    if len(rows) == 1:
        # The package then takes how the edges move from the mirror image of the place.
        places[:, 1] = scores.shape[1] - 1 - places[:, 1]
    return boxes[kept], found[kept], offsets(picture, places)


def _refined(photo: NDArray[np.uint8], boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return those squares (N, 4) that the second network takes for faces, moved."""
    boxes = _not_empty(boxes)
    answers = refine(crops(photo, boxes.astype(np.int64), 24))
    scores = probability(answers[:, 0])
    passed = scores > np.float32(STAGE_SCORES[1])
    boxes, answers, scores = boxes[passed], answers[passed], scores[passed]
    kept = keep_best(boxes, scores, 0.7)
    return whole_pixels(squares(moved(boxes[kept], answers[kept, 1:5])))


def _finished(photo: NDArray[np.uint8], boxes: NDArray[np.float64], least_score: float) -> list[DetectedFace]:
    """Return the faces that the third network finds in squares (N, 4)."""
    boxes = _not_empty(boxes)
    parts = range(0, len(boxes), _TOGETHER)
    found = [finish(crops(photo, boxes[part : part + _TOGETHER].astype(np.int64), 48)) for part in parts]
    if not found:
        return []
    answers = np.concatenate(found)
    scores = probability(answers[:, 0])
    passed = scores > np.float32(least_score)
    boxes, answers, scores = boxes[passed], answers[passed], scores[passed]
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    # (N, 10) -> (N, 5, 2); the pixels of boxes are counted from 1
    points = answers[:, 5:15].reshape(-1, 2, 5).transpose(0, 2, 1) * sides[:, None] + boxes[:, None, :2] - 1
    boxes = moved(boxes, answers[:, 1:5])
    return [_face(scores[row], boxes[row], points[row]) for row in keep_best(boxes, scores, 0.7, of_smaller=True)]


def _face(score: np.float32, box: NDArray[np.float64], points: NDArray[np.float64]) -> DetectedFace:
    first = np.maximum(box[:2], 0)
    return DetectedFace(float(score), np.concatenate([first, box[2:] - first]), points)


def _not_empty(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return boxes[(boxes[:, 2:] >= boxes[:, :2]).all(axis=1)]


def probability(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return 0..1 of logits."""
    with np.errstate(over="ignore"):
        return np.float32(1) / (np.float32(1) + np.exp(-logits))


def find_in_all(
    photos: Sequence[NDArray[np.uint8]], smallest: float, least_score: float, threads: int
) -> list[list[DetectedFace]]:
    """Find the faces of several photos, a photo a thread; see `find_faces`."""
    if threads == 1 or len(photos) == 1:
        return [find_faces(photo, smallest, least_score) for photo in photos]
    with ThreadPoolExecutor(min(threads, len(photos))) as pool:
        return list(pool.map(lambda photo: find_faces(photo, smallest, least_score), photos))
