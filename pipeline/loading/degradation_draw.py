"""The random parameters of a degradation, drawn on the host.

The numbers are a pure function of (seed, step, view) and the row in the global batch, so a picture depends neither
on the number of processes nor on whether the run was resumed. DALI's operators get the numbers as inputs. DALI's own
random operators are not used, because their state depends on how many batches have run.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from pipeline.sampling.degradation import Degradation, Reduction, Round, Span
from pipeline.sampling.random_streams import Stream, generator

_NORMALS = 1 << 21


class Setting(IntEnum):
    """The columns of the settings that the graph takes for each picture; an event is 1 or 0."""

    DEGRADED = 0
    EXACT = 1
    LIGHT = 2
    BRIGHTNESS = 3
    CONTRAST = 4
    GREY = 5
    CAMERA_RESIZE = 6
    CAMERA_SIDE = 7
    CAMERA_REDUCTION = 8
    VIEW_RESIZE = 9
    VIEW_SIDE = 10
    VIEW_REDUCTION = 11
    FIRST_ROUND = 12
    SECOND_ROUND = 18


class RoundSetting(IntEnum):
    """The columns of a round, counted from `Setting.FIRST_ROUND` or `Setting.SECOND_ROUND`."""

    BLUR = 0
    NOISE = 1
    READ_VARIANCE = 2
    SHOT_GAIN = 3
    JPEG = 4
    QUALITY = 5


_COLUMNS = Setting.SECOND_ROUND + len(RoundSetting)
_ROUND_UNIFORMS = 13
_WHOLE_UNIFORMS = 8
REDUCTION_CODES: dict[Reduction, int] = {"nearest": 0, "linear": 1, "bicubic": 2, "lanczos": 3, "gaussian": 5}
"""DALI's numbers of the kernels (`nvidia.dali.types.DALIInterpType`), so that nothing here needs DALI."""


@dataclass(frozen=True)
class RoundDraw:
    """The pictures that a round needs beside its settings, one for each of the B rows.

    Attributes:
        kernels: (k, k) float32 each, odd k, sum 1; one weight where the picture is not blurred.
        normals: (s, s, 3) float32 each, standard normal, for the noise on a picture of s pixels; (1, 1, 3) where
            there is none.
    """

    kernels: list[NDArray[np.float32]]
    normals: list[NDArray[np.float32]]


@dataclass(frozen=True)
class DegradationDraw:
    """How one view of every row is degraded.

    Attributes:
        settings: (B, columns) float32, by `Setting`.
        first: kernels and normals of the first round.
        second: of the second round.
    """

    settings: NDArray[np.float32]
    first: RoundDraw
    second: RoundDraw

    @property
    def exact(self) -> NDArray[np.bool_]:
        """(B,) bool: all that is left after the graph is Pillow's reduction of the face that it returns."""
        return self.settings[:, Setting.EXACT] > 0


def draw_batch(degradation: Degradation, sides: NDArray[np.int64], **place: int) -> DegradationDraw:
    """Draw how all views of some rows are degraded, view by view.

    Args:
        degradation: the settings.
        sides: (B, V) int64, side of each view in pixels.
        place: what `draw_degradation` takes, without the view.

    Returns:
        a draw of V B rows.
    """
    draws = [draw_degradation(degradation, column, view=view, **place) for view, column in enumerate(sides.T)]
    first, second = (
        RoundDraw([k for one in rounds for k in one.kernels], [n for one in rounds for n in one.normals])
        for rounds in ([draw.first for draw in draws], [draw.second for draw in draws])
    )
    return DegradationDraw(np.concatenate([draw.settings for draw in draws]), first, second)


def draw_degradation(
    degradation: Degradation,
    sides: NDArray[np.int64],
    *,
    stored: int,
    seed: int,
    step: int,
    view: int,
    first_row: int,
    global_batch: int,
) -> DegradationDraw:
    """Draw how a view of some rows of the global batch is degraded.

    Args:
        degradation: the settings.
        sides: (B,) int64, side of the view in pixels, for each of the B rows from `first_row` on.
        stored: side of the faces in pixels.
        seed: of the run.
        step: number of the step.
        view: number of the view.
        first_row: place of the first row in the global batch.
        global_batch: rows of all ranks.
    """
    uniforms = generator(seed, Stream.DEGRADATION, step, view).random(
        (global_batch, _WHOLE_UNIFORMS + 2 * _ROUND_UNIFORMS)
    )
    mine = uniforms[first_row : first_row + len(sides)]
    whole, one, two = np.split(mine, [_WHOLE_UNIFORMS, _WHOLE_UNIFORMS + _ROUND_UNIFORMS], axis=1)
    degraded = (whole[:, 0] < degradation.probability) & ((sides < stored) | degradation.full_view)
    camera = np.rint(_within(degradation.camera, whole[:, 1]) * sides).clip(1, stored)
    camera = np.where(degraded, camera, stored).astype(np.int64)
    settings = np.zeros((len(sides), _COLUMNS), dtype=np.float32)
    settings[:, Setting.DEGRADED] = degraded
    settings[:, Setting.LIGHT] = degraded & (whole[:, 2] < degradation.light)
    settings[:, Setting.BRIGHTNESS] = _within(degradation.brightness, whole[:, 3])
    settings[:, Setting.CONTRAST] = _within(degradation.contrast, whole[:, 4])
    settings[:, Setting.GREY] = degraded & (whole[:, 5] < degradation.grey)
    settings[:, Setting.CAMERA_RESIZE] = camera < stored
    settings[:, Setting.CAMERA_SIDE] = camera
    codes = np.array([REDUCTION_CODES[name] for name in degradation.reductions])
    settings[:, Setting.CAMERA_REDUCTION] = codes[(whole[:, 6] * len(codes)).astype(np.int64)]
    reduction = codes[(whole[:, 7] * len(codes)).astype(np.int64)]
    full = np.full(len(sides), stored)
    first = _draw_round(degradation.first, one, full, camera, settings, Setting.FIRST_ROUND)
    second = _draw_round(degradation.second, two, camera, sides, settings, Setting.SECOND_ROUND)
    events = [Setting.SECOND_ROUND + event for event in (RoundSetting.BLUR, RoundSetting.NOISE, RoundSetting.JPEG)]
    untouched = ~settings[:, [Setting.CAMERA_RESIZE, *events]].any(axis=1)
    exact = untouched & (~degraded | (reduction == REDUCTION_CODES["bicubic"]) | (sides == stored))
    settings[:, Setting.EXACT] = exact
    # A view that is reduced outside is one pixel in the graph, made the cheapest way.
    settings[:, Setting.VIEW_SIDE] = np.where(exact, 1, sides)
    settings[:, Setting.VIEW_REDUCTION] = np.where(exact, REDUCTION_CODES["nearest"], reduction)
    settings[:, Setting.VIEW_RESIZE] = settings[:, Setting.VIEW_SIDE] < camera
    return DegradationDraw(settings, first, second)


def _draw_round(
    wanted: Round,
    uniforms: NDArray[np.float64],
    blurred_sides: NDArray[np.int64],
    noisy_sides: NDArray[np.int64],
    settings: NDArray[np.float32],
    first: Setting,
) -> RoundDraw:
    """Draw a round: write its settings from column `first` on, return its kernels and normals."""
    columns, degraded, grey = settings[:, first:], settings[:, Setting.DEGRADED] > 0, settings[:, Setting.GREY] > 0
    blur, motion, anisotropic, across, along, angle, length, noise, read, shot, place, jpeg, quality = uniforms.T
    columns[:, RoundSetting.BLUR] = degraded & (blur < wanted.blur)
    columns[:, RoundSetting.NOISE] = degraded & (noise < wanted.noise)
    columns[:, RoundSetting.READ_VARIANCE] = _within(wanted.read_noise, read) ** 2
    columns[:, RoundSetting.SHOT_GAIN] = _within(wanted.shot_noise, shot)
    columns[:, RoundSetting.JPEG] = degraded & (jpeg < wanted.jpeg)
    lowest, highest = wanted.quality
    columns[:, RoundSetting.QUALITY] = lowest + (quality * (highest - lowest + 1)).astype(np.int64)
    across, along = _within(wanted.sigma, across), _within(wanted.sigma, along)
    along = np.where(anisotropic < wanted.anisotropic, along, across)
    angle, length = np.pi * angle, _within(wanted.length, length)
    kernels = [np.ones((1, 1), dtype=np.float32)] * len(uniforms)
    for row in np.flatnonzero(columns[:, RoundSetting.BLUR]):
        # A border is mirrored once, so a kernel reaches no farther than the other side.
        largest = 2 * int(blurred_sides[row]) - 1
        if motion[row] < wanted.motion:
            kernels[row] = motion_kernel(length[row], angle[row], largest=largest)
        else:
            kernels[row] = gaussian_kernel(across[row], along[row], angle[row], largest=largest)
    normals = [np.zeros((1, 1, 3), dtype=np.float32)] * len(uniforms)
    for row in np.flatnonzero(columns[:, RoundSetting.NOISE]):
        normals[row] = standard_normals(int(noisy_sides[row]), place[row], grey=bool(grey[row]))
    return RoundDraw(kernels, normals)


def gaussian_kernel(across: float, along: float, angle: float, *, largest: int = 1 << 30) -> NDArray[np.float32]:
    """Return a Gaussian kernel.

    Args:
        across: standard deviation in pixels along the direction of the angle.
        along: standard deviation in pixels at a right angle to it.
        angle: in radians, from the x axis towards the y axis.
        largest: bound of k.

    Returns:
        (k, k) float32, odd k that holds three standard deviations, sum 1.
    """
    x, y = _turned_grid(math.ceil(3 * max(across, along)), angle, largest)
    return _normalised(np.exp(-0.5 * ((x / across) ** 2 + (y / along) ** 2)))


def motion_kernel(length: float, angle: float, *, largest: int = 1 << 30) -> NDArray[np.float32]:
    """Return the kernel of a uniform motion along a line.

    Args:
        length: of the line in pixels, at least 1.
        angle: in radians, from the x axis towards the y axis.
        largest: bound of k.

    Returns:
        (k, k) float32, odd k, sum 1; a pixel's weight falls with its distance from the line, to 0 at one pixel.
    """
    x, y = _turned_grid(math.ceil(length / 2), angle, largest)
    beyond = np.maximum(np.abs(x) - (length - 1) / 2, 0)
    return _normalised(np.maximum(1 - np.hypot(beyond, y), 0))


def standard_normals(side: int, place: float, *, grey: bool = False) -> NDArray[np.float32]:
    """Cut a picture of standard normal numbers out of a fixed row of two million.

    Noise of its own for every picture would cost more than decoding it. What is cut at another place is another
    picture: neighbours in the row are not neighbours in the picture.

    Args:
        side: of the picture in pixels.
        place: 0..1, where to cut.
        grey: one number for the three channels of a pixel.

    Returns:
        (side, side, 3) float32.
    """
    channels = 1 if grey else 3
    count = channels * side * side
    start = int(place * (_NORMALS - count))
    # (channels side side,) -> (side, side, channels)
    normals = _normals()[start : start + count].reshape(side, side, channels)
    return normals.repeat(3, axis=2) if grey else normals


@lru_cache(maxsize=1)
def _normals() -> NDArray[np.float32]:
    normals = np.random.Generator(np.random.Philox(0)).standard_normal(_NORMALS, dtype=np.float32)
    normals.setflags(write=False)
    return normals


def _within(span: Span, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    return span[0] + (span[1] - span[0]) * uniforms


def _turned_grid(radius: int, angle: float, largest: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the pixels around the centre in coordinates turned by the angle: two of (k, k)."""
    radius = min(radius, (largest - 1) // 2)
    places = np.arange(-radius, radius + 1, dtype=np.float64)
    x, y = places[None, :], places[:, None]
    return x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)


def _normalised(kernel: NDArray[np.float64]) -> NDArray[np.float32]:
    return (kernel / kernel.sum()).astype(np.float32)
