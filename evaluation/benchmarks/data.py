"""Rendered verification pictures and pairs for the benchmark."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.synthetic.layouts import survface
from pipeline.synthetic.write import write_layout
from shards.command import UserError

_PHOTOS = 19
_FOLDER = "QMUL-SurvFace/QMUL-SurvFace/Face_Verification_Test_Set/verification_images"


def rendered_verification_set(folder: Path, pictures: int, pairs: int, *, workers: int) -> list[tuple[Path, Path]]:
    """Render QMUL-SurvFace's verification pictures, or take those of an earlier run, and pair them.

    Args:
        folder: to render into; one that holds exactly these pictures already is taken as it is.
        pictures: number of them, at least 38; 19 of a person.
        pairs: half of one person, half of two; together they name every picture.
        workers: processes that render.

    Returns:
        paths of the two pictures of every pair.

    Raises:
        UserError: the folder holds something else.
    """
    people = -(-pictures // _PHOTOS)
    layout = survface(max(2, people), _PHOTOS, 0)
    jobs = [job for job in layout.jobs if job.path.startswith(_FOLDER)][:pictures]
    paths = [folder / job.path for job in jobs]
    there = {path.name for path in (folder / _FOLDER).iterdir()} if (folder / _FOLDER).is_dir() else set()
    if not there:
        write_layout(folder, replace(layout, jobs=jobs, landmarks=(), mats=(), texts=()), "survface", 0, workers)
    elif there != {path.name for path in paths}:
        raise UserError(
            f"{folder} holds {len(there):,} other pictures than {pictures:,} rendered ones; name a new --data"
        )
    numbers = pair_numbers(np.array([job.person for job in jobs]), pairs)
    return [(paths[a], paths[b]) for a, b in numbers]


def pair_numbers(people: NDArray[np.int64], pairs: int) -> list[tuple[int, int]]:
    """Pair pictures at random, half of two people and half of one, so that every picture is named.

    Args:
        people: (N,) who each picture shows, sorted; nobody has more than half of the pictures.
        pairs: number, at least N.

    Returns:
        `pairs` pairs of numbers in random order.
    """
    rng = np.random.default_rng(0)
    half = -(-len(people) // 2)
    first = np.arange(half)
    # Half a list further is somebody else, because nobody has more than half of the pictures.
    of_two = np.stack([first, (first + half) % len(people)], axis=1).tolist()
    two = max(pairs // 2, half)
    while len(of_two) < two:
        a, b = rng.integers(len(people), size=2).tolist()
        if people[a] != people[b]:
            of_two.append([a, b])
    own = {person: np.flatnonzero(people == person) for person in np.unique(people).tolist()}
    several = np.array([person for person, mine in own.items() if len(mine) > 1])
    of_one = [rng.choice(own[person], 2, replace=False) for person in rng.choice(several, pairs - two).tolist()]
    both = rng.permutation(np.concatenate([of_two, np.reshape(of_one, (-1, 2)).astype(np.int64)]))
    return [(int(a), int(b)) for a, b in both]
