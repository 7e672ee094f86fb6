"""The alignment against independent ways to compute it."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import least_squares

from pipeline.alignment.align import (
    ANTIALIASED_WARP,
    TEMPLATES,
    WARP,
    DegenerateLandmarks,
    align,
    native_size,
    preprocessing,
    similarity,
    template_points,
)
from pipeline.sources.datasets import orl_photos
from pipeline.sources.landmark_list import read_landmarks

coordinates = st.floats(-300, 300, allow_nan=False)
five_points = st.lists(st.tuples(coordinates, coordinates), min_size=5, max_size=5, unique=True)


@settings(max_examples=50, deadline=None)
@given(points=five_points)
def test_similarity_is_the_least_squares_fit(points: list[tuple[float, float]]) -> None:
    target = np.array(points)
    source = template_points("paper", 128)

    def residual(p: np.ndarray) -> np.ndarray:
        a, b, x, y = p
        return (source @ np.array([[a, b], [-b, a]]) + (x, y) - target).ravel()

    best = least_squares(residual, np.array([1.0, 0, 0, 0]), method="lm", xtol=1e-14, ftol=1e-14)
    try:
        fitted = similarity(source, target)
    except DegenerateLandmarks:
        assert np.hypot(*best.x[:2]) < 1e-5
        return
    np.testing.assert_allclose(fitted[:, 0], best.x[:2], atol=1e-6)
    np.testing.assert_allclose(fitted[:, 2], best.x[2:], atol=1e-4)


def umeyama(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The similarity by singular values, without reflection (Umeyama, 1991, eq. 40-43)."""
    s, t = source - source.mean(0), target - target.mean(0)
    u, d, vt = np.linalg.svd(t.T @ s / len(s))
    sign = np.array([1, np.sign(np.linalg.det(u) * np.linalg.det(vt))])
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / s.var(0).sum()
    shift = target.mean(0) - scale * rotation @ source.mean(0)
    return np.column_stack([scale * rotation, shift])


def test_similarity_equals_umeyama_and_never_reflects() -> None:
    rng = np.random.default_rng(0)
    for _ in range(100):
        source, target = rng.normal(size=(2, 5, 2)) * 40
        fitted = similarity(source, target)
        np.testing.assert_allclose(fitted, umeyama(source, target), atol=1e-9)
        assert np.linalg.det(fitted[:, :2]) > 0


def test_faces_of_real_photos_equal_the_oracles(rendered: Path, train_list: Path) -> None:
    """Fitted from the template to the landmarks by singular values, inverted by elimination, then warped."""
    photos = [(path, landmarks) for _, path, landmarks in orl_photos(["s1", "s30"])]
    table = read_landmarks(train_list, header=True)
    folder = rendered / "VGGFace2" / "train"
    photos += [
        (folder / f"{row[0]}.jpg", np.array(row[1:]).reshape(5, 2)) for row in table[:20].itertuples(index=False)
    ]
    for path, landmarks in photos:
        photo = cv2.imread(str(path))
        assert photo is not None
        fitted = np.vstack([umeyama(template_points("paper", 128), landmarks), [0, 0, 1]])
        expected = cv2.warpAffine(photo, np.linalg.inv(fitted)[:2], (128, 128), flags=cv2.INTER_CUBIC)
        difference = np.abs(expected.astype(int) - align(photo, landmarks, 128))
        # The last bit of the matrix may move a coordinate across a step of 1/32 pixel.
        assert np.mean(difference > 0) < 1e-3
        # The other direction of the fit is another picture.
        assert np.abs(umeyama(landmarks, template_points("paper", 128)) - np.linalg.inv(fitted)[:2]).max() > 1e-4


@pytest.mark.parametrize("name", sorted(TEMPLATES))
@pytest.mark.parametrize("size", [64, 112, 128])
def test_landmarks_land_on_the_template(name: str, size: int) -> None:
    """Coloured dots at the landmarks of a turned face must come out where the template has its points."""
    angle, scale = np.deg2rad(17), 2.6
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    landmarks = TEMPLATES[name].points @ turn.T + (90, 40)
    for place, point in zip(template_points(name, size), landmarks, strict=True):
        photo = np.zeros((480, 420, 3), np.uint8)
        cv2.circle(photo, (round(16 * point[0]), round(16 * point[1])), 400, (255, 255, 255), -1, shift=4)
        face = align(photo, landmarks, size, name)
        mass = face[..., 0].astype(float)
        y, x = np.indices(mass.shape)
        centre = (x * mass).sum() / mass.sum(), (y * mass).sum() / mass.sum()
        np.testing.assert_allclose(centre, place, atol=0.15)


def test_warp_is_bicubic_with_a_zero_border() -> None:
    """Against a float bicubic of our own: OpenCV's coordinates have 1/32 pixel, so a few levels of slack."""
    rng = np.random.default_rng(0)
    photo = cv2.GaussianBlur(rng.integers(0, 256, (120, 100), dtype=np.uint8), (0, 0), 3)
    landmarks = np.array([[30, 40], [62, 44], [44, 60], [30, 78], [58, 82]]) + 0.3
    face = align(photo, landmarks, 96)
    to_photo = similarity(template_points("paper", 96), landmarks)
    y, x = np.indices((96, 96))
    px, py = to_photo @ np.stack([x.ravel(), y.ravel(), np.ones(x.size)])

    def kernel(t: np.ndarray) -> np.ndarray:
        t, a = np.abs(t), -0.75
        near = (a + 2) * t**3 - (a + 3) * t**2 + 1
        return np.where(t < 1, near, np.where(t < 2, a * (t**3 - 5 * t**2 + 8 * t - 4), 0))

    expected = np.zeros(x.size)
    padded = np.pad(photo.astype(float), 200)
    for i in range(-1, 3):
        for j in range(-1, 3):
            row, column = np.floor(py).astype(int) + i, np.floor(px).astype(int) + j
            inside = (np.abs(row) < 200) & (np.abs(column) < 200)
            value = padded[np.where(inside, row + 200, 0), np.where(inside, column + 200, 0)]
            expected += kernel(py - row) * kernel(px - column) * value
    # (96 * 96,) -> (96, 96)
    difference = np.abs(expected.clip(0, 255).reshape(96, 96) - face)
    assert difference.mean() < 0.5
    assert np.percentile(difference, 99) < 3
    assert (face[-1] == 0).any(), "the face reaches out of the photo, where it is black"


def test_colour_and_grey_photos_agree() -> None:
    photo = np.random.default_rng(1).integers(0, 256, (90, 80), dtype=np.uint8)
    landmarks = template_points("paper", 70) + 8
    grey = align(photo, landmarks, 48)
    colour = align(np.repeat(photo[..., None], 3, axis=2), landmarks, 48)
    np.testing.assert_array_equal(colour, np.repeat(grey[..., None], 3, axis=2))


@pytest.mark.parametrize("bad", [np.full((5, 2), 7.0), np.full((5, 2), np.nan)])
def test_degenerate_landmarks_are_refused(bad: np.ndarray) -> None:
    with pytest.raises(DegenerateLandmarks):
        align(np.zeros((9, 9, 3), np.uint8), bad, 32)


def test_centred_template_stands_in_the_middle() -> None:
    x = template_points("centred", 128)[:, 0]
    assert abs((x.min() + x.max()) / 2 - 64) < 0.2
    assert preprocessing("centred", 128).points == TEMPLATES["centred"].points


def test_native_size_follows_the_published_rule() -> None:
    assert native_size([(0, 3.5), (1, 3), (2, 5), (3, 9), (4, 9.9)]) == int(3 * 6.9)


def mugshot(reduction: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A photo of rings finer than a face's pixels show, its landmarks, and the face by averaging densely."""
    angle, size = np.deg2rad(9), 64
    turn = reduction * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = template_points("paper", size)
    corner = np.abs(turn @ [size, size]).max()
    landmarks = points @ turn.T + (0.4 * corner, 0.2 * corner)
    side = int(1.8 * corner)
    y, x = np.indices((side, side))
    radius = np.hypot(x - side / 2, y - side / 2)
    photo = np.uint8(127.5 + 120 * np.cos(radius**2 * 1.4 / side))
    photo[radius < side / 5] //= 2
    fine = 4 * int(np.ceil(reduction))
    grid = (np.arange(size * fine) + 0.5) / fine - 0.5
    to_photo = similarity(points, landmarks)
    gx, gy = np.meshgrid(grid, grid)
    px, py = (to_photo @ np.stack([gx.ravel(), gy.ravel(), np.ones(gx.size)])).astype(np.float32).reshape(2, *gx.shape)
    dense = cv2.remap(photo, px, py, cv2.INTER_LINEAR, borderValue=0)
    # (size fine, size fine) -> (size, fine, size, fine): the mean of the area of every pixel
    return photo, landmarks, dense.reshape(size, fine, size, fine).mean(axis=(1, 3))


@pytest.mark.slow
@pytest.mark.parametrize("reduction", [3.0, 8.5, 17.0])
def test_the_antialiased_warp_shows_what_is_there(reduction: float) -> None:
    photo, landmarks, reference = mugshot(reduction)
    inside = slice(4, -4), slice(4, -4)

    def error(face: np.ndarray) -> float:
        return float(np.sqrt(np.mean((face.astype(float) - reference)[inside] ** 2)))

    plain, fine = (align(photo, landmarks, 64, warp=warp) for warp in (WARP, ANTIALIASED_WARP))
    assert error(fine) < error(plain) / 3
    # The cubic kernel is sharper than the mean over a pixel's area, so some difference is right.
    assert error(fine) < 10


def test_where_nothing_is_reduced_the_warps_are_one() -> None:
    photo = np.random.default_rng(2).integers(0, 256, (70, 80, 3), dtype=np.uint8)
    landmarks = template_points("paper", 60) + 6
    np.testing.assert_array_equal(
        align(photo, landmarks, 64, warp=ANTIALIASED_WARP), align(photo, landmarks, 64, warp=WARP)
    )


def aligned_by_linear_system(photo: np.ndarray, landmarks: np.ndarray, size: int) -> np.ndarray:
    """The published alignment from its definition: a linear least-squares system of single-precision points."""
    (x, y), (u, v) = template_points("paper", size).astype(np.float32).T, landmarks.astype(np.float32).T
    # u = a x - b y + c and v = a y + b x + d, for all five points together
    one, none = np.ones(5), np.zeros(5)
    system = np.vstack([np.column_stack([x, -y, one, none]), np.column_stack([y, x, none, one])])
    a, b, c, d = np.linalg.lstsq(system, np.concatenate([u, v]), rcond=None)[0]
    to_photo = np.array([[a, -b, c], [b, a, d], [0, 0, 1]])
    return cv2.warpAffine(photo, np.linalg.inv(to_photo)[:2], (size, size), flags=cv2.INTER_CUBIC)


def test_align_equals_the_published_alignment_bit_by_bit() -> None:
    rng = np.random.default_rng(3)
    for size in (128, 128, 57, 30) * 20:
        height, width = rng.integers(60, 400, 2)
        photo = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        face = (template_points("paper", 112) - 56) * rng.uniform(0.2, 0.7) * min(height, width) / 112
        angle = rng.normal(0, 0.2)
        turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
        landmarks = np.round(face @ turn + (width / 2, height / 2) + rng.normal(0, 1.5, (5, 2)), 3)
        np.testing.assert_array_equal(align(photo, landmarks, size), aligned_by_linear_system(photo, landmarks, size))
