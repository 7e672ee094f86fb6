"""Views of which some are stored and others are made, at one side and at several."""

import numpy as np
import torch

from pipeline.loading.batch import MixedSizes
from pipeline.loading.view_making import Faces, make_view
from pipeline.pixels.resample import resize

GENERATOR = np.random.default_rng(3)
DECODED = GENERATOR.integers(0, 256, (4, 24, 24, 3), dtype=np.uint8)
STORED = {side: GENERATOR.integers(0, 256, (6, side, side, 3), dtype=np.uint8) for side in (8, 12)}
PLACES = np.array([2, -1, 0, 3, -1, 1])
MIRRORED = np.array([True, True, False, True, False, False])


def expected(row: int, side: int) -> np.ndarray:
    view = STORED[side][row] if PLACES[row] < 0 else resize(DECODED[PLACES[row]], side, side)
    return view[:, ::-1] if MIRRORED[row] else view


def test_stored_and_made_views_stand_in_their_own_rows() -> None:
    faces = Faces(torch.from_numpy(DECODED))
    view = make_view(faces, PLACES, np.full(6, 8), MIRRORED, lambda rows: STORED[8][rows])
    assert isinstance(view, torch.Tensor)
    for row in range(6):
        np.testing.assert_array_equal(view[row].numpy(), expected(row, 8))


def test_views_of_several_sides_are_grouped_by_side() -> None:
    sides = np.array([8, 12, 12, 8, 8, 12])
    faces = Faces(torch.from_numpy(DECODED))
    view = make_view(faces, PLACES, sides, MIRRORED, lambda rows: STORED[int(sides[rows[0]])][rows])
    assert isinstance(view, MixedSizes)
    assert sorted(torch.cat(view.rows).tolist()) == list(range(6))
    for rows, made in zip(view.rows, view.faces, strict=True):
        for row, face in zip(rows.tolist(), made, strict=True):
            np.testing.assert_array_equal(face.numpy(), expected(row, int(sides[row])))
