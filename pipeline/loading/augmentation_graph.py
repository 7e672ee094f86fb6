"""AdaFace's augmentation, and CVLface's affine one, in DALI operators, for the CPU and for a GPU by the same function.

As in `degradation_graph`, an `if` on a tensor acts picture by picture.
"""

from typing import Any

from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from pipeline.loading.augmentation_draw import Change


def augment(face: DataNode, drawn: DataNode, size: int) -> DataNode:
    """Change faces as was drawn.

    Args:
        face: (S, S, 3) uint8 RGB each, on the device.
        drawn: (columns,) float32 by `Change` each, on the host.
        size: S.

    Returns:
        (S, S, 3) uint8 each.
    """
    face = move(face, drawn)
    face = crop(face, drawn, size)
    face = low_resolution(face, drawn, size)
    if drawn[Change.PHOTOMETRIC] > 0:
        face = photometric(face, drawn, drawn[Change.FIRST])
        face = photometric(face, drawn, drawn[Change.SECOND])
        face = photometric(face, drawn, drawn[Change.THIRD])
    return face


def move(face: DataNode, drawn: DataNode) -> DataNode:
    """Scale, turn and move a face; beyond its border it is black."""
    if drawn[Change.AFFINE] > 0:
        matrix = fn.reshape(drawn[Change.MATRIX : Change.MATRIX + 6], shape=[2, 3])
        face = fn.warp_affine(face, matrix=matrix, inverse_map=False, fill_value=0)
    return face


def crop(face: DataNode, drawn: DataNode, size: int) -> DataNode:
    """Make all but a rectangle black."""
    if drawn[Change.CROP] > 0:
        start = _pair(drawn[Change.TOP], drawn[Change.LEFT])
        shape = _pair(drawn[Change.HEIGHT], drawn[Change.WIDTH])
        part = fn.slice(face, start=start, shape=shape, axes=[0, 1])
        face = fn.slice(part, start=-start, shape=[size, size], axes=[0, 1], out_of_bounds_policy="pad", fill_values=0)
    return face


def low_resolution(face: DataNode, drawn: DataNode, size: int) -> DataNode:
    """Reduce and enlarge back, each with a kernel of its own."""
    if drawn[Change.REDUCED] > 0:
        small = _resize(face, drawn[Change.SIDE], drawn[Change.DOWN])
        face = _resize(small, size, drawn[Change.UP])
    return face


def photometric(face: DataNode, drawn: DataNode, which: DataNode) -> DataNode:
    """Change brightness (0), contrast (1) or saturation (2), as Pillow's `ImageEnhance` does.

    The picture is drawn towards, or away from, black, the mean of its luma, or its luma; levels are cut to whole ones.
    """
    if which < 0.5:
        changed = face * drawn[Change.BRIGHTNESS]
    elif which < 1.5:
        mean = math.floor(fn.reductions.mean(_luma(face), axes=[0, 1, 2], keep_dims=True) + 0.5)
        changed = mean + (face - mean) * drawn[Change.CONTRAST]
    else:
        luma = fn.cast(_luma(face), dtype=types.DALIDataType.FLOAT)
        changed = luma + (face - luma) * drawn[Change.SATURATION]
    return fn.cast(math.floor(math.clamp(changed, 0.0, 255.0)), dtype=types.DALIDataType.UINT8)


def _luma(face: DataNode) -> DataNode:
    """Return 0.299 R + 0.587 G + 0.114 B: (S, S, 3) -> (S, S, 1), uint8."""
    luma: Any = fn.color_space_conversion(
        face, image_type=types.DALIImageType.RGB, output_type=types.DALIImageType.GRAY
    )
    return luma


def _pair(down: DataNode, across: DataNode) -> DataNode:
    return fn.cast(fn.stack(down, across), dtype=types.DALIDataType.INT32)


def _resize(face: DataNode, side: DataNode | int, kernel: DataNode) -> DataNode:
    code = fn.cast(kernel, dtype=types.DALIDataType.INT32)
    resized: Any = fn.resize(
        face,
        resize_x=side,
        resize_y=side,
        interp_type=fn.reinterpret(code, dtype=types.DALIDataType.INTERP_TYPE),
        antialias=False,
    )
    return resized
