"""Frames of a video file with their times, by OpenCV's FFmpeg."""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.sources.picture_files import PICTURE_SUFFIXES
from shards.command import UserError

# FFmpeg opens playlists, which name other files and addresses: nothing is read but the file itself.
os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", "protocol_whitelist;file")
# What is wrong with a file is reported in one line, not by the decoder.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
_MOVING = (".gif", ".apng", ".webp", ".avif", ".avifs")
# Bytes by which text is told from video, and those of text that are no letters.
_HEAD = 4096
_BLANKS = b"\t\n\r\f\x1b"


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
        read: frames read so far, with those passed over.

    Args:
        path: of the file.
        begin: number of the first frame that is given; those before are passed over.

    Raises:
        UserError: the file is missing, is no video, or is cut off so that no frame can be read.
    """

    def __init__(self, path: Path, begin: int = 0) -> None:
        _refuse_no_video(path)
        self.path, self.read = path, 0
        self._begin, self._last = begin, -math.inf
        before = cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        cv2.utils.logging.setLogLevel(before)
        if not self._capture.isOpened():
            raise UserError(f"{path} is no video that can be read, or is cut off; expected one that FFmpeg reads")
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
        while self._capture.grab():
            seconds = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
            # Times that do not grow are those of a damaged file, or of a reader that knows none.
            if not (math.isfinite(seconds) and seconds > self._last):
                seconds = 0.0 if self.read == 0 else self._last + 1 / self.rate
            number, self._last = self.read, seconds
            self.read += 1
            if number < self._begin:
                continue
            done, picture = self._capture.retrieve()
            if done:
                yield Frame(number, seconds, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False))
        self._capture.release()
        if self.read == 0:
            raise UserError(f"{self.path} has no frame that can be read; it is cut off or no video")

    def fault(self) -> str:
        """Return what is wrong with a video whose frames were all asked for, "" where nothing is.

        Some kinds of file name their length alone, from which the number of frames is guessed: frames may be fewer
        than that as long as they last as long.
        """
        missing = self.named / self.rate - self._last
        if self.read < self.named and missing > max(2 / self.rate, 0.01 * self.named / self.rate):
            return f"cut off: {self.read} of {self.named} frames could be read"
        return ""


def _refuse_no_video(path: Path) -> None:
    """Refuse what FFmpeg would take for a video: a photo, a text, whose letters it would show, or a list of files.

    Raises:
        UserError: it is one of these, is empty or cannot be read.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; expected a video")
    if path.suffix.lower() in set(PICTURE_SUFFIXES) - set(_MOVING):
        raise UserError(f"{path} is a photo; expected a video (--photos takes a folder of photos)")
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected a video") from error
    if not head:
        raise UserError(f"{path} is empty; expected a video")
    if all(byte >= ord(" ") or byte in _BLANKS for byte in head):
        raise UserError(f"{path} is no video; expected one that FFmpeg reads")
