"""The warp against OpenCV's own."""

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.alignment.warp import needed, warp

RANDOM = np.random.default_rng(3)
NOISE = RANDOM.integers(0, 256, (300, 240, 3)).astype(np.uint8)


def opencv(photo: np.ndarray, to_face: np.ndarray, size: int) -> np.ndarray:
    return cv2.warpAffine(photo, to_face, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_CONSTANT)


@st.composite
def maps(draw: st.DrawFn) -> np.ndarray:
    """Similarities of every scale and direction, into a photo and past it."""
    scale, angle = draw(st.floats(0.02, 20)), draw(st.floats(-np.pi, np.pi))
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.column_stack([turn, draw(st.tuples(st.floats(-400, 400), st.floats(-400, 400)))])


shapes = st.tuples(st.integers(1, 300), st.integers(1, 240))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(shape=shapes, to_face=maps(), size=st.integers(1, 130))
def test_every_pixel_is_opencvs(shape: tuple[int, int], to_face: np.ndarray, size: int) -> None:
    photo = NOISE[: shape[0], : shape[1]]
    np.testing.assert_array_equal(warp(photo, to_face, size), opencv(photo, to_face, size))


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(shape=shapes, to_face=maps(), size=st.integers(1, 130))
def test_a_part_that_holds_what_is_needed_gives_the_face_of_the_whole(
    shape: tuple[int, int], to_face: np.ndarray, size: int
) -> None:
    photo = NOISE[: shape[0], : shape[1]]
    part = needed(to_face, size).within(shape[1], shape[0])
    assume(part.pixels() > 0)
    pixels = photo[part.top : part.bottom, part.left : part.right]
    np.testing.assert_array_equal(warp(pixels, to_face, size, part.left, part.top), warp(photo, to_face, size))


def test_hardly_more_is_needed_than_is_read() -> None:
    """What lies outside the part may be anything, and the part is not generous."""
    to_face = np.array([[0.5, 0.1, -30], [-0.1, 0.5, -10]])
    part = needed(to_face, 64)
    other = 255 - NOISE
    inside = slice(part.top, part.bottom), slice(part.left, part.right)
    other[inside] = NOISE[inside]
    np.testing.assert_array_equal(warp(other, to_face, 64), warp(NOISE, to_face, 64))
    read = np.hypot(0.5, 0.1) * 64 / (0.5**2 + 0.1**2)
    turned = (0.5 + 0.1) / np.hypot(0.5, 0.1)
    assert part.pixels() < (read * turned + 20) ** 2


def test_every_fraction_of_a_pixel_is_opencvs() -> None:
    # A step of 1 + 1/32 pixel meets all 32 x 32 fractions within one face.
    to_face = np.linalg.inv(np.array([[1 + 1 / 32, 0, 3.0], [0, 1 + 1 / 32, 3.0], [0, 0, 1]]))[:2]
    for extreme in (NOISE, (NOISE > 127).astype(np.uint8) * 255):
        np.testing.assert_array_equal(warp(extreme, to_face, 200), opencv(extreme, to_face, 200))


@pytest.mark.parametrize("to_face", [np.zeros((2, 3)), np.array([[1e-9, 0, 0], [0, 1e-9, 0]])])
def test_a_map_that_cannot_be_inverted_or_leads_far_away_is_opencvs(to_face: np.ndarray) -> None:
    np.testing.assert_array_equal(warp(NOISE, to_face, 16), opencv(NOISE, to_face, 16))


def test_a_photo_with_gaps_in_memory_is_warped_as_its_copy() -> None:
    to_face = np.array([[0.5, 0.1, -3], [-0.1, 0.5, 4]])
    for gaps in (NOISE[::2, ::3], NOISE[:, ::-1], NOISE.transpose(1, 0, 2)):
        np.testing.assert_array_equal(warp(gaps, to_face, 64), warp(gaps.copy(), to_face, 64))
