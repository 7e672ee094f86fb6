"""The degradation in DALI operators, for the CPU and for a GPU by the same function.

DALI's AutoGraph reads these functions: an `if` on a tensor acts picture by picture, so that a picture whose coin did
not fall passes untouched and costs nothing.
"""

from dataclasses import dataclass
from typing import Any

from nvidia.dali import fn, math, types
from nvidia.dali.data_node import DataNode

from pipeline.loading.degradation_draw import RoundSetting, Setting

_MIDDLE_LEVEL = 128.0


@dataclass(frozen=True)
class DegradationInputs:
    """The graph's nodes for a `DegradationDraw`: its settings, and kernels and normals of both rounds.

    The settings stay on the host, where DALI reads arguments; kernels and normals lie on the device.
    """

    settings: DataNode
    first_kernel: DataNode
    first_normals: DataNode
    second_kernel: DataNode
    second_normals: DataNode


def degrade(face: DataNode, inputs: DegradationInputs) -> tuple[DataNode, DataNode]:
    """Degrade faces and reduce them to a view.

    Args:
        face: (S, S, 3) uint8 RGB each, on the device.
        inputs: of the degradation.

    Returns:
        The face, (S, S, 3) uint8 each, with all that comes before it is resized; and the view, (s, s, 3) uint8 each.
        Where the draw says exact, the view means nothing: it is to be reduced from the face.
    """
    settings = inputs.settings
    face = light(face, settings)
    face = grey(face, settings)
    face = blur(face, inputs.first_kernel, settings, Setting.FIRST_ROUND)
    if settings[Setting.CAMERA_RESIZE] > 0:
        taken = resize(face, settings[Setting.CAMERA_SIDE], settings[Setting.CAMERA_REDUCTION])
        taken = noise_and_jpeg(taken, inputs.first_normals, settings, Setting.FIRST_ROUND)
    else:
        face = noise_and_jpeg(face, inputs.first_normals, settings, Setting.FIRST_ROUND)
        taken = face
    view = blur(taken, inputs.second_kernel, settings, Setting.SECOND_ROUND)
    if settings[Setting.VIEW_RESIZE] > 0:
        view = resize(view, settings[Setting.VIEW_SIDE], settings[Setting.VIEW_REDUCTION])
    view = noise_and_jpeg(view, inputs.second_normals, settings, Setting.SECOND_ROUND)
    return face, view


def light(picture: DataNode, settings: DataNode) -> DataNode:
    """Change brightness and contrast: brightness x (128 + contrast x (level - 128)), clamped to 0..255."""
    if settings[Setting.LIGHT] > 0:
        picture = fn.brightness_contrast(
            picture,
            brightness=settings[Setting.BRIGHTNESS],
            contrast=settings[Setting.CONTRAST],
            contrast_center=_MIDDLE_LEVEL,
        )
    return picture


def grey(picture: DataNode, settings: DataNode) -> DataNode:
    """Replace the three channels by their luma 0.299 R + 0.587 G + 0.114 B (ITU-R BT.601)."""
    if settings[Setting.GREY] > 0:
        luma = fn.color_space_conversion(
            picture, image_type=types.DALIImageType.RGB, output_type=types.DALIImageType.GRAY
        )
        picture = fn.color_space_conversion(
            luma, image_type=types.DALIImageType.GRAY, output_type=types.DALIImageType.RGB
        )
    return picture


def blur(picture: DataNode, kernel: DataNode, settings: DataNode, first: int) -> DataNode:
    """Correlate with a kernel; the border is mirrored without repeating the outermost pixels."""
    if settings[first + RoundSetting.BLUR] > 0:
        picture = fn.filter(picture, kernel, border="reflect_101")
    return picture


def resize(picture: DataNode, side: DataNode, reduction: DataNode) -> DataNode:
    """Resize to a side in pixels with a kernel by its `REDUCTION_CODES`."""
    code = fn.cast(reduction, dtype=types.DALIDataType.INT32)
    resized: Any = fn.resize(
        picture,
        resize_x=side,
        resize_y=side,
        interp_type=fn.reinterpret(code, dtype=types.DALIDataType.INTERP_TYPE),
        antialias=True,
    )
    return resized


def noise_and_jpeg(picture: DataNode, normals: DataNode, settings: DataNode, first: int) -> DataNode:
    """Add a sensor's noise, then compress.

    The noise is normal with the variance shot gain x level + read variance, the common approximation of a sensor's
    Poisson and Gaussian noise (Foi et al., "Practical Poissonian-Gaussian noise modeling and fitting for
    single-image raw-data", 2008, equation 3).
    """
    if settings[first + RoundSetting.NOISE] > 0:
        level = fn.cast(picture, dtype=types.DALIDataType.FLOAT)
        variance = level * settings[first + RoundSetting.SHOT_GAIN] + settings[first + RoundSetting.READ_VARIANCE]
        noisy = math.clamp(level + normals * math.sqrt(variance), 0.0, 255.0)
        picture = fn.cast(noisy, dtype=types.DALIDataType.UINT8)
    if settings[first + RoundSetting.JPEG] > 0:
        quality = fn.cast(settings[first + RoundSetting.QUALITY], dtype=types.DALIDataType.INT32)
        picture = fn.jpeg_compression_distortion(picture, quality=quality)
    return picture
