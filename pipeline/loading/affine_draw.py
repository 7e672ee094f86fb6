"""CVLface's affine augmentation, drawn on the host: a function of seed, step, row and photo.

A face is turned about its middle, scaled, and moved as far as its border allows and a little farther
(`GridSampleAugmenter` of CVLface; mirroring is apart, see `Views.mirror`). What happens to a face's pixels happens to
its five points.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pipeline.sampling.augmentation import Augmentation, within
from pipeline.sampling.random_streams import Stream, generator

_NUMBERS = 9


def draw_affine(
    augmentation: Augmentation,
    groups: Sequence[int],
    *,
    seed: int,
    step: int,
    first_row: int,
    rows: int,
    global_batch: int,
) -> NDArray[np.float64]:
    """Draw where the faces of some rows of the global batch go; the arguments are those of `draw_augmentation`.

    Returns:
        (V B, 2, 3) from places in a face to places in the result, x and y in units of the side; of a face that stays as
        it is the identity.
    """
    shape = (global_batch, max(groups) + 1, _NUMBERS)
    mine = generator(seed, Stream.AFFINE, step).random(shape)[first_row : first_row + rows]
    # (B, V, numbers) -> (V B, numbers)
    uniforms = mine[:, list(groups)].swapaxes(0, 1).reshape(-1, _NUMBERS)
    matrices = affine_matrices(augmentation, uniforms[:, 1:])
    matrices[uniforms[:, 0] >= augmentation.affine] = np.eye(2, 3)
    return matrices


def affine_matrices(augmentation: Augmentation, uniforms: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the transform of each row of numbers.

    Args:
        augmentation: the settings.
        uniforms: (N, 8) numbers 0..1: share of the way across and down, their signs, scale, whether and how far it is
            turned, share of the way beyond the border.

    Returns:
        (N, 2, 3) float64, x and y in units of the side.
    """
    across, down, left, up, size, coin, turn, beyond = uniforms.T
    scale = within(augmentation.scale, size)
    largest = np.deg2rad(augmentation.largest_angle)
    angle = np.where(coin < augmentation.rotation, within((-largest, largest), turn), 0.0)
    # Half of what the scaled face leaves free or loses, and a share of its own side.
    room = (1 - scale + beyond * augmentation.offset * scale) / 2
    cosine, sine = scale * np.cos(angle), scale * np.sin(angle)
    shift_x = room * across * np.where(left < 0.5, 1, -1)
    shift_y = room * down * np.where(up < 0.5, 1, -1)
    # About the middle of the picture, which is at 1/2.
    first = np.stack([cosine, sine, (1 - cosine - sine) / 2 + shift_x], axis=1)
    second = np.stack([-sine, cosine, (1 + sine - cosine) / 2 + shift_y], axis=1)
    return np.stack([first, second], axis=1)


def in_dali_pixels(matrices: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """Return transforms as DALI's warp takes them: (N, 2, 3) from pixels to pixels, whose middles are at n + 1/2.

    Args:
        matrices: (N, 2, 3), x and y in units of the side; place n / size is the middle of pixel n.
        size: side of the faces in pixels.
    """
    moved = matrices.copy()
    moved[:, :, 2] = matrices[:, :, 2] * size + 0.5 - matrices[:, :, :2].sum(axis=2) / 2
    return moved


def moved_points(points: NDArray[np.float32], matrices: NDArray[np.float64]) -> NDArray[np.float32]:
    """Take points (..., 5, 2) through transforms (..., 2, 3), both in units of the side: (..., 5, 2) float32."""
    moved = points @ matrices[..., :2].swapaxes(-1, -2) + matrices[..., None, :, 2]
    return np.asarray(moved, dtype=np.float32)
