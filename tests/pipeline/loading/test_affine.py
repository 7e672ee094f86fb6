"""CVLface's affine augmentation: its matrices, its pixels against OpenCV, its points against its pixels."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.loading.affine_draw import affine_matrices, draw_affine, moved_points
from pipeline.loading.loader import Loader
from pipeline.sampling.augmentation import Augmentation
from pipeline.sampling.views import Views
from shards.command import UserError
from shards.index import ShardIndex
from tests.pipeline.loading.test_augmentation import BATCH, FACES, SIZE, graph_of

ALWAYS = Augmentation(affine=1.0, rotation=0.5)


def by_hand(settings: Augmentation, numbers: np.ndarray, size: int) -> np.ndarray:
    """The transform step by step, in pixels: turned about the middle, a patch moved there, scaled, put back."""
    across, down, left, up, factor, coin, turn, beyond = numbers
    middle = size / 2
    scale = settings.scale[0] + factor * (settings.scale[1] - settings.scale[0])
    angle = np.deg2rad((2 * turn - 1) * settings.largest_angle) if coin < settings.rotation else 0.0

    def shifted(x: float, y: float) -> np.ndarray:
        return np.array([[1, 0, x], [0, 1, y], [0, 0, 1]])

    turned = np.array([[np.cos(angle), np.sin(angle), 0], [-np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    room = middle / scale - middle + beyond * settings.offset * middle
    centre_x = middle - room * across * (1 if left < 0.5 else -1)
    centre_y = middle - room * down * (1 if up < 0.5 else -1)
    steps = [shifted(-middle, -middle), turned, shifted(middle, middle), shifted(-centre_x, -centre_y)]
    steps += [np.diag([scale, scale, 1]), shifted(middle, middle)]
    whole = np.eye(3)
    for step in steps:
        whole = step @ whole
    return whole[:2]


@given(st.lists(st.floats(0, 0.999), min_size=8, max_size=8))
def test_the_matrix_is_that_of_the_steps(numbers: list[float]) -> None:
    (found,) = affine_matrices(ALWAYS, np.array([numbers]))
    expected = by_hand(ALWAYS, np.array(numbers), 112)
    np.testing.assert_allclose(found * [1, 1, 112], expected, atol=1e-9)


@pytest.mark.slow
def test_pixels_go_where_opencv_takes_them() -> None:
    settings = Augmentation(affine=0.7, rotation=0.5)
    where = {"seed": 1, "step": 0, "first_row": 0, "rows": BATCH, "global_batch": BATCH}
    matrices = draw_affine(settings, [0], **where)
    found = graph_of(settings, matrices)
    still = (matrices == np.eye(2, 3)).all(axis=(1, 2))
    assert 0 < still.sum() < BATCH
    for face, picture, matrix, same in zip(FACES, found, matrices, still, strict=True):
        if same:
            assert (picture == face).all()
            continue
        expected = cv2.warpAffine(face, matrix * [1, 1, SIZE], (SIZE, SIZE), flags=cv2.INTER_LINEAR)
        away = np.abs(picture.astype(int) - expected.astype(int))
        # OpenCV counts places in 32nds of a pixel.
        assert away.mean() < 1.0
        assert (away <= 6).mean() > 0.97


def test_draws_are_a_function_of_seed_step_and_row() -> None:
    where = {"seed": 1, "step": 2, "global_batch": BATCH}
    whole = draw_affine(ALWAYS, [0, 1, 0], first_row=0, rows=BATCH, **where)
    parts = [draw_affine(ALWAYS, [0, 1, 0], first_row=first, rows=BATCH // 2, **where) for first in (0, BATCH // 2)]
    by_view = [np.concatenate(two) for two in zip(*(np.split(part, 3) for part in parts), strict=True)]
    np.testing.assert_array_equal(np.split(whole, 3), by_view)
    np.testing.assert_array_equal(whole[:BATCH], whole[2 * BATCH :])
    assert (whole[:BATCH] != whole[BATCH : 2 * BATCH]).any()


def test_points_are_moved_and_mirrored_with_their_face(shards: Path) -> None:
    views = Views(sizes=(32, 12), mirror=0.5, augmentation=ALWAYS)
    loader = Loader(shards, views, seed=5, global_batch=8, points=True)
    batch = next(loader)
    loader.close()
    where = {"seed": 5, "step": 0, "first_row": 0, "rows": 8, "global_batch": 8}
    matrices = draw_affine(ALWAYS, [0, 1], **where).reshape(2, 8, 2, 3)
    index = ShardIndex.open(shards)
    assert batch.points is not None
    mirrored = 0
    for row in range(8):
        for view in range(2):
            stored = index.points(batch.photos[row, view].numpy())
            moved = moved_points(stored, matrices[view, row])
            found = batch.points[row, view].numpy()
            # The nose is one point of its own.
            turned = not np.allclose(found[2], moved[2], atol=1e-6)
            mirrored += turned
            expected = np.stack([1 - moved[[1, 0, 2, 4, 3], 0], moved[[1, 0, 2, 4, 3], 1]], axis=1) if turned else moved
            np.testing.assert_allclose(found, expected, atol=1e-6)
    assert 0 < mirrored < 16


def test_a_bright_spot_stays_under_its_point() -> None:
    spot = np.zeros((SIZE, SIZE, 3), np.uint8)
    spot[13:16, 24:27] = 255
    numbers = np.random.default_rng(0).random((12, 8))
    matrices = affine_matrices(ALWAYS, numbers)
    points = np.full((5, 2), 0, np.float32) + np.array([25 / SIZE, 14 / SIZE], np.float32)
    for picture, matrix in zip(graph_of(ALWAYS, matrices, [spot] * 12), matrices, strict=True):
        rows, columns = np.indices((SIZE, SIZE))
        weights = picture[..., 0] / picture[..., 0].sum()
        seen = np.array([(weights * columns).sum(), (weights * rows).sum()]) / SIZE
        np.testing.assert_allclose(moved_points(points, matrix)[0], seen, atol=0.3 / SIZE)


def test_impossible_settings_are_refused() -> None:
    for wrong in ({"affine": 2.0}, {"scale": (0.0, 1.0)}, {"largest_angle": 200.0}, {"offset": -1.0}):
        with pytest.raises(UserError, match="of an augmentation; give"):
            Augmentation(**wrong)  # type: ignore[arg-type]
    assert Augmentation(affine=0.1).is_on
