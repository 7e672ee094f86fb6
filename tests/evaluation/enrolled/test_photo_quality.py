"""Size and sharpness in pixels."""

import cv2
import numpy as np
import pytest

from evaluation.enrolled.photo_quality import sharpness, side_in_photo
from pipeline.alignment.align import align, template_points
from pipeline.pixels.resample import reduce_and_enlarge
from pipeline.sources.datasets import orl_photos


@pytest.mark.parametrize("turn", [0, 30, 90, 180])
def test_side_is_that_of_the_face_however_it_is_turned(turn: int) -> None:
    angle = np.radians(turn)
    turned = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = 0.25 * template_points("paper", 112) @ turned.T + 100
    assert side_in_photo(points, "paper") == pytest.approx(28)


def test_sharpness_falls_with_what_a_photo_lost() -> None:
    for _, path, landmarks in orl_photos(["s3", "s30"])[::4]:
        face = align(cv2.imread(str(path)), landmarks, 112, "centred")
        found = [sharpness(reduce_and_enlarge(face, low)) for low in (8, 16, 32)]
        assert found == sorted(found)
        for low, measured in zip((8, 16, 32), found, strict=True):
            assert 0.6 * low < measured < 1.7 * low
        blurred = sharpness(cv2.GaussianBlur(face, (0, 0), 3))
        assert blurred < 0.5 * sharpness(face)


def test_a_face_without_contrast_is_not_sharp() -> None:
    assert sharpness(np.full((32, 32, 3), 90, dtype=np.uint8)) == 6
