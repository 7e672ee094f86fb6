"""Decoding the part of a photo that is needed, against decoding all of it."""

import io
import resource
import struct
import zlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.alignment.align import WARPS, align, template_points
from pipeline.alignment.photo_to_face import FaceFormat, make_face
from pipeline.pixels.photo import Rectangle, UnusablePhoto, decode, decode_needed

HEIGHT, WIDTH = 203, 262
_Y, _X = np.indices((HEIGHT, WIDTH))
WAVES = np.stack([127 + 100 * np.sin(_X / (3 + c) + _Y / (11 - c)) for c in range(3)], axis=-1)
PHOTO = np.uint8((WAVES + np.random.default_rng(0).normal(0, 9, WAVES.shape)).clip(0, 255))


def jpeg(photo: np.ndarray = PHOTO, mode: str = "RGB", **options: Any) -> bytes:
    file = io.BytesIO()
    Image.fromarray(photo).convert(mode).save(file, "JPEG", **{"quality": 92, **options})
    return file.getvalue()


def turned(direction: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = direction
    return exif


KINDS = {
    "4:4:4": jpeg(subsampling=0),
    "4:2:2": jpeg(subsampling=1),
    "4:2:0": jpeg(subsampling=2),
    "progressive": jpeg(subsampling=2, progressive=True),
    "restart markers": jpeg(subsampling=2, restart_marker_rows=1),
    "poor": jpeg(quality=12),
    "grey": jpeg(mode="L"),
    "turned": jpeg(exif=turned(6)),
}

left, top = st.integers(-40, WIDTH), st.integers(-40, HEIGHT)
right, bottom = st.integers(-40, WIDTH + 40), st.integers(-40, HEIGHT + 40)
rectangles = st.builds(Rectangle, left, top, right, bottom)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from(sorted(KINDS)), needed=rectangles)
def test_the_pixels_that_are_needed_are_those_of_the_whole_photo(kind: str, needed: Rectangle) -> None:
    whole = decode(KINDS[kind])
    photo = decode_needed(KINDS[kind], needed)
    assert (photo.height, photo.width) == whole.shape[:2]
    height, width = photo.pixels.shape[:2]
    place = slice(photo.top, photo.top + height), slice(photo.left, photo.left + width)
    np.testing.assert_array_equal(photo.pixels, whole[place])
    inside = needed.within(WIDTH, HEIGHT)
    if inside.pixels():
        assert photo.left <= inside.left
        assert photo.top <= inside.top
        assert photo.left + width >= inside.right
        assert photo.top + height >= inside.bottom


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_few_pixels_are_decoded_where_few_are_needed(kind: str) -> None:
    needed = Rectangle(30, 20, 130, 120)
    assert decode_needed(KINDS[kind], needed).pixels.shape == (100, 100, 3)
    assert decode_needed(KINDS[kind], Rectangle(0, 0, WIDTH, HEIGHT - 9)).pixels.shape == PHOTO.shape


def test_what_no_part_can_be_had_of_is_decoded_whole() -> None:
    needed = Rectangle(30, 20, 130, 120)
    done, png = cv2.imencode(".png", PHOTO)
    assert done
    for data in (png.tobytes(), jpeg(mode="CMYK")):
        np.testing.assert_array_equal(decode_needed(data, needed).pixels, decode(data))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    kind=st.sampled_from(sorted(KINDS)),
    changes=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.one_of(st.none(), st.floats(0, 0.999)),
)
def test_a_damaged_photo_has_the_same_pixels_or_the_same_reason(
    kind: str, changes: list[tuple[float, int]], cut: float | None
) -> None:
    data = bytearray(KINDS[kind])
    for place, value in changes:
        data[int(place * len(data))] = value
    damaged = bytes(data if cut is None else data[: int(cut * len(data))])
    try:
        photo = decode_needed(damaged, Rectangle(30, 20, 130, 120))
    except UnusablePhoto as reason:
        with pytest.raises(UnusablePhoto, match=str(reason)):
            decode(damaged)
        return
    try:
        whole = decode(damaged)
    except UnusablePhoto:
        assume(False)  # the damage lies below what is needed
    height, width = photo.pixels.shape[:2]
    place = slice(photo.top, photo.top + height), slice(photo.left, photo.left + width)
    np.testing.assert_array_equal(photo.pixels, whole[place])


@pytest.mark.parametrize("warp", sorted(WARPS))
@pytest.mark.parametrize("scale", [0.5, 1.3, 3.0])
@pytest.mark.parametrize("corner", [(0.0, 0.0), (0.5, 0.4), (0.9, 0.9)])
def test_a_face_that_is_a_part_of_its_photo_is_that_of_the_whole(
    warp: str, scale: float, corner: tuple[float, float]
) -> None:
    """In the middle, and in corners where it reaches out of the photo."""
    photo = cv2.resize(PHOTO, (900, 700), interpolation=cv2.INTER_CUBIC)
    landmarks = template_points("paper", 64) * scale
    landmarks += (np.array([900, 700]) - landmarks.max(axis=0) - landmarks.min(axis=0)) * corner
    data = jpeg(np.asarray(photo))
    face = make_face(data, landmarks, FaceFormat("paper", 64, "png", 95, warp=warp))
    np.testing.assert_array_equal(decode(face.encoded), align(decode(data), landmarks, 64, warp=WARPS[warp]))


def bomb(side: int) -> bytes:
    """A PNG of a few kilobytes that promises so many pixels a side; nothing decodes it, so its rows may be few."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    rows = chunk(b"IDAT", zlib.compress(bytes(100_000)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rows + chunk(b"IEND", b"")


def saved(form: str, picture: Image.Image, **settings: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **settings)  # type: ignore[arg-type]
    return file.getvalue()


@pytest.mark.parametrize("read", [decode, lambda data: decode_needed(data, Rectangle(0, 0, 10, 10))])
@pytest.mark.parametrize(
    "data",
    [bomb(30_000), saved("GIF", Image.new("P", (100, 100))).replace(b"GIF87ad\0d\0", b"GIF87a\xff\xff\xff\xff")],
    ids=["png", "gif"],
)
def test_a_photo_of_too_many_pixels_is_refused_before_it_is_decoded(
    read: Callable[[bytes], object], data: bytes
) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UnusablePhoto, match="more than 178 million pixels"):
        read(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000, "kilobytes"


@pytest.mark.parametrize(
    ("form", "settings"), [("GIF", {}), ("JPEG2000", {}), ("AVIF", {}), ("TGA", {}), ("ICO", {"sizes": [(40, 40)]})]
)
def test_what_pillow_reads_is_read(form: str, settings: dict[str, object]) -> None:
    face = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8))
    face = face.quantize(16).convert("RGB")
    data = saved(form, face.quantize(16) if form == "GIF" else face, **settings)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    assert np.abs(decode(data)[:, :, ::-1] - expected).max() <= (2 if form == "AVIF" else 0)


def test_a_picture_that_nothing_here_reads_is_named() -> None:
    with pytest.raises(UnusablePhoto, match="HEIC, which is not read here"):
        decode(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100))
    with pytest.raises(UnusablePhoto, match="unreadable"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")
