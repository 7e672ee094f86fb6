"""One photo to one encoded face: read, decode, align, encode; every way it can fail has a name."""

import errno
import io
import threading
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.align import WARPS, DegenerateLandmarks, align, native_size
from pipeline.recordio import DamagedRecord, read_record
from pipeline.resample import resize
from pipeline.sources import Framing

# OpenCV's warp counts pixels in 16 bits.
_LARGEST_SIDE = np.iinfo(np.int16).max
# Failures after which the same photo may be read again: none of them may become a reject.
_OF_THE_MACHINE = {errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.EINTR}
_NATIVE_LIMIT = np.iinfo(np.uint16).max


class UnusablePhoto(Exception):  # noqa: N818 - it names a state of the data
    """A photo that cannot become a face; the message is the reason in the rejects table."""


@dataclass(frozen=True)
class FaceFormat:
    """How a face is cut out and encoded.

    Attributes:
        template: name of the alignment's template; None resizes the whole picture.
        size: side of the face in pixels.
        codec: "jpg", "png" or "webp" (lossless).
        quality: of JPEG, 1..100.
        stored_views: sides in pixels of the reduced views to store beside the face.
        warp: a name in `pipeline.align.WARPS`.
    """

    template: str | None
    size: int
    codec: str
    quality: int
    stored_views: tuple[int, ...] = ()
    warp: str = "plain"


@dataclass(frozen=True)
class Face:
    """An encoded face, the bytes of its stored views, and the size in pixels at which it stood in its photo."""

    encoded: bytes
    views: bytes
    native: int


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
    if form.template is None or framing == "whole":
        photo = decode(data)
        # The resampling is per channel, so the order of channels does not matter.
        return _face(resize(photo, form.size, form.size), min(photo.shape[:2]), form)
    assert landmarks is not None
    native = native_size(landmarks)
    size = min(native, form.size) if framing == "native" else form.size
    photo = decode(data)
    height, width = photo.shape[:2]
    if max(height, width) >= _LARGEST_SIDE:
        raise UnusablePhoto(f"larger than {_LARGEST_SIDE - 1} pixels")
    (left, top), (right, bottom) = landmarks.min(axis=0), landmarks.max(axis=0)
    if min(left, top) < 0 or right > width or bottom > height:
        raise UnusablePhoto("landmarks outside the picture")
    try:
        face = align(photo, landmarks, size, form.template, WARPS[form.warp])
    except DegenerateLandmarks as error:
        raise UnusablePhoto("landmarks degenerate") from error
    return _face(resize(face, form.size, form.size), native, form)


def _face(face: NDArray[np.uint8], native: int, form: FaceFormat) -> Face:
    """Encode a BGR face and reduce its views."""
    encoded = _encode(face, form)
    views = b""
    if form.stored_views:
        # Training would reduce the face as it is decoded, with the marks of its compression.
        rgb = cv2.cvtColor(decode(encoded), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
        views = b"".join(resize(rgb, side, side).tobytes() for side in form.stored_views)
    return Face(encoded, views, min(native, _NATIVE_LIMIT))


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


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode a picture file to (H, W, 3) uint8 BGR, its pixels as stored (an EXIF rotation is not applied).

    Raises:
        UnusablePhoto: it is truncated or no picture.
    """
    if fault := truncation(data):
        raise UnusablePhoto(fault)
    try:
        buffer = np.frombuffer(data, dtype=np.uint8)
        photo = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        raise UnusablePhoto("unreadable") from error
    if photo is None:
        raise UnusablePhoto("unreadable")
    return photo.astype(np.uint8, copy=False)


def truncation(data: bytes | NDArray[np.uint8]) -> str:
    """Return "truncated" or "unreadable" for a JPEG that ends before its end; nothing for any other picture.

    Decoders such as OpenCV's fill what is missing with grey and say nothing, so a JPEG that does not end as one should
    is decoded again by Pillow, which complains.
    """
    if bytes(data[:2]) != b"\xff\xd8" or b"\xff\xd9" in bytes(data[-64:]):
        return ""
    try:
        Image.open(io.BytesIO(bytes(data))).load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return "truncated" if "truncated" in str(error) else "unreadable"
    return ""


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
