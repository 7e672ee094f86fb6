"""Pictures by name, and reading their files."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray


class PictureError(Exception):
    """A picture that cannot be used; the message is the reason."""


@dataclass(frozen=True)
class Picture:
    """A picture by name, and how to get it.

    Attributes:
        name: as reports name it, relative to the data set's folder.
        load: returns (S, S, 3) uint8 RGB at the network's size; raises `PictureError`.
    """

    name: str
    load: Callable[[], NDArray[np.uint8]]


def read_picture(path: Path) -> NDArray[np.uint8]:
    """Read a picture file, its pixels as stored: (H, W, 3) uint8 RGB.

    Raises:
        PictureError: missing or unreadable.
    """
    try:
        data = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    except FileNotFoundError as error:
        raise PictureError("missing") from error
    except OSError as error:
        raise PictureError(f"unreadable ({error.strerror})") from error
    try:
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION) if data.size else None
    except cv2.error:
        picture = None
    if picture is None:
        raise PictureError("unreadable")
    return cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
