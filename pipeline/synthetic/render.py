"""Renderer of a person's photo and its five true landmarks."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.face import Painter
from pipeline.synthetic.identity import PHOTO_STREAM, Identity
from pipeline.synthetic.pose import Pose, Shot

# A face is drawn with at least this many pixels between the eyes and then reduced as a camera would.
_SMALLEST_DRAWN_EYE_DISTANCE = 36.0
_NOISE_SIDE = 1024


@dataclass(frozen=True)
class Photo:
    """A rendered picture (H, W, 3) uint8 RGB and its (5, 2) float64 landmarks x, y in pixels."""

    picture: NDArray[np.uint8]
    landmarks: NDArray[np.float64]


def photo_generator(seed: int, identity: int, photo: int) -> np.random.Generator:
    """Return the random numbers of one photo, the same whatever else is rendered."""
    return np.random.default_rng(np.random.SeedSequence((seed, PHOTO_STREAM, identity, photo)))


def render(person: Identity, shot: Shot, rng: np.random.Generator) -> Photo:
    """Take a photo of a person: pose, light, expression, hair line, background and noise are the photo's."""
    factor = max(1, int(np.ceil(_SMALLEST_DRAWN_EYE_DISTANCE / shot.eye_distance)))
    pose = Pose.draw(rng, shot, factor)
    picture = background(rng, shot.width * factor, shot.height * factor)
    painter = Painter(picture, person, pose, rng)
    painter.paint()
    picture = light(picture, rng, shot.wear)
    if factor > 1:
        picture = cv2.resize(picture, (shot.width, shot.height), interpolation=cv2.INTER_AREA).astype(np.uint8)
    # A pixel's centre is at +0.5 in both grids.
    landmarks = (pose.landmarks(person) + 0.5) / factor - 0.5
    return Photo(camera(picture, rng, shot.wear), landmarks)


def background(rng: np.random.Generator, width: int, height: int) -> NDArray[np.uint8]:
    """Paint a soft scene: a few coloured patches, blurred by being drawn small and enlarged."""
    small = np.empty((12, 12, 3), np.uint8)
    small[:] = rng.integers(30, 226, 3)
    for _ in range(int(rng.integers(1, 6))):
        x, y = rng.integers(0, 12, 2)
        w, h = rng.integers(2, 9, 2)
        small[y : y + h, x : x + w] = rng.integers(10, 246, 3)
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR).astype(np.uint8)


def light(picture: NDArray[np.uint8], rng: np.random.Generator, wear: float) -> NDArray[np.uint8]:
    """Light the scene from one side, with a gain and a colour of its own."""
    angle = rng.uniform(0, 2 * np.pi)
    slope = min(0.75, 0.35 * wear) * rng.uniform(0, 1)
    y, x = np.mgrid[-1:1:8j, -1:1:8j]
    shade = 1 + slope * (np.cos(angle) * x + np.sin(angle) * y)
    gain = np.exp(rng.normal(0, 0.13 * wear)) * np.exp(rng.normal(0, 0.045 * wear, 3))
    small = (shade[..., None] * gain).astype(np.float32)
    field = cv2.resize(small, picture.shape[1::-1], interpolation=cv2.INTER_LINEAR)
    return cv2.multiply(picture, field, dtype=cv2.CV_8U).astype(np.uint8)


def camera(picture: NDArray[np.uint8], rng: np.random.Generator, wear: float) -> NDArray[np.uint8]:
    """Blur and add sensor noise."""
    sigma = abs(rng.normal(0, 0.5 * wear))
    if sigma > 0.3:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma).astype(np.uint8)
    height, width = picture.shape[:2]
    top, left = rng.integers(0, _NOISE_SIDE, 2)
    texture = _noise_texture()
    rows, columns = (np.arange(n) % _NOISE_SIDE for n in (height, width))
    if height <= _NOISE_SIDE and width <= _NOISE_SIDE:
        noise = texture[top : top + height, left : left + width]
    else:
        noise = texture[top : top + _NOISE_SIDE][rows][:, left : left + _NOISE_SIDE][:, columns]
    strength = wear * rng.uniform(1, 5)
    return cv2.addWeighted(picture, 1.0, noise, strength / 16, -8 * strength, dtype=cv2.CV_8U).astype(np.uint8)


@lru_cache(maxsize=1)
def _noise_texture() -> NDArray[np.uint8]:
    """Return noise around 128 with deviation 16, large enough to cut any window from: drawn once."""
    rng = np.random.default_rng(20_211_107)
    tile = rng.normal(128, 16, (_NOISE_SIDE, _NOISE_SIDE, 3)).clip(0, 255).astype(np.uint8)
    return np.tile(tile, (2, 2, 1))
