"""Picture files to what the network sees, as each protocol prescribes."""

import os
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.models.pictures import Picture, Preparation
from pipeline.alignment.align import TEMPLATES, WARP, WARPS
from pipeline.sources.picture_files import PICTURE_SUFFIXES, is_hidden
from shards.command import UserError
from shards.format import Preprocessing


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
    *,
    native: bool = False,
) -> Picture:
    """Align at the network's size, or at the size that the face has in its photo and then resize to the network's.

    With `low`, reduce to that many pixels and enlarge back.
    """
    form = preprocessing
    framing: Literal["native", "aligned"] = "native" if native else "aligned"
    return Picture(name, path, Preparation(framing, form.size, landmarks, form.template, _warp(form), low))


def whole(
    name: str, path: Path, preprocessing: Preprocessing, low: int | None = None, *, on_template: bool = False
) -> Picture:
    """Resize the whole picture to the network's size; `low` as above.

    With `on_template` it is a face that came aligned, whose five points are then the template's.
    """
    form = preprocessing
    known = on_template and form.template in TEMPLATES
    template = form.template if known else Preparation.template
    return Picture(name, path, Preparation("whole", form.size, template=template, low=low, on_template=known))


def picture_names(folder: Path) -> tuple[list[str], int]:
    """Return the names of the pictures in a folder, sorted, and the number of hidden ones, which are no pictures.

    Nothing if there is no folder.
    """
    listed = os.listdir(folder) if folder.is_dir() else []  # noqa: PTH208 - names alone, of a hundred thousand files
    pictures = [name for name in listed if name.lower().endswith(PICTURE_SUFFIXES)]
    names = sorted(name for name in pictures if not is_hidden(name))
    return names, len(pictures) - len(names)


def _warp(preprocessing: Preprocessing) -> str:
    """Return the warp that the model was trained with; the published one for faces that came aligned."""
    return preprocessing.warp if preprocessing.warp in WARPS.values() else WARP
