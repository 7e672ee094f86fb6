"""Small pictures of people, written in a moment: a pattern a person, with noise and at any size."""

from pathlib import Path

import numpy as np
from PIL import Image


def write_photo(path: Path, person: str, number: int, side: int = 32, noise: float = 90) -> None:
    """Write a picture of a person; the same arguments give the same one."""
    seed = [ord(letter) for letter in person]
    pattern = np.random.default_rng(seed).integers(78, 178, (8, 8, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(pattern).resize((side, side), Image.Resampling.BICUBIC), dtype=float)
    noisy = pixels + np.random.default_rng([*seed, number]).normal(0, noise, pixels.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(path)


def write_people(root: Path, people: list[str], photos: range, sides: tuple[int, ...] = (32,)) -> None:
    """Write ROOT/PERSON/NUMBER.png; the sides take turns."""
    for person in people:
        for number in photos:
            write_photo(root / person / f"{number}.png", person, number, sides[number % len(sides)])
