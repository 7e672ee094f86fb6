"""Arithmetic of boxes: overlap, merging of duplicates, squares. Boxes are (N, 4): left, top, right, bottom."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.pixels.numba_cache import compiled

# Where the landmarks lie in the box that the detector finds, in its width and height: medians over 200 photos of the
# ORL faces.
_LANDMARKS_IN_BOX = np.array(
    [[0.2777, 0.3849], [0.7535, 0.3835], [0.5072, 0.5984], [0.3024, 0.7581], [0.7164, 0.7641]], dtype=np.float64
)


def landmarks_of_box(box: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return where the landmarks (5, 2) of an upright face lie in its box (4,): left, top, width, height.

    For a face so small that the detector's own landmarks are worse than none: aligned by these, it keeps the place and
    size of its box and is not turned.

    >>> landmarks_of_box(np.array([10.0, 20.0, 100.0, 100.0]))[0].round().tolist()
    [38.0, 58.0]
    """
    return box[:2] + _LANDMARKS_IN_BOX * box[2:]


def keep_best(
    boxes: NDArray[np.float64], scores: NDArray[np.floating], most: float, of_smaller: bool = False
) -> NDArray[np.int64]:
    """Choose boxes so that none overlaps a better one by more than a share (non-maximum suppression).

    Args:
        boxes: (N, 4) first and last column and row, so that a side is the difference plus one.
        scores: (N,), the larger the better.
        most: largest overlap that two of them may have, 0 to 1.
        of_smaller: the overlap is the common area over that of the smaller box, instead of over their union.

    Returns:
        rows of the boxes kept, the best first.
    """
    order = np.argsort(scores)[::-1]
    return _keep_best(np.ascontiguousarray(boxes, dtype=np.float64), order, most, of_smaller)


@compiled
def _keep_best(boxes: Any, order: Any, most: float, of_smaller: bool) -> Any:
    kept = np.empty(len(order), np.int64)
    areas = (boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1)
    gone = np.zeros(len(order), np.bool_)
    count = 0
    for place in range(len(order)):
        if gone[place]:
            continue
        best = order[place]
        kept[count] = best
        count += 1
        for later in range(place + 1, len(order)):
            if gone[later]:
                continue
            other = order[later]
            width = min(boxes[best, 2], boxes[other, 2]) - max(boxes[best, 0], boxes[other, 0]) + 1
            height = min(boxes[best, 3], boxes[other, 3]) - max(boxes[best, 1], boxes[other, 1]) + 1
            common = max(0.0, width) * max(0.0, height)
            whole = min(areas[best], areas[other]) if of_smaller else areas[best] + areas[other] - common
            # Degenerate boxes have no area: what is no number is not kept.
            gone[later] = not common <= most * whole
    return kept[:count]


def whole_pixels(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return boxes rounded towards zero."""
    return np.fix(boxes).astype(np.float64, copy=False)


def squares(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the squares (N, 4) around the middles of boxes whose side is the longer one of each."""
    sides = boxes[:, 2:] - boxes[:, :2]
    longer = sides.max(axis=1, keepdims=True)
    first = boxes[:, :2] + sides * 0.5 - longer * 0.5
    return np.hstack([first, first + longer])


def moved(boxes: NDArray[np.float64], offsets: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return boxes whose edges (N, 4) are moved by offsets in sides of the box."""
    sides = boxes[:, 2:] - boxes[:, :2] + 1
    return boxes + offsets * np.hstack([sides, sides])
