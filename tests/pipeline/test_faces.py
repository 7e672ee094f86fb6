"""Photos to faces: damage is named, and a large photo need not be decoded whole."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.align import WARPS, align
from pipeline.faces import FaceFormat, UnusablePhoto, decode, make_face
from tests.pipeline.test_align import mugshot

PLAIN = FaceFormat("paper", 64, "png", 95)
POINTS = np.array([[30, 40], [62, 44], [44, 60], [30, 78], [58, 82]]) + 0.3


def encoded(photo: np.ndarray, suffix: str = ".jpg") -> bytes:
    done, data = cv2.imencode(suffix, photo, [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert done
    return data.tobytes()


PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 100, 3), np.uint8), (0, 0), 2)
JPEG = encoded(PHOTO)


@settings(max_examples=400, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, len(JPEG) - 1), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.one_of(st.none(), st.integers(0, len(JPEG) - 1)),
)
def test_a_mutated_photo_becomes_a_face_or_a_reason(changes: list[tuple[int, int]], cut: int | None) -> None:
    data = bytearray(JPEG)
    for place, value in changes:
        data[place] = value
    try:
        face = make_face(bytes(data[:cut]), POINTS, PLAIN)
        assert decode(face.encoded).shape == (64, 64, 3)
    except UnusablePhoto as reason:
        assert str(reason) in {"unreadable", "truncated", "landmarks outside the picture", "larger than 32766 pixels"}


@pytest.mark.parametrize("warp", sorted(WARPS))
def test_a_large_photo_goes_through_the_chosen_warp(warp: str) -> None:
    photo, landmarks, _ = mugshot(8.5)
    face = make_face(encoded(photo), landmarks, FaceFormat("paper", 64, "png", 95, warp=warp))
    np.testing.assert_array_equal(decode(face.encoded), align(decode(encoded(photo)), landmarks, 64, warp=WARPS[warp]))


def test_a_native_face_is_aligned_at_its_own_size_and_enlarged() -> None:
    from PIL import Image

    landmarks = POINTS / 6 + 20  # about 21 pixels of face
    face = decode(make_face(encoded(PHOTO, ".png"), landmarks, PLAIN, "native").encoded)
    height = landmarks[:, 1].max() - landmarks[:, 1].min()
    native = align(PHOTO, landmarks, int(3 * height))
    expected = Image.fromarray(native).resize((64, 64), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(face, np.asarray(expected))
