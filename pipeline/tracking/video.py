"""Frames of a video file with their times, by OpenCV."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from shards.command import UserError


@dataclass(frozen=True)
class Frame:
    """A frame of a video.

    Attributes:
        number: counted from 0.
        seconds: at which it is shown; larger than that of the frame before.
        pixels: (H, W, 3) uint8 RGB, upright: a rotation that the file names is applied.
    """

    number: int
    seconds: float
    pixels: NDArray[np.uint8]


class Video:
    """A video file, read frame by frame; as an iterator it gives `Frame`s once.

    Attributes:
        path: of the file.
        rate: frames a second that the file names.
        named: number of frames that the file says it has; 0 where it says nothing.
        read: frames given so far.

    Raises:
        UserError: the file is missing, is no video, or is cut off so that no frame can be read.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise UserError(f"no file {path}; expected a video")
        self.path, self.read = path, 0
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            raise UserError(f"{path} is no video that can be read, or is cut off; expected one that OpenCV reads")
        self._capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        rate = self._capture.get(cv2.CAP_PROP_FPS)
        # Some files name a rate of 0, of infinity, or their clock's ticks.
        self.rate = rate if math.isfinite(rate) and 0 < rate <= 1000 else 25.0
        count = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.named = int(count) if math.isfinite(count) and count > 0 else 0

    def __iter__(self) -> Iterator[Frame]:
        """Give the frames in their order.

        Raises:
            UserError: there is none.
        """
        last = -math.inf
        while True:
            done, picture = self._capture.read()
            if not done:
                break
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Times that do not grow are those of a damaged file, or of a reader that knows none.
            if not (math.isfinite(seconds) and seconds > last):
                seconds = 0.0 if self.read == 0 else last + 1 / self.rate
            last = seconds
            frame = Frame(self.read, seconds, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False))
            self.read += 1
            yield frame
        self._capture.release()
        if self.read == 0:
            raise UserError(f"{self.path} has no frame that can be read; it is cut off or no video")

    def fault(self) -> str:
        """Return what is wrong with a video whose frames were all asked for, "" where nothing is."""
        if self.read < self.named:
            return f"cut off: {self.read} of {self.named} frames could be read"
        return ""
