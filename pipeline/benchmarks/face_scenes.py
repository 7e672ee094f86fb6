"""Scenes with faces of a known width and landmarks, for measuring a face detector."""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.pixels.photo import decode
from pipeline.sources.datasets import orl_photos
from pipeline.synthetic.identity import make_identity
from pipeline.synthetic.pose import Shot
from pipeline.synthetic.render import background, photo_generator, render
from pipeline.synthetic.walks import SIDES_OF_EYES_TO_MOUTH

WIDTH, HEIGHT = 1280, 720
_COLUMNS, _ROWS = 4, 3
FACES = _COLUMNS * _ROWS
"""Faces in a scene."""


@dataclass(frozen=True)
class Scene:
    """A picture (720, 1280, 3) uint8 RGB, the landmarks (12, 5, 2) of its faces, and the names of their people."""

    picture: NDArray[np.uint8]
    landmarks: NDArray[np.float64]
    people: tuple[str, ...]


Portrait = tuple[str, NDArray[np.uint8], NDArray[np.float64]]
"""A person's name, photo (H, W, 3) uint8 RGB and landmarks (5, 2)."""


def orl_portrait(rng: np.random.Generator, width: float) -> Portrait:
    """Return a photo of the ORL faces, all but the first of each person, of any width."""
    del width
    photos = [photo for photo in orl_photos([f"s{person}" for person in range(1, 41)]) if photo[1].stem != "1"]
    person, path, landmarks = photos[int(rng.integers(len(photos)))]
    return person, cv2.cvtColor(decode(path.read_bytes()), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False), landmarks


def rendered_portrait(rng: np.random.Generator, width: float) -> Portrait:
    """Return a rendered person whose face is about as wide as asked for."""
    number = int(rng.integers(1_000_000))
    person = make_identity(0, number)
    eyes = max(4.0, width / (SIDES_OF_EYES_TO_MOUTH * person.mouth_drop))
    shot = Shot(round(5 * eyes), round(6 * eyes), eyes, (2.5 * eyes, 2.6 * eyes), wear=0.5)
    photo = render(person, shot, photo_generator(0, number, 0))
    return f"r{number}", photo.picture, photo.landmarks


PORTRAITS: dict[str, Callable[[np.random.Generator, float], Portrait]] = {
    "ORL": orl_portrait,
    "rendered": rendered_portrait,
}


def _plain(picture: NDArray[np.uint8], width: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    del width, rng
    return picture


def _dark(picture: NDArray[np.uint8], width: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A third of the light, with a sensor's noise."""
    del width
    return (picture * np.float32(0.33) + rng.normal(0, 4, picture.shape)).clip(0, 255).astype(np.uint8)


def _blurred(picture: NDArray[np.uint8], width: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Out of focus by a twelfth of a face's width."""
    del rng
    return cv2.GaussianBlur(picture, (0, 0), width / 12).astype(np.uint8, copy=False)


CONDITIONS = {"plain": _plain, "dark": _dark, "blurred": _blurred}


def scene(kind: str, condition: str, width: float, seed: int) -> Scene:
    """Paste twelve faces of one width into clutter.

    Args:
        kind: a name in `PORTRAITS`.
        condition: a name in `CONDITIONS`.
        width: of the faces in pixels: 2.2 times the distance from the eyes to the mouth.
        seed: of everything.
    """
    rng = np.random.default_rng(np.random.SeedSequence((seed, round(width))))
    picture = clutter(rng, WIDTH, HEIGHT)
    points, people = [], []
    for place in range(FACES):
        name, photo, landmarks = PORTRAITS[kind](rng, width)
        distance = float(np.linalg.norm(landmarks[:2].mean(axis=0) - landmarks[3:].mean(axis=0)))
        scale = width / (SIDES_OF_EYES_TO_MOUTH * distance)
        size = tuple(max(1, round(side * scale)) for side in photo.shape[1::-1])
        face = cv2.resize(photo, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
        cell = WIDTH // _COLUMNS, HEIGHT // _ROWS
        free = [max(1, side - pasted) for side, pasted in zip(cell, size, strict=True)]
        left = cell[0] * (place % _COLUMNS) + int(rng.integers(free[0]))
        top = cell[1] * (place // _COLUMNS) + int(rng.integers(free[1]))
        inside = picture[top : top + size[1], left : left + size[0]]
        inside[:] = face[: inside.shape[0], : inside.shape[1]]
        stretch = np.array(size) / photo.shape[1::-1]
        points.append((landmarks + 0.5) * stretch - 0.5 + (left, top))
        people.append(name)
    return Scene(CONDITIONS[condition](picture, width, rng), np.array(points), tuple(people))


def clutter(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Paint a picture (height, width, 3) without a face: patches, boxes, lines and texture."""
    picture = background(rng, width, height)
    for _ in range(40):
        (left, top), colour = rng.integers(0, (width, height)).tolist(), rng.integers(0, 256, 3).tolist()
        right, bottom = (int(value) for value in (left, top) + rng.integers(5, 120, 2))
        if rng.random() < 0.5:
            cv2.rectangle(picture, (left, top), (right, bottom), colour, int(rng.choice([-1, 1, 3])))
        else:
            cv2.line(picture, (left, top), (right, bottom), colour, int(rng.integers(1, 4)), cv2.LINE_AA)
    texture = cv2.resize(rng.normal(0, 8, (height // 2, width // 2, 3)).astype(np.float32), (width, height))
    return (picture + texture).clip(0, 255).astype(np.uint8)
