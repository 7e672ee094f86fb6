"""The settings of a degradation and the numbers drawn for it, on the host."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nvidia.dali import types

from pipeline.loading.degradation_draw import (
    REDUCTION_CODES,
    DegradationDraw,
    RoundSetting,
    Setting,
    draw_degradation,
    gaussian_kernel,
    motion_kernel,
    standard_normals,
)
from pipeline.sampling.degradation import REDUCTIONS, Degradation, Round
from shards.command import UserError

ALWAYS = Degradation(probability=1.0)


def drawn(degradation: Degradation, sides: np.ndarray, **where: int) -> DegradationDraw:
    place = {"stored": 128, "seed": 3, "step": 7, "view": 1, "first_row": 0, "global_batch": len(sides), **where}
    return draw_degradation(degradation, sides, **place)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda: Degradation(probability=1.1), "probability 1.1"),
        (lambda: Degradation(grey=-0.1), "grey -0.1"),
        (lambda: Degradation(brightness=(1.2, 0.8)), "smaller first"),
        (lambda: Degradation(camera=(0.5, 2)), "from 1 to 128"),
        (lambda: Degradation(reductions=()), "name some of bicubic"),
        (lambda: Degradation(reductions=("cubic",)), "name some of bicubic"),  # type: ignore[arg-type]
        (lambda: Round(quality=(0, 50)), "quality .* from 1 to 100"),
        (lambda: Round(sigma=(0.0, 1.0)), "sigma"),
        (lambda: Round(length=(1, 30)), "length"),
        (lambda: Round(jpeg=2), "jpeg 2"),
    ],
)
def test_impossible_settings_are_refused(wrong: object, says: str) -> None:
    with pytest.raises(UserError, match=says):
        wrong()  # type: ignore[operator]


def test_it_is_off_and_spares_the_full_view_unless_asked() -> None:
    assert not Degradation().degrades(8, 128)
    assert ALWAYS.degrades(8, 128)
    assert not ALWAYS.degrades(128, 128)
    assert replace(ALWAYS, full_view=True).degrades(128, 128)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32), step=st.integers(0, 10**6), low=st.integers(4, 40), full=st.booleans())
def test_every_number_stays_in_its_range(seed: int, step: int, low: int, full: bool) -> None:
    sides = np.array([low, 128 if full else low + 1] * 8)
    draw = drawn(ALWAYS, sides, seed=seed, step=step)
    column = draw.settings.T
    for setting, (least, most) in ((Setting.BRIGHTNESS, ALWAYS.brightness), (Setting.CONTRAST, ALWAYS.contrast)):
        assert np.all((least <= column[setting] + 1e-6) & (column[setting] - 1e-6 <= most))
    camera = column[Setting.CAMERA_SIDE]
    assert np.all((camera >= np.minimum(sides, 128)) & (camera <= np.minimum(np.rint(4.0 * sides), 128)))
    for first, wanted, pictures, noisy in (
        (Setting.FIRST_ROUND, ALWAYS.first, draw.first, camera),
        (Setting.SECOND_ROUND, ALWAYS.second, draw.second, sides),
    ):
        quality = column[first + RoundSetting.QUALITY]
        assert np.all((quality == np.rint(quality)) & (quality >= wanted.quality[0]) & (quality <= wanted.quality[1]))
        assert np.all(column[first + RoundSetting.READ_VARIANCE] <= wanted.read_noise[1] ** 2)
        assert np.all(column[first + RoundSetting.SHOT_GAIN] <= wanted.shot_noise[1])
        for row, (kernel, normals) in enumerate(zip(pictures.kernels, pictures.normals, strict=True)):
            assert kernel.shape[0] == kernel.shape[1] and kernel.shape[0] % 2 == 1
            assert kernel.sum() == pytest.approx(1, abs=1e-5) and kernel.min() >= 0
            assert (kernel.size > 1) >= (column[first + RoundSetting.BLUR][row] > 0) or wanted.length[0] < 2
            side = int(noisy[row]) if column[first + RoundSetting.NOISE][row] else 1
            assert normals.shape == (side, side, 3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), step=st.integers(0, 10**6), world=st.sampled_from([2, 3, 4, 6]))
def test_ranks_share_one_global_draw(seed: int, step: int, world: int) -> None:
    sides = np.full(12, 12)
    whole = drawn(ALWAYS, sides, seed=seed, step=step)
    share = 12 // world
    for rank in range(world):
        mine = slice(rank * share, (rank + 1) * share)
        part = drawn(ALWAYS, sides[mine], seed=seed, step=step, first_row=mine.start, global_batch=12)
        np.testing.assert_array_equal(part.settings, whole.settings[mine])
        for one, other in ((part.first, whole.first), (part.second, whole.second)):
            for ours, theirs in ((one.kernels, other.kernels[mine]), (one.normals, other.normals[mine])):
                assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_steps_views_and_seeds_differ() -> None:
    sides = np.full(64, 12)
    base = drawn(ALWAYS, sides).settings
    for other in ({"step": 8}, {"view": 2}, {"seed": 4}):
        assert not np.array_equal(base, drawn(ALWAYS, sides, **other).settings)


def test_events_happen_as_often_as_asked() -> None:
    columns = drawn(Degradation(probability=0.5, light=0.5, grey=0.2), np.full(4000, 12)).settings.mean(axis=0)
    assert columns[Setting.DEGRADED] == pytest.approx(0.5, abs=0.03)
    assert columns[Setting.LIGHT] == pytest.approx(0.25, abs=0.03)
    assert columns[Setting.GREY] == pytest.approx(0.1, abs=0.02)
    assert columns[Setting.FIRST_ROUND + RoundSetting.BLUR] == pytest.approx(0.25, abs=0.03)
    assert columns[Setting.SECOND_ROUND + RoundSetting.JPEG] == pytest.approx(0.25, abs=0.03)


def test_only_what_needs_no_more_than_pillow_is_exact() -> None:
    off = Round(blur=0, noise=0, jpeg=0)
    sides = np.full(64, 12)
    assert drawn(Degradation(), sides).exact.all()
    bicubic = replace(ALWAYS, camera=(128, 128), second=off, reductions=("bicubic",))
    assert drawn(bicubic, sides).exact.all()
    assert not drawn(replace(bicubic, camera=(2, 3)), sides).exact.any()
    assert not drawn(replace(bicubic, second=Round(jpeg=1)), sides).exact.any()
    assert not drawn(replace(bicubic, reductions=("linear",)), sides).exact.any()


def test_kernels_have_the_moments_asked_for() -> None:
    """Variance along the angle and across it, against the definition."""
    for kernel, along, across in (
        (gaussian_kernel(3.0, 1.0, 0.5), 9.0, 1.0),
        (gaussian_kernel(2.0, 2.0, 1.0), 4.0, 4.0),
        # A line of 9 pixels with the roundness of a pixel.
        (motion_kernel(9.0, 0.5), (9**2 - 1) / 12, 1 / 6),
    ):
        radius = kernel.shape[0] // 2
        y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
        direction = (0.0, 0.0) if along == across else (np.cos(0.5), np.sin(0.5))
        turned = (x * direction[0] + y * direction[1], y * direction[0] - x * direction[1])
        if along == across:
            turned = (x, y)
        assert (kernel * turned[0] ** 2).sum() == pytest.approx(along, rel=0.1)
        assert (kernel * turned[1] ** 2).sum() == pytest.approx(across, rel=0.6)


def test_a_straight_motion_is_a_box() -> None:
    np.testing.assert_allclose(motion_kernel(3.0, 0.0)[2], [0, 1 / 3, 1 / 3, 1 / 3, 0], atol=1e-6)


def test_kernels_reach_no_farther_than_the_picture() -> None:
    assert gaussian_kernel(3.5, 3.5, 0.0, largest=15).shape == (15, 15)


def test_normals_are_normal_and_differ_by_place() -> None:
    noise = standard_normals(128, 0.3)
    assert noise.mean() == pytest.approx(0, abs=0.02)
    assert noise.std() == pytest.approx(1, abs=0.02)
    other = standard_normals(128, 0.30001)
    assert abs(np.corrcoef(noise.ravel(), other.ravel())[0, 1]) < 0.05
    grey = standard_normals(16, 0.3, grey=True)
    assert np.array_equal(grey[..., 0], grey[..., 2])


def test_the_codes_are_dalis() -> None:
    assert set(REDUCTION_CODES) == set(REDUCTIONS)
    names = {"nearest": "NN", "linear": "LINEAR", "bicubic": "CUBIC", "lanczos": "LANCZOS3", "gaussian": "GAUSSIAN"}
    for name, code in REDUCTION_CODES.items():
        assert code == int(getattr(types, f"INTERP_{names[name]}"))
