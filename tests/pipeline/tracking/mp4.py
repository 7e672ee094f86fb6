"""Small MP4 files, and what OpenCV cannot write into them: frames of unequal length, and a turned picture."""

import struct
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")
_MATRIX = 44


def write_mp4(path: Path, frames: int = 20, rate: float = 10) -> None:
    """Write a video whose upper left corner is white and whose grey tells the number of the frame."""
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), rate, (160, 96))
    assert writer.isOpened()
    for number in range(frames):
        picture = np.full((96, 160, 3), 10 * number, dtype=np.uint8)
        picture[:32, :32] = 255
        writer.write(picture)
    writer.release()


def with_lengths(data: bytes, lengths: Sequence[tuple[int, float]]) -> bytes:
    """Give frames other lengths: so many frames of so many times the length that they had."""
    at = data.index(b"stts") - 4
    size, _, _, count, _, delta = struct.unpack(">I4sIIII", data[at : at + 24])
    assert count == 1
    entries = b"".join(struct.pack(">II", number, round(delta * factor)) for number, factor in lengths)
    box = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(lengths)) + entries
    changed = bytearray(data[:at] + box + data[at + size :])
    for name in _PARENTS:
        # The index lies behind the frames, whose places do not change.
        place = changed.index(name) - 4
        (before,) = struct.unpack(">I", changed[place : place + 4])
        changed[place : place + 4] = struct.pack(">I", before + len(box) - size)
    return bytes(changed)


def turned(data: bytes) -> bytes:
    """Have the picture shown turned by a quarter to the right."""
    at = data.index(b"tkhd") + _MATRIX
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 96 << 16, 0, 1 << 30)
    return data[:at] + matrix + data[at + 36 :]
