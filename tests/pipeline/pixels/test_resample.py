"""Pillow is the oracle of every reduced and enlarged view."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.loading.batch_pixels import network_pixels, reduce, to_network_range
from pipeline.loading.view_making import Faces, make_view
from pipeline.pixels.resample import WEIGHT_ONE, kernel_weights, reduce_and_enlarge, resize
from pipeline.pixels.resample_on_gpu import resample

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
    ),
]


def hard_faces(size: int, seed: int = 0) -> np.ndarray:
    """Noise, noise of two levels, sharp borders and flat pictures: (9, size, size, 3) uint8."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (4, size, size, 3))
    binary = rng.choice([0, 255], (2, size, size, 3))
    border = np.zeros((1, size, size, 3), dtype=np.int64)
    border[:, :2] = 255
    border[:, :, -1] = 255
    return np.concatenate([noise, binary, border, 255 - border, border * 0 + 255]).astype(np.uint8)


def pillow(faces: np.ndarray, side: int) -> np.ndarray:
    bicubic = Image.Resampling.BICUBIC
    return np.stack([np.asarray(Image.fromarray(face).resize((side, side), bicubic)) for face in faces])


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("low", [1, 5, 7, 8, 9, 12, 16, 20, 33, 64, 100, 127, 128])
def test_device_views_equal_pillow_bit_by_bit(low: int, device: str) -> None:
    faces = hard_faces(128)
    reduced = reduce(torch.from_numpy(faces).to(device), low)
    np.testing.assert_array_equal(reduced.cpu().numpy(), pillow(faces, low))
    expected = pillow(pillow(faces, low), 128)
    scaled = network_pixels(reduced, 128)
    assert torch.equal(scaled.cpu(), to_network_range(torch.from_numpy(expected)))


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 70), low=st.integers(1, 70), seed=st.integers(0, 1000))
def test_any_pair_of_sizes_equals_pillow(size: int, low: int, seed: int) -> None:
    low, size = sorted((low, size))
    faces = hard_faces(size, seed)
    reduced = reduce(torch.from_numpy(faces), low)
    np.testing.assert_array_equal(reduced.numpy(), pillow(faces, low))


@settings(max_examples=40, deadline=None)
@given(source=st.integers(1, 70), target=st.integers(1, 70), seed=st.integers(0, 1000))
def test_products_of_matrices_equal_pillow(source: int, target: int, seed: int) -> None:
    faces = hard_faces(source, seed)
    for kind in (torch.uint8, torch.float32):
        levels = resample(torch.from_numpy(faces), torch.empty((len(faces), target, target, 3), dtype=kind))
        np.testing.assert_array_equal(levels.numpy(), pillow(faces, target))


@pytest.mark.parametrize("shape", [(50, 31, 3), (31, 50)])
def test_resize_takes_any_picture(shape: tuple[int, ...]) -> None:
    picture = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    expected = Image.fromarray(picture).resize((12, 40), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(resize(picture, 12, 40), np.asarray(expected))


def test_reduce_and_enlarge_at_full_size_changes_nothing() -> None:
    face = hard_faces(32)[0]
    np.testing.assert_array_equal(reduce_and_enlarge(face, 32), face)


def test_mirroring_and_reducing_commute() -> None:
    faces = torch.from_numpy(hard_faces(128))
    assert torch.equal(reduce(faces.flip(2), 12), reduce(faces, 12).flip(2))


def test_weights_sum_to_one_and_cannot_be_changed() -> None:
    weights = kernel_weights(128, 12)
    np.testing.assert_allclose(weights.sum(axis=1), WEIGHT_ONE, atol=128)
    with pytest.raises(ValueError, match="read-only"):
        weights[0, 0] = 1


def test_an_empty_batch_stays_empty() -> None:
    nothing = torch.empty((0, 16, 16, 3), dtype=torch.uint8)
    assert reduce(nothing, 8).shape == (0, 8, 8, 3)
    assert network_pixels(nothing, 32).shape == (0, 32, 32, 3)


@settings(max_examples=60, deadline=None)
@given(
    low=st.integers(1, 40),
    larger=st.integers(0, 60),
    count=st.integers(1, 20),
    threads=st.integers(1, 3),
    seed=st.integers(0, 99),
)
def test_faces_enlarged_into_rows_of_a_batch_equal_pillow(
    low: int, larger: int, count: int, threads: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    faces = rng.integers(0, 256, (count, low, low, 3)).astype(np.uint8)
    out = torch.full((count + 3, low + larger, low + larger, 3), 7.0)
    rows = torch.from_numpy(rng.permutation(count + 3)[:count])
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert network_pixels(torch.from_numpy(faces), low + larger, out, rows) is out
    finally:
        torch.set_num_threads(before)
    assert torch.equal(out[rows], to_network_range(torch.from_numpy(pillow(faces, low + larger))))
    others = torch.ones(count + 3, dtype=torch.bool)
    others[rows] = False
    assert (out[others] == 7).all()


@pytest.mark.parametrize("device", DEVICES)
def test_the_mirrored_faces_and_no_others_are_turned(device: str) -> None:
    faces = torch.from_numpy(hard_faces(9)).to(device)
    mirrored = np.arange(9) % 3 == 1
    places = np.arange(9)
    made = make_view(Faces(faces), places, np.full(9, 9), mirrored, lambda row: np.empty(0, np.uint8))
    for row in range(9):
        assert torch.equal(made[row], faces[row].flip(1) if mirrored[row] else faces[row])
