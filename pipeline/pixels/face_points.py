"""The five points of a face in units of its picture's side, so that they stay as the picture is reduced or enlarged.

They are x, y of left eye, right eye, nose tip, left and right mouth corner, left and right as seen in the picture. A
picture of S pixels spans 0 to 1, as CVLface counts: pixel x becomes x / S, and mirroring makes 1 - x of it.
"""

import numpy as np
from numpy.typing import NDArray

_EXCHANGED = [1, 0, 2, 4, 3]


def mirrored_points(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the points of mirrored pictures, (..., 5, 2): left and right change places and names.

    >>> points = np.array([[0.25, 0.5], [0.5, 0.5], [0.375, 0.75], [0.25, 1], [0.5, 1]], np.float32)
    >>> mirrored_points(points)[:2].tolist()
    [[0.5, 0.5], [0.75, 0.5]]
    """
    exchanged = points[..., _EXCHANGED, :].copy()
    exchanged[..., 0] = 1 - exchanged[..., 0]
    return exchanged
