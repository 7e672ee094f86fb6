"""The random parameters of the augmentation, drawn on the host: a function of seed, step, row and photo."""

from collections.abc import Sequence
from enum import IntEnum
from itertools import permutations

import numpy as np
from numpy.typing import NDArray

from pipeline.loading.affine_draw import in_dali_pixels
from pipeline.sampling.augmentation import Augmentation, within
from pipeline.sampling.random_streams import Stream, generator

_TRIES = 10
_EVENTS = 11
_KERNELS = np.array([0, 1, 2, 3, 4])
"""DALI's numbers of nearest, linear, cubic, Lanczos 3 and triangular, the kin of OpenCV's kernels that AdaFace draws
from: nearest (whose pixels are half a pixel off), linear, cubic, Lanczos 4, area. As there, none but the last is
widened by the factor of reduction."""
_ORDERS = np.array(list(permutations(range(3))))


class Change(IntEnum):
    """The columns of what the graph takes for each photo; an event is 1 or 0, a length is in pixels."""

    CROP = 0
    TOP = 1
    LEFT = 2
    HEIGHT = 3
    WIDTH = 4
    REDUCED = 5
    SIDE = 6
    DOWN = 7
    UP = 8
    PHOTOMETRIC = 9
    FIRST = 10
    SECOND = 11
    THIRD = 12
    BRIGHTNESS = 13
    CONTRAST = 14
    SATURATION = 15
    AFFINE = 16
    MATRIX = 17
    """The first of six columns, row by row: from DALI's pixels of the face to those of the result."""


def draw_augmentation(
    augmentation: Augmentation,
    groups: Sequence[int],
    *,
    size: int,
    seed: int,
    step: int,
    first_row: int,
    rows: int,
    global_batch: int,
    affine: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Draw what happens to the photos of some rows of the global batch.

    Args:
        augmentation: the settings.
        groups: for each of V photos of a row its group; photos of a group are the same photo, and are changed alike.
        size: side of the photos in pixels.
        seed: of the run.
        step: number of the step.
        first_row: place of the first row in the global batch.
        rows: their number B.
        global_batch: rows of all ranks.
        affine: (V B, 2, 3) of `draw_affine`; None where no face is moved.

    Returns:
        (V B, columns) float32 by `Change`, photo after photo of the rows.
    """
    shape = (global_batch, max(groups) + 1, _EVENTS + 4 * _TRIES)
    mine = generator(seed, Stream.AUGMENTATION, step).random(shape)[first_row : first_row + rows]
    # (B, V, numbers) -> (V B, numbers)
    uniforms = mine[:, list(groups)].swapaxes(0, 1).reshape(-1, shape[2])
    crop, low, light, side, down, up, order, *factors = uniforms[:, : _EVENTS - 1].T
    drawn = np.zeros((len(uniforms), Change.MATRIX + 6), dtype=np.float32)
    drawn[:, Change.CROP] = crop < augmentation.crop
    drawn[:, Change.TOP : Change.WIDTH + 1] = rectangles(augmentation, size, uniforms[:, _EVENTS:])
    drawn[:, Change.REDUCED] = low < augmentation.low_resolution
    drawn[:, Change.SIDE] = np.maximum(np.floor(within(augmentation.side, side) * size), 1)
    for column, numbers in ((Change.DOWN, down), (Change.UP, up)):
        drawn[:, column] = _KERNELS[(numbers * len(_KERNELS)).astype(np.int64)]
    drawn[:, Change.PHOTOMETRIC] = light < augmentation.photometric
    drawn[:, Change.FIRST : Change.THIRD + 1] = _ORDERS[(order * len(_ORDERS)).astype(np.int64)]
    span = (1 - augmentation.strength, 1 + augmentation.strength)
    for column, numbers in zip((Change.BRIGHTNESS, Change.CONTRAST, Change.SATURATION), factors, strict=True):
        drawn[:, column] = within(span, numbers)
    if affine is not None:
        drawn[:, Change.AFFINE] = (affine != np.eye(2, 3)).any(axis=(1, 2))
        drawn[:, Change.MATRIX :] = in_dali_pixels(affine, size).reshape(-1, 6)
    return drawn


def rectangles(augmentation: Augmentation, size: int, uniforms: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return a rectangle for each row of numbers, as torchvision's RandomResizedCrop draws one.

    Area and the logarithm of the aspect ratio are uniform; of ten tries the first counts that fits into the picture.
    Where none does, it is the whole picture.

    Args:
        augmentation: the settings.
        size: side of the picture in pixels.
        uniforms: (N, 40) numbers 0..1.

    Returns:
        (N, 4) int64: top, left, height, width.
    """
    # (N, 40) -> four of (N, 10)
    area, aspect, down, across = np.split(uniforms, 4, axis=1)
    area = within(augmentation.area, area) * size * size
    least, most = np.log(augmentation.aspect)
    ratio = np.exp(within((least, most), aspect))
    width, height = (np.rint(np.sqrt(part)).astype(np.int64) for part in (area * ratio, area / ratio))
    fits = (width > 0) & (width <= size) & (height > 0) & (height <= size)
    top, left = (
        (number * (size - length + 1)).astype(np.int64) for number, length in ((down, height), (across, width))
    )
    tries = np.stack([top, left, height, width], axis=2)
    chosen = tries[np.arange(len(tries)), fits.argmax(axis=1)]
    return np.where(fits.any(axis=1, keepdims=True), chosen, [0, 0, size, size])
