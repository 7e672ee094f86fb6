"""The detector's benchmark: its scenes have the faces they say, and what it counts is what there is."""

import numpy as np
import pytest

from pipeline.benchmarks.face_scenes import CONDITIONS, PORTRAITS, scene
from pipeline.benchmarks.landmarks import found_at, match
from pipeline.detection.cascade import DetectedFace


@pytest.mark.parametrize("kind", PORTRAITS)
def test_a_scene_has_faces_of_its_width(kind: str) -> None:
    shown = scene(kind, "plain", 40, 1)
    distances = np.linalg.norm(shown.landmarks[:, :2].mean(axis=1) - shown.landmarks[:, 3:].mean(axis=1), axis=1)
    # Turned rendered heads look shorter.
    np.testing.assert_allclose(2.2 * distances, 40, rtol=0.02 if kind == "ORL" else 0.35)
    assert ((shown.landmarks > -1) & (shown.landmarks < (1280, 720))).all()
    darker = scene(kind, "dark", 40, 1)
    assert darker.picture.mean() < 0.5 * shown.picture.mean()
    np.testing.assert_array_equal(darker.landmarks, shown.landmarks)
    assert set(CONDITIONS) == {"plain", "dark", "blurred"}


def test_faces_are_matched_once_and_within_half_a_width() -> None:
    shown = scene("ORL", "plain", 40, 1)
    faces = [DetectedFace(1.0, np.zeros(4), shown.landmarks[2] + shift) for shift in (3.0, 1.0, 40.0)]
    assert match(shown, faces, 40) == {2: faces[0]}


@pytest.mark.slow
def test_faces_of_forty_pixels_are_found() -> None:
    found = found_at("ORL", "plain", 40, 1)
    assert found.recall > 0.9
    assert found.false == 0
    assert found.error < 0.08 < 2 * found.box_error
