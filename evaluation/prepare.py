"""Picture files to what the network sees, as each protocol prescribes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.pictures import Picture, PictureError, read_picture
from pipeline.align import TEMPLATES, DegenerateLandmarks, align, native_size
from pipeline.resample import reduce_and_enlarge, resize
from shards.command import UserError
from shards.format import Preprocessing

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


def require_template(preprocessing: Preprocessing, protocol: str) -> None:
    """Refuse a checkpoint whose template this program does not know, or has other points for.

    Raises:
        UserError: naming both.
    """
    known = TEMPLATES.get(preprocessing.template)
    if known is None:
        raise UserError(
            f"{protocol} aligns faces, but the checkpoint was trained with template {preprocessing.template!r}; "
            f"expected one of {', '.join(TEMPLATES)}"
        )
    if known.points != preprocessing.points:
        raise UserError(
            f"the checkpoint's template {preprocessing.template!r} has points {preprocessing.points}, this program's "
            f"has {known.points}; evaluate with the program that trained it"
        )


def aligned(
    name: str,
    path: Path,
    landmarks: NDArray[np.float64],
    preprocessing: Preprocessing,
    low: int | None = None,
) -> Picture:
    """Align at the network's size; with `low`, reduce to that many pixels and enlarge back."""

    def load() -> NDArray[np.uint8]:
        face = _align(path, landmarks, preprocessing.size, preprocessing.template)
        return face if low is None else reduce_and_enlarge(face, low)

    return Picture(name, load)


def aligned_at_native_size(
    name: str, path: Path, landmarks: NDArray[np.float64], preprocessing: Preprocessing
) -> Picture:
    """Align at the size at which the face stands in its photo, then resize to the network's."""

    def load() -> NDArray[np.uint8]:
        native = native_size(landmarks)
        if native < 1:
            raise PictureError("landmarks degenerate")
        face = _align(path, landmarks, native, preprocessing.template)
        return resize(face, preprocessing.size, preprocessing.size)

    return Picture(name, load)


def whole(name: str, path: Path, preprocessing: Preprocessing) -> Picture:
    """Resize the whole picture to the network's size."""
    return Picture(name, lambda: resize(read_picture(path), preprocessing.size, preprocessing.size))


def whole_folder(preprocessing: Preprocessing, folder: Path, names: Sequence[str]) -> list[Picture]:
    """Resize pictures of a folder whole; their names carry the folder's."""
    return [whole(f"{folder.name}/{name}", folder / name, preprocessing) for name in names]


def _align(path: Path, landmarks: NDArray[np.float64], size: int, template: str) -> NDArray[np.uint8]:
    try:
        return align(read_picture(path), landmarks, size, template)
    except DegenerateLandmarks as error:
        raise PictureError("landmarks degenerate") from error
