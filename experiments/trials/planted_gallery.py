"""Galleries of aligned faces into which bad photos are put on purpose."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels.resample import reduce_and_enlarge

Face = NDArray[np.uint8]
KINDS = ("small", "blurred", "mislabelled", "doubled")
SMALL = (8, 10, 12, 14, 16)
"""Sides in pixels of small photos."""


@dataclass(frozen=True)
class Split:
    """Which photos are enrolled, kept for planting, and used as probes, as rows of a list of photos.

    Attributes:
        gallery: of enrolled people.
        spare: other photos of enrolled people, to plant.
        mated: probes of enrolled people.
        strangers: probes of everybody else.
        foreign: photos of strangers, to plant.
    """

    gallery: list[int]
    spare: list[int]
    mated: list[int]
    strangers: list[int]
    foreign: list[int]


def split(people: Sequence[str], seed: int, *, photos: int = 4) -> Split:
    """Enrol half of the people with some photos each, keep two photos of each to plant, and probe with the others."""
    draw = np.random.default_rng(seed)
    names = draw.permutation(sorted(set(people)))
    parts: dict[str, list[int]] = {name: [] for name in ("gallery", "spare", "mated", "strangers", "foreign")}
    for place, name in enumerate(names):
        rows = draw.permutation([row for row, person in enumerate(people) if person == name]).tolist()
        if place < len(names) // 2:
            parts["gallery"] += rows[:photos]
            parts["spare"] += rows[photos : photos + 2]
            parts["mated"] += rows[photos + 2 :]
        else:
            parts["foreign"] += rows[:2]
            parts["strangers"] += rows[2:]
    return Split(**parts)


def write_gallery(
    folder: Path, faces: Sequence[Face], people: Sequence[str], parts: Split, seed: int, *, each: int
) -> tuple[dict[str, str], dict[str, str]]:
    """Write a gallery with bad photos.

    Args:
        folder: of the people's folders.
        faces: aligned, of all photos.
        people: of all photos.
        parts: what is enrolled and what may be planted.
        seed: of the draws.
        each: bad photos of each kind; of the small ones three are of one person.

    Returns:
        kind by path, below the folder, of the photos put in; and the original of each copy, likewise by path.
    """
    draw = np.random.default_rng([seed, 1])
    for row in parts.gallery:
        _write(folder / people[row] / f"{row}.png", faces[row])
    planted: dict[str, str] = {}
    originals: dict[str, str] = {}

    def plant(kind: str, person: str, name: str, face: Face) -> None:
        _write(folder / person / name, face)
        planted[f"{person}/{name}"] = kind

    spare = draw.permutation(parts.spare).tolist()
    one = people[spare[0]]
    for number in range(each):
        own = [row for row in spare if people[row] == one] if number < 3 else spare
        row = own[number % len(own)]
        side = int(draw.choice(SMALL))
        plant("small", people[row], f"small-{number}.png", reduce_and_enlarge(faces[row], side))
    for number, row in enumerate(draw.permutation(parts.spare)[:each].tolist()):
        # Of a face 112 pixels wide: what is out of focus by 3 to 5 pixels.
        spread = float(draw.uniform(3, 5)) * len(faces[row]) / 112
        blurred = cv2.GaussianBlur(faces[row], (0, 0), spread).astype(np.uint8)
        plant("blurred", people[row], f"blurred-{number}.png", blurred)
    for number in range(each):
        row = int(draw.choice(parts.foreign if number % 2 else parts.spare))
        others = sorted({people[own] for own in parts.gallery} - {people[row]})
        plant("mislabelled", str(draw.choice(others)), f"mislabelled-{number}.png", faces[row])
    for number, row in enumerate(draw.permutation(parts.gallery)[:each].tolist()):
        others = sorted({people[own] for own in parts.gallery} - {people[row]})
        person = people[row] if number % 2 else str(draw.choice(others))
        plant("doubled", person, f"doubled-{number}.jpg", faces[row])
        originals[f"{person}/doubled-{number}.jpg"] = f"{people[row]}/{row}.png"
    return planted, originals


def _write(path: Path, face: Face) -> None:
    """Write a face, RGB; as JPEG of quality 80 where its name says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    settings = [cv2.IMWRITE_JPEG_QUALITY, 80] if path.suffix == ".jpg" else []
    assert cv2.imwrite(str(path), cv2.cvtColor(face, cv2.COLOR_RGB2BGR), settings)
