"""How large and how sharp a face is, both as the side in pixels of an aligned face."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipeline.alignment.align import CANVAS_HEIGHT, similarity, template_points
from pipeline.pixels.resample import reduce_and_enlarge

# Sides in pixels that are tried, and the share of a face's contrast that a smaller side may lose.
_SIDES = (6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 28, 32, 36, 40, 48, 56, 64, 72, 80, 96, 112)
_LOSS = 0.005


def side_in_photo(landmarks: ArrayLike, template: str) -> float:
    """Return the side in pixels of the photo that an aligned face covers; of a turned head the same.

    Args:
        landmarks: (5, 2) x, y in pixels of the photo.
        template: of the alignment.

    Raises:
        DegenerateLandmarks: no face fits the landmarks.

    >>> round(side_in_photo(2 * template_points("centred", 112) + 7, "centred"))
    224
    """
    to_photo = similarity(template_points(template, CANVAS_HEIGHT), landmarks)
    return CANVAS_HEIGHT * float(np.hypot(to_photo[0, 0], to_photo[1, 0]))


def sharpness(face: NDArray[np.uint8]) -> float:
    """Return the side in pixels to which a face can be reduced without losing what it shows.

    The smallest side at which reducing the face and enlarging it back changes less than 0.5 % of its contrast (the
    variance of its levels), found between two sides tried by the logarithm of what is lost. A face that was enlarged
    from 10 pixels has about 10, a blurred one less than a sharp one.

    Args:
        face: (S, S, 3) uint8, aligned.

    Returns:
        6..S.
    """
    grey = np.asarray(face, dtype=np.float64).mean(axis=2).round().astype(np.uint8)
    side = len(grey)
    contrast = max(float(grey.astype(np.float64).var()), 1.0)
    before: tuple[int, float] | None = None
    for low in (tried for tried in _SIDES if tried < side):
        lost = float(((grey.astype(np.float64) - reduce_and_enlarge(grey, low)) ** 2).mean()) / contrast
        if lost <= _LOSS:
            if before is None:
                return float(low)
            step = (np.log(before[1]) - np.log(_LOSS)) / max(np.log(before[1]) - np.log(max(lost, 1e-9)), 1e-9)
            return float(before[0] + (low - before[0]) * min(max(step, 0.0), 1.0))
        before = low, lost
    return float(side)
