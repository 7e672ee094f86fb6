"""Photos to faces: damage is named, and a large photo need not be decoded whole."""

import resource
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.alignment.align import WARPS, align
from pipeline.alignment.photo_to_face import FaceFormat, make_face, read_photo
from pipeline.pixels.photo import UnusablePhoto, decode
from pipeline.pixels.resample import resize
from tests.pipeline.alignment.test_align import mugshot

PLAIN = FaceFormat("paper", 64, "png", 95)
POINTS = np.array([[30, 40], [62, 44], [44, 60], [30, 78], [58, 82]]) + 0.3


def encoded(photo: np.ndarray, suffix: str = ".jpg") -> bytes:
    done, data = cv2.imencode(suffix, photo, [cv2.IMWRITE_JPEG_QUALITY, 98])
    assert done
    return data.tobytes()


PHOTO = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (120, 100, 3), np.uint8), (0, 0), 2)
JPEG = encoded(PHOTO)


@pytest.mark.slow
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


def test_only_a_photos_own_faults_are_reasons(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    with pytest.raises(UnusablePhoto, match="missing"):
        read_photo(tmp_path / "root", "a.jpg", -1)
    with pytest.raises(FileNotFoundError, match="the folder of the photos is gone"):
        read_photo(tmp_path / "unmounted", "a.jpg", -1)
    (tmp_path / "root" / "a.jpg").mkdir()
    with pytest.raises(UnusablePhoto, match="unreadable"):
        read_photo(tmp_path / "root", "a.jpg", -1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            read_photo(tmp_path / "root", "a.jpg", -1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".ppm", ".bmp", ".tif"])
def test_a_photo_cut_short_is_a_reason_in_every_format(suffix: str) -> None:
    whole = encoded(PHOTO, suffix)
    assert decode(whole).shape == PHOTO.shape
    for share in (0.2, 0.6, 0.97):
        with pytest.raises(UnusablePhoto, match="truncated" if suffix == ".jpg" else "unreadable"):
            decode(whole[: int(share * len(whole))])


@pytest.mark.slow
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


def test_landmarks_may_stand_on_the_edge_and_not_beyond() -> None:
    height, width = PHOTO.shape[:2]
    for move in ([width - POINTS[:, 0].max(), 0], [0, height - POINTS[:, 1].max()], [-POINTS[:, 0].min(), 0]):
        landmarks = POINTS + move
        assert decode(make_face(JPEG, landmarks, PLAIN).encoded).shape == (64, 64, 3)
        with pytest.raises(UnusablePhoto, match="landmarks outside the picture"):
            make_face(JPEG, landmarks + 0.01 * np.sign(move), PLAIN)


@pytest.mark.parametrize("codec", ["jpg", "png"])
def test_stored_views_are_made_of_the_face_as_it_is_decoded(codec: str) -> None:
    face = make_face(JPEG, POINTS, FaceFormat("paper", 64, codec, 80, stored_views=(8, 12)))
    rgb = decode(face.encoded)[..., ::-1]
    expected = [resize(np.ascontiguousarray(rgb), side, side).tobytes() for side in (8, 12)]
    assert face.views == b"".join(expected)
