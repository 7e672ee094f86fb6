"""Levels and crops, held against OpenCV's INTER_AREA."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from pipeline.detection.shrink import crops, level


def noise(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "width,height", [(540, 420), (383, 298), (40, 31), (17, 12), (450, 350), (900, 700), (1080, 840)]
)
def test_a_level_is_that_of_opencv(width: int, height: int) -> None:
    photo = noise(700, 900)
    difference = np.abs(level(photo, width, height) - cv2.resize(photo, (width, height), interpolation=3).astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 1e-4


def padded(photo: NDArray[np.uint8], box: tuple[int, int, int, int], side: int) -> NDArray[np.float64]:
    """Cut out a box, counted from 1 and padded with zeros, and resize it as the detector's package does."""
    wide = np.pad(photo.astype(float), ((200, 200), (200, 200), (0, 0)))
    part = wide[box[1] + 199 : box[3] + 200, box[0] + 199 : box[2] + 200]
    return (cv2.resize(part, (side, side), interpolation=cv2.INTER_AREA) - 127.5) / 128


@pytest.mark.parametrize("side", [24, 48])
def test_crops_are_those_of_opencv(side: int) -> None:
    photo = noise(90, 120)
    boxes = [
        (1, 1, 24, 24), (5, 9, 40, 44), (-20, -9, 30, 41), (100, 70, 150, 120), (3, 3, 26, 27), (10, 10, 57, 57),
        (10, 10, 105, 105), (50, 60, 58, 68), (60, 60, 60, 60), (1, 1, 48, 25), (200, 200, 230, 230), (-60, 5, -9, 50),
    ]  # fmt: skip
    found = crops(photo, np.array(boxes), side)
    for crop, box in zip(found, boxes, strict=True):
        np.testing.assert_allclose(crop, padded(photo, box, side), atol=1e-4, err_msg=str(box))
