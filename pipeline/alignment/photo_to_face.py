"""One photo to one encoded face: read, decode, align and encode, with a named reason for each failure."""

import errno
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.alignment.align import WARPS, DegenerateLandmarks, cut_by, native_size, template_points
from pipeline.pixels.photo import Photo, UnusablePhoto, decode, decode_needed, whole
from pipeline.pixels.resample import resize
from pipeline.sources.datasets import Framing
from pipeline.sources.recordio import DamagedRecord, read_record

# OpenCV's warp counts pixels in 16 bits.
_LARGEST_SIDE = np.iinfo(np.int16).max
# Failures after which the same photo may be read again: none of them may become a reject.
_OF_THE_MACHINE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EINTR}
_NATIVE_LIMIT = np.iinfo(np.uint16).max


@dataclass(frozen=True)
class FaceFormat:
    """How a face is cut out and encoded.

    Attributes:
        template: name of the alignment's template; None resizes the whole picture.
        size: side of the face in pixels.
        codec: "jpg", "png" or "webp" (lossless).
        quality: of JPEG, 1..100.
        stored_views: sides in pixels of the reduced views to store beside the face.
        warp: a name in `pipeline.alignment.align.WARPS`.
    """

    template: str | None
    size: int
    codec: str
    quality: int
    stored_views: tuple[int, ...] = ()
    warp: str = "plain"


@dataclass(frozen=True)
class Face:
    """An encoded face.

    Attributes:
        encoded: its bytes.
        views: the bytes of its stored views.
        native: the size in pixels at which it stood in its photo.
        points: (5, 2) float32 x, y in units of its side, to six decimals; NaN where not known.
    """

    encoded: bytes
    views: bytes
    native: int
    points: NDArray[np.float32]


def make_face(
    data: bytes, landmarks: NDArray[np.float64] | None, form: FaceFormat, framing: Framing = "landmarks"
) -> Face:
    """Cut the face out of a photo and encode it.

    Args:
        data: the encoded photo.
        landmarks: (5, 2) x, y in pixels of the photo; unused where the picture is taken whole.
        form: template, size and encoding.
        framing: how the source's photos become faces.

    Raises:
        UnusablePhoto: with the reason.
    """
    if form.template is None or framing in ("whole", "aligned"):
        pixels = decode(data)
        # A face that came aligned stands on the template, as far as anyone knows.
        known = form.template is not None and framing == "aligned"
        points = template_points(form.template, 1) if known and form.template else np.full((5, 2), np.nan)
        # The resampling is per channel, so the order of channels does not matter.
        return _face(resize(pixels, form.size, form.size), min(pixels.shape[:2]), points, form)
    assert landmarks is not None
    native = native_size(landmarks)
    size = min(native, form.size) if framing == "native" else form.size
    try:
        cut = cut_by(landmarks, size, form.template, WARPS[form.warp])
    except DegenerateLandmarks as error:
        _check(whole(decode(data)), landmarks)
        raise UnusablePhoto("landmarks degenerate") from error
    photo = decode_needed(data, cut.needed())
    _check(photo, landmarks)
    return _face(resize(cut.face(photo), form.size, form.size), native, cut.points(landmarks), form)


def _check(photo: Photo, landmarks: NDArray[np.float64]) -> None:
    """Raise the reason why a face cannot be cut out of a photo by its landmarks."""
    if max(photo.width, photo.height) >= _LARGEST_SIDE:
        raise UnusablePhoto(f"larger than {_LARGEST_SIDE - 1} pixels")
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    if min(left, top) < 0 or right > photo.width or bottom > photo.height:
        raise UnusablePhoto("landmarks outside the picture")


def _face(face: NDArray[np.uint8], native: int, points: NDArray[np.float64], form: FaceFormat) -> Face:
    """Encode a BGR face and reduce its views."""
    encoded = _encode(face, form)
    views = b""
    if form.stored_views:
        # Training would reduce the face as it is decoded, with the marks of its compression.
        rgb = cv2.cvtColor(decode(encoded), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        views = b"".join(resize(rgb, side, side).tobytes() for side in form.stored_views)
    return Face(encoded, views, min(native, _NATIVE_LIMIT), points.round(6).astype(np.float32))


def read_photo(root: Path, path: str, position: int) -> bytes:
    """Read an encoded photo: a file below the root or, at a position of 0 or more, a record in one.

    Raises:
        UnusablePhoto: it is missing, empty or cannot be read.
        OSError: that is not the photo's fault but the machine's, such as storage that is gone.
    """
    try:
        if position < 0:
            # Joining texts costs a third of joining paths, and there are millions.
            with open(f"{root}/{path}", "rb", buffering=0) as file:  # noqa: PTH123
                data = file.read()
        else:
            records = _open_records(root / path.rpartition("/")[0], threading.get_ident())
            data = read_record(records, position).picture
    except FileNotFoundError as error:
        if not root.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder of the photos is gone", str(root)) from error
        raise UnusablePhoto("missing") from error
    except DamagedRecord as error:
        raise UnusablePhoto("damaged record") from error
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_MACHINE:
            raise
        raise UnusablePhoto("unreadable") from error
    if not data:
        raise UnusablePhoto("unreadable")
    return data


@lru_cache(maxsize=64)
def _open_records(path: Path, thread: int) -> BinaryIO:
    """Open a file of records once in a thread: the place at which it is read is not shared."""
    return path.open("rb")


def _encode(face: NDArray[np.uint8], form: FaceFormat) -> bytes:
    """Encode a BGR face."""
    settings = {
        "jpg": [cv2.IMWRITE_JPEG_QUALITY, form.quality],
        "png": [cv2.IMWRITE_PNG_COMPRESSION, 3],
        # OpenCV's WebP encoder is lossless above 100.
        "webp": [cv2.IMWRITE_WEBP_QUALITY, 101],
    }
    done, encoded = cv2.imencode(f".{form.codec}", face, settings[form.codec])
    assert done
    return encoded.tobytes()
