"""The face that a photo is taken for, and photos that are stored turned."""

import io
from collections.abc import Sequence
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.detection.cascade import DetectedFace, find_faces
from pipeline.detection.networks import detector_name

__all__ = [
    "DetectedFace",
    "Several",
    "choose",
    "detect",
    "detector_name",
    "drawn",
    "in_stored_picture",
    "orientation",
    "upright",
]

Several = Literal["largest", "central", "none"]

# Long side in pixels of a drawn photo, at least.
_LEAST_DRAWN = 480
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


def detect(photo: NDArray[np.uint8], least_score: float = 0.9, smallest: float = 10) -> list[DetectedFace]:
    """Find the faces in an upright photo, by MTCNN (Zhang et al., 2016), the detector of the published lists.

    Args:
        photo: (H, W, 3) uint8 RGB, of any size.
        least_score: 0..1, faces of less are left out.
        smallest: side in pixels of the smallest face that is looked for; time grows as photo over face.

    Returns:
        the surest first, in pixels of the photo, the centre of the first pixel being (0, 0).

    Raises:
        UserError: the detector is not installed.
    """
    return find_faces(photo, smallest, least_score)


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


def drawn(photo: NDArray[np.uint8], faces: Sequence[DetectedFace], taken: DetectedFace | None = None) -> bytes:
    """Return a photo (H, W, 3) uint8 RGB as JPEG, with boxes and points: green of the face taken, red of others.

    A photo of less than 480 pixels is enlarged, so that points of small faces are told apart.
    """
    factor = max(1, -(-_LEAST_DRAWN // max(photo.shape[:2])))
    picture = cv2.resize(photo[..., ::-1], None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    for face in faces:
        colour = (0, 200, 0) if face is taken else (0, 0, 230)
        left, top, width, height = (round(value) for value in ((face.box) * factor).tolist())
        cv2.rectangle(picture, (left, top), (left + width, top + height), colour, 1)
        for x, y in ((face.landmarks + 0.5) * factor - 0.5).tolist():
            cv2.circle(picture, (round(x), round(y)), max(1, width // 40), colour, -1)
        above = (left, max(10, top - 3))
        cv2.putText(picture, f"{face.score:.2f}", above, cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour)
    done, encoded = cv2.imencode(".jpg", picture)
    assert done
    return encoded.tobytes()


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
