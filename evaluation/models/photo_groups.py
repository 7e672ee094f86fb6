"""Pictures grouped by the photo that they show, so that each photo is read and aligned once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation.models.pictures import Picture


@dataclass
class Shown:
    """A photo in one framing, and the pictures that show it, in full and reduced.

    Attributes:
        picture: the first of them.
        rows: of the result, by the side to which the picture is reduced.
    """

    picture: Picture
    rows: dict[int | None, list[int]] = field(default_factory=dict)


def grouped(pictures: Sequence[Picture]) -> list[Shown]:
    """Group pictures of the same file in the same framing, in the order in which each first comes."""
    photos: dict[tuple[Path, bytes], Shown] = {}
    for row, picture in enumerate(pictures):
        key = (picture.path, picture.preparation.framing_key())
        photo = photos.setdefault(key, Shown(picture))
        photo.rows.setdefault(picture.preparation.low, []).append(row)
    return list(photos.values())


def chunks(photos: list[Shown], size: int) -> Iterator[list[Shown]]:
    """Cut photos into chunks that show at least `size` pictures each, but for the last."""
    chunk: list[Shown] = []
    shown = 0
    for photo in photos:
        chunk.append(photo)
        shown += len(photo.rows)
        if shown >= size:
            yield chunk
            chunk, shown = [], 0
    if chunk:
        yield chunk
