"""Pictures by name: their files, and how a photo becomes what the network sees."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.alignment.align import (
    TEMPLATES,
    WARP,
    DegenerateLandmarks,
    align,
    cut_by,
    native_size,
    template_points,
)
from pipeline.pixels.face_points import mirrored_points
from pipeline.pixels.photo import UnusablePhoto
from pipeline.pixels.photo import decode as decode_photo
from pipeline.pixels.resample import reduce_and_enlarge, resize


class PictureError(Exception):
    """A picture that cannot be used; the message is the reason."""


@dataclass(frozen=True, eq=False)
class Preparation:
    """How a decoded photo becomes what the network sees.

    Attributes:
        framing: "aligned" by its landmarks at the network's size; "native": aligned at the size that the face has
            in its photo, then resized to the network's; "whole": the picture resized as it is.
        size: side of the result in pixels.
        landmarks: (5, 2) x, y in pixels of the photo; None for a whole picture.
        template: of the alignment, a name in `pipeline.alignment.align.TEMPLATES`.
        warp: of the alignment, one of `pipeline.alignment.align.WARPS`' descriptions.
        low: the result is reduced to this side in pixels and enlarged back; None leaves it as it is.
        mirrored: left and right of the result change places.
        on_template: a whole picture is a face that came aligned, so that its five points are the template's.
    """

    framing: Literal["aligned", "native", "whole"]
    size: int
    landmarks: NDArray[np.float64] | None = None
    template: str = "paper"
    warp: str = WARP
    low: int | None = None
    mirrored: bool = False
    on_template: bool = False

    @property
    def has_points(self) -> bool:
        """Whether `points` are known."""
        return self.landmarks is not None or self.on_template

    def _side(self, landmarks: NDArray[np.float64]) -> int:
        """Return the side at which the face is aligned."""
        return native_size(landmarks) if self.framing == "native" else self.size

    def points(self) -> NDArray[np.float32] | None:
        """Return the five points of the face in the result, (5, 2) x, y in units of its side; None where not known."""
        if self.landmarks is None:
            points = template_points(self.template, 1) if self.on_template else None
        else:
            points = cut_by(self.landmarks, self._side(self.landmarks), self.template, self.warp).points(self.landmarks)
        if points is None:
            return None
        placed = points.astype(np.float32)
        return mirrored_points(placed) if self.mirrored else placed

    def apply(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Prepare a photo: (H, W, 3) uint8 RGB -> (size, size, 3) uint8 RGB.

        Raises:
            PictureError: the landmarks do not allow an alignment.
        """
        return reduced(self.framed(photo), self.low)

    def framing_key(self) -> bytes:
        """Return bytes that two preparations share only where `framed` does the same to every photo."""
        mirrored = ["mirrored"] * self.mirrored + ["on", self.template] * self.on_template
        if self.landmarks is None:
            return json.dumps([self.framing, self.size, *mirrored]).encode()
        # As text every float64 differs from every other.
        points = [np.asarray(self.landmarks, dtype=np.float64).tolist(), TEMPLATES[self.template].points]
        return json.dumps([self.framing, self.size, self.warp, points, *mirrored]).encode()

    def framed(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Cut out or resize, and mirror, without the reduction: (H, W, 3) uint8 RGB -> (size, size, 3) uint8 RGB.

        Raises:
            PictureError: the landmarks do not allow an alignment.
        """
        face = resize(self._cut(photo), self.size, self.size)
        # The second axis is the width.
        return np.ascontiguousarray(face[:, ::-1]) if self.mirrored else face

    def _cut(self, photo: NDArray[np.uint8]) -> NDArray[np.uint8]:
        if self.framing == "whole":
            return photo
        assert self.landmarks is not None
        if not np.isfinite(self.landmarks).all():
            raise PictureError("landmarks are not numbers")
        try:
            return align(photo, self.landmarks, self._side(self.landmarks), self.template, self.warp)
        except DegenerateLandmarks as error:
            raise PictureError("landmarks degenerate") from error
        except (cv2.error, MemoryError) as error:
            # Landmarks far outside the photo can ask for a face that no memory holds.
            raise PictureError("cannot be aligned") from error


def reduced(face: NDArray[np.uint8], low: int | None) -> NDArray[np.uint8]:
    """Reduce a face to a side in pixels and enlarge it back; None leaves it: (S, S, 3) uint8, the same shape."""
    return face if low is None else reduce_and_enlarge(face, low)


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture by name, and how to get it.

    Attributes:
        name: as reports name it, relative to the data set's folder.
        path: of its file; of one inside another file, a path that no other picture has.
        preparation: what it goes through.
        encoded: its bytes, of one inside another file.
    """

    name: str
    path: Path
    preparation: Preparation
    encoded: bytes | None = None

    def load(self) -> NDArray[np.uint8]:
        """Read and prepare the picture: (S, S, 3) uint8 RGB at the network's size.

        Raises:
            PictureError: missing, unreadable, or its landmarks do not allow an alignment.
        """
        return self.preparation.apply(decode(self.read()))

    def read(self) -> bytes:
        """Return the encoded picture.

        Raises:
            PictureError: missing or unreadable.
        """
        return read_bytes(self.path) if self.encoded is None else self.encoded


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file, its pixels as stored: (H, W, 3) uint8 RGB.

    Raises:
        PictureError: missing or unreadable.
    """
    return decode(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """Read a file.

    Raises:
        PictureError: missing or unreadable.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise PictureError("missing") from error
    except OSError as error:
        raise PictureError(f"unreadable ({error.strerror})") from error


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode a picture, its pixels as stored whatever an EXIF orientation says: (H, W, 3) uint8 RGB.

    Raises:
        PictureError: unreadable, or truncated: a decoder would fill the rest with grey and say nothing.
    """
    try:
        picture = decode_photo(data)
    except UnusablePhoto as error:
        raise PictureError("unreadable (truncated)" if str(error) == "truncated" else str(error)) from error
    except MemoryError as error:
        raise PictureError("unreadable") from error
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)


@dataclass
class FramedPhoto:
    """A photo in one framing, and the pictures that show it, in full and reduced.

    Attributes:
        picture: the first of them.
        rows: of the result, by the side to which the picture is reduced.
    """

    picture: Picture
    rows: dict[int | None, list[int]] = field(default_factory=dict)


def grouped(pictures: Sequence[Picture]) -> list[FramedPhoto]:
    """Group pictures of the same file in the same framing, in the order in which each first comes."""
    photos: dict[tuple[Path, bytes], FramedPhoto] = {}
    for row, picture in enumerate(pictures):
        key = (picture.path, picture.preparation.framing_key())
        photo = photos.setdefault(key, FramedPhoto(picture))
        photo.rows.setdefault(picture.preparation.low, []).append(row)
    return list(photos.values())


def chunks(photos: list[FramedPhoto], size: int) -> Iterator[list[FramedPhoto]]:
    """Cut photos into chunks that show at least `size` pictures each, but for the last."""
    chunk: list[FramedPhoto] = []
    shown = 0
    for photo in photos:
        chunk.append(photo)
        shown += len(photo.rows)
        if shown >= size:
            yield chunk
            chunk, shown = [], 0
    if chunk:
        yield chunk
