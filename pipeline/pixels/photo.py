"""Photos: decoded whole, or only the rectangle of them that a face needs."""

import io
import threading
import warnings
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from nvidia import nvimgcodec  # type: ignore[attr-defined]
from PIL import Image

# The share of a photo's pixels up to which decoding a part takes less time than the whole: the bits above the part are
# read all the same.
_WORTH_WHILE = 0.6
MOST_PIXELS = 2 * 89_478_485
"""Of a photo that is decoded; as Pillow's own bound. A file of 107 KB can unpack to many times as many."""
# All that Pillow reads itself: for EPS it would start another program.
_PILLOW_FORMATS = (
    "AVIF BMP DDS DIB GIF ICNS ICO JPEG JPEG2000 PCX PNG PPM PSD QOI SGI TGA TIFF WEBP".split()  # noqa: SIM905
)
_NOT_READ = {b"heic": "HEIC", b"heix": "HEIC", b"heim": "HEIC", b"hevc": "HEIC", b"mif1": "HEIF", b"msf1": "HEIF"}
_JPEG, _JPEG_END = b"\xff\xd8", b"\xff\xd9"


class Rectangle(NamedTuple):
    """Columns `left` to `right` - 1 and rows `top` to `bottom` - 1 of a photo; it may reach beyond the photo."""

    left: int
    top: int
    right: int
    bottom: int

    def within(self, width: int, height: int) -> "Rectangle":
        """Return what of it lies in a photo of a width and height in pixels; it may be empty."""
        return Rectangle(max(self.left, 0), max(self.top, 0), min(self.right, width), min(self.bottom, height))

    def pixels(self) -> int:
        """Return the number of its pixels."""
        return max(self.right - self.left, 0) * max(self.bottom - self.top, 0)


@dataclass(frozen=True)
class Photo:
    """A decoded photo, or a part of it.

    Attributes:
        pixels: (h, w, 3) uint8 of the part.
        width: of the whole photo, in pixels.
        height: of the whole photo, in pixels.
        left: column of the photo in which the part begins.
        top: row of the photo in which the part begins.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    left: int = 0
    top: int = 0


def whole(pixels: NDArray[np.uint8]) -> Photo:
    """Return a photo of which every pixel is there: (H, W, 3) uint8."""
    height, width = pixels.shape[:2]
    return Photo(pixels, width, height)


class UnusablePhoto(Exception):  # noqa: N818 - it names a state of the data
    """A photo that cannot become a face; the message is the reason in the rejects table."""


def decode_needed(data: bytes, needed: Rectangle) -> Photo:
    """Decode a photo, or where that takes less time only the pixels that are needed.

    The pixels are the same: both decoders are libjpeg-turbo with its exact transform. Damage below the part is not
    seen, and does no harm.

    Args:
        data: the encoded photo.
        needed: the pixels that must be there, as far as they lie in the photo.

    Raises:
        UnusablePhoto: it is truncated, too large or no picture.
    """
    _refuse_large(data)
    if data[:2] == _JPEG and not truncation(data):
        part = _decoded_part(data, needed)
        if part is not None:
            return part
    return whole(decode(data))


def _decoded_part(data: bytes, needed: Rectangle) -> Photo | None:
    """Decode a part of a JPEG; None where it is better decoded whole, which also finds out what is wrong with it."""
    try:
        stream = nvimgcodec.CodeStream(data)
        width, height = stream.width, stream.height
        part = needed.within(width, height)
        # Four inks are turned into colours by each decoder in its own way.
        few = 0 < part.pixels() <= _WORTH_WHILE * width * height
        if not few or stream.num_channels not in (1, 3) or stream.precision != 8:
            return None
        region = nvimgcodec.Region(part.top, part.left, part.bottom, part.right)
        decoder, params = _decoder(threading.get_ident())
        picture = decoder.decode(stream.get_sub_code_stream(region=region), params=params)
    except (RuntimeError, ValueError):
        return None
    return None if picture is None else Photo(np.asarray(picture), width, height, part.left, part.top)


@lru_cache(maxsize=64)
def _decoder(thread: int) -> tuple[nvimgcodec.Decoder, nvimgcodec.DecodeParams]:
    """Return a thread's decoder of parts, which works on the CPU in that thread."""
    host = nvimgcodec.NVIMGCODEC_DEVICE_CPU_ONLY
    backends = [nvimgcodec.Backend(nvimgcodec.CPU_ONLY)]
    decoder = nvimgcodec.Decoder(device_id=host, max_num_cpu_threads=1, backends=backends)
    form = nvimgcodec.SampleFormat.I_BGR
    return decoder, nvimgcodec.DecodeParams(apply_exif_orientation=False, sample_format=form)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode a picture file to (H, W, 3) uint8 BGR, its pixels as stored (an EXIF rotation is not applied).

    Raises:
        UnusablePhoto: it is truncated, too large or no picture.
    """
    _refuse_large(data)
    if fault := truncation(data):
        raise UnusablePhoto(fault)
    try:
        buffer = np.frombuffer(data, dtype=np.uint8)
        photo = cv2.imdecode(buffer, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        if error.code == cv2.Error.StsNoMem:
            raise MemoryError(str(error)) from error
        raise UnusablePhoto("unreadable") from error
    return _decoded_by_pillow(data) if photo is None else photo.astype(np.uint8, copy=False)


def picture_size(encoded: bytes | NDArray[np.uint8]) -> tuple[int, int] | None:
    """Read the size of a picture from its header with DALI's own parser, in about 10 microseconds.

    DALI may crash the process at a header that it cannot read; it reports errors after the header correctly.

    Args:
        encoded: (size,) uint8.

    Returns:
        width and height in pixels, or None where DALI cannot read the header.

    >>> picture_size(np.frombuffer(b"no picture", dtype=np.uint8)) is None
    True
    """
    try:
        stream = nvimgcodec.CodeStream(encoded)
        return stream.width, stream.height
    except (RuntimeError, ValueError):
        return None


def _refuse_large(data: bytes) -> None:
    """Refuse a photo whose header promises more pixels than a worker's memory should hold."""
    if (size := picture_size(data)) is None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                size = _opened_by_pillow(data).size
        except MemoryError:
            raise
        except Image.DecompressionBombError:
            size = (MOST_PIXELS, 2)
        except Exception:  # Pillow raises anything at a damaged header: decoding tells what is wrong
            return
    if size[0] * size[1] > MOST_PIXELS:
        raise UnusablePhoto(f"more than {MOST_PIXELS // 10**6} million pixels")


def _opened_by_pillow(data: bytes) -> Image.Image:
    # Pillow knows few formats before.
    Image.init()
    return Image.open(io.BytesIO(data), formats=[name for name in _PILLOW_FORMATS if name in Image.OPEN])


def _decoded_by_pillow(data: bytes) -> NDArray[np.uint8]:
    """Decode what OpenCV does not: (H, W, 3) uint8 BGR; of several pictures in a file the first."""
    if (name := _NOT_READ.get(data[8:12])) and data[4:8] == b"ftyp":
        raise UnusablePhoto(f"{name}, which is not read here")
    try:
        with _opened_by_pillow(data) as picture:
            pixels = np.asarray(picture.convert("RGB"))
    except MemoryError:
        raise
    except Exception as error:  # Pillow raises anything at damage
        raise UnusablePhoto("unreadable") from error
    return np.ascontiguousarray(pixels[:, :, ::-1])


def truncation(data: bytes | NDArray[np.uint8]) -> str:
    """Return "truncated" or "unreadable" for a JPEG that ends before its end; nothing for any other picture.

    Decoders such as OpenCV's fill what is missing with grey and say nothing, so a JPEG that does not end as one should
    is decoded again by Pillow, which complains.
    """
    if bytes(data[:2]) != _JPEG or _JPEG_END in bytes(data[-64:]):
        return ""
    try:
        Image.open(io.BytesIO(bytes(data))).load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return "truncated" if "truncated" in str(error) else "unreadable"
    return ""
