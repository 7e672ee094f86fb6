"""The people of an experiment: their photos with landmarks, and how they are divided."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.sources.datasets import (
    ORL_HELD_OUT_PEOPLE,
    ORL_TRAIN_PEOPLE,
    Source,
    orl,
    orl_photos,
    vggface2,
)
from pipeline.sources.landmark_list import LANDMARK_COLUMNS, read_landmarks
from pipeline.synthetic.write import write_dataset

_LIST = Path("bb_landmark") / "loose_landmark_train.csv"


@dataclass(frozen=True)
class Population:
    """People with several photos each.

    Attributes:
        photos: person, path, (5, 2) landmarks in pixels; a person's photos stand together.
        source: opens the same photos for sharding.
    """

    photos: tuple[tuple[str, Path, NDArray[np.float64]], ...]
    source: Callable[[], Source]

    @property
    def people(self) -> tuple[str, ...]:
        """Every person once, in the order of their photos."""
        return tuple(dict.fromkeys(person for person, _, _ in self.photos))


def orl_population() -> Population:
    """Return the 40 ORL people (AT&T Laboratories Cambridge), ten photos each.

    Raises:
        UserError: the package that carries the photos is not installed.
    """
    photos = orl_photos(ORL_TRAIN_PEOPLE + ORL_HELD_OUT_PEOPLE)
    return Population(tuple(photos), lambda: orl("all"))


def rendered_population(folder: Path, *, identities: int, photos: int, seed: int, workers: int) -> Population:
    """Render people, or return those that were rendered before.

    Args:
        folder: of the photos; it appears when all are there.
        identities: number of people.
        photos: of each.
        seed: of everything.
        workers: processes.
    """
    if not folder.is_dir():
        unfinished = folder.with_name(f".{folder.name}")
        shutil.rmtree(unfinished, ignore_errors=True)
        write_dataset(unfinished, "vggface2", identities=identities, photos=photos, seed=seed, workers=workers)
        unfinished.rename(folder)
    root = folder / "VGGFace2"
    table = read_landmarks(root / _LIST, header=True)
    listed = tuple(
        (name.split("/")[0], root / "train" / f"{name}.jpg", row.reshape(5, 2))
        for name, row in zip(table["name"], table[LANDMARK_COLUMNS].to_numpy(), strict=True)
    )
    return Population(listed, lambda: vggface2(root, [root / _LIST]))


def test_people(people: Sequence[str], folds: int) -> list[tuple[str, ...]]:
    """Divide people into folds: in each fold's trials its people are tested and all others are trained on.

    Every person is in one fold, and folds differ in size by one at most.

    >>> test_people(["a", "b", "c", "d", "e"], 2)
    [('a', 'c', 'e'), ('b', 'd')]
    """
    return [tuple(people[fold::folds]) for fold in range(folds)]
