"""Trials to calibrate on: people set aside, each photo enrolled, and in full and reduced as probe."""

from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evaluation.decisions.calibration import Trials, joined
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.measuring import Measuring, picture_of
from evaluation.enrolled.sized_search import places_of, vectors_at
from evaluation.metrics.identification import cosines
from shards.command import UserError

SIDES = (8, 10, 12, 14, 16, 20, 24, 32, 48)
"""Sides in pixels to which probes are reduced."""

# Photos compared with one another: more would only cost time.
_MOST_PHOTOS = 400
_LEAST_PEOPLE = 5


def trials_of(table: FaceTable, how: Measuring, where: Path) -> Trials:
    """Compare every photo of a table, in full and reduced, with every other as it is enrolled.

    A photo is reduced only below its own size, the smaller of its side and its sharpness; in full it has that size.

    Args:
        table: people set aside, sorted by person.
        how: the model.
        where: the photos came from, for messages.

    Raises:
        UserError: fewer than five people, or none with two photos.
    """
    rows = _spread(table.people)
    people = np.unique(np.array([table.people[row] for row in rows], dtype=object), return_inverse=True)[1]
    counts = np.bincount(people)
    if len(counts) < _LEAST_PEOPLE or counts.max() < 2:
        raise UserError(
            f"{where} has {len(counts)} people, {int((counts > 1).sum())} of them with two photos or more; expected at "
            f"least {_LEAST_PEOPLE}, and two photos each: a calibration on fewer says nothing"
        )
    form = how.embedder.preprocessing
    own = table.resolutions[rows]
    sides: list[int | None] = [side for side in SIDES if side < form.size and (own > side).any()]
    sides.append(None)
    vectors = how.embedder.embed([picture_of(table, row, form, side) for side in sides for row in rows]).vectors
    # (sides * rows, D) -> (sides, rows, D)
    probes = vectors.reshape(len(sides), len(rows), -1)
    enrolled = table.take(rows)
    parts = []
    for group, side in enumerate(sides):
        used = np.flatnonzero(np.isfinite(probes[group]).all(axis=1))
        used = used if side is None else used[own[used] > side]
        sizes = own[used] if side is None else np.full(len(used), float(side))
        parts.append(_group(group, probes[group], enrolled, used, sizes, people.astype(np.int64)))
    kept = [part for part in parts if part.mated.any() and not part.mated.all()]
    return joined(kept)


def _group(
    group: int,
    vectors: NDArray[np.float32],
    enrolled: FaceTable,
    used: NDArray[np.int64],
    sizes: NDArray[np.float64],
    people: NDArray[np.int64],
) -> Trials:
    """Compare the probes of one reduction with all photos as they are enrolled, but for the same photo."""
    norms = np.linalg.norm(vectors[used].astype(np.float64), axis=1)
    probe, gallery = np.nonzero(used[:, None] != np.arange(len(enrolled))[None, :])
    places = places_of(sizes, enrolled)
    of_all = np.empty((len(used), len(enrolled)))
    for place in np.unique(places).tolist():
        of_all[places == place] = cosines(vectors[used[places == place]], vectors_at(enrolled, place))
    scores = of_all[probe, gallery]
    numbers = np.full(len(scores), group, dtype=np.int64)
    owners, pictures = people[used][probe], used[probe]
    return Trials(scores, sizes[probe], norms[probe], owners, people[gallery], numbers, gallery, pictures)


def _spread(people: tuple[str, ...]) -> list[int]:
    """Return rows, sorted, of as many people as there may be, and of each as many photos."""
    nth: Counter[str] = Counter()
    ranked = []
    for row, person in enumerate(people):
        ranked.append((nth[person], row))
        nth[person] += 1
    # A person with one photo has no mated trial; the second photos come before the third.
    return sorted(row for _, row in sorted(ranked)[:_MOST_PHOTOS])
