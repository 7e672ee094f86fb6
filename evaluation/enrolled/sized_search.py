"""Search in a gallery whose photos are enrolled in full and reduced: each face meets those nearest to its own size."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.search import Candidates, GallerySearch


def nearest_sizes(resolutions: ArrayLike, sizes: Sequence[int], full: int) -> NDArray[np.int64]:
    """Return for each face the place of the size nearest to it by ratio, K where the full one is nearest.

    >>> nearest_sizes([4, 13, 40, 90], [8, 12, 20], 112).tolist()
    [0, 1, 2, 3]

    Args:
        resolutions: (P,) pixels, see `FaceTable.resolutions`.
        sizes: K, in pixels, rising.
        full: side in pixels of what the model sees.
    """
    shown = np.maximum(np.asarray(resolutions, dtype=np.float64), 1)
    distances = np.abs(np.log(shown)[:, None] - np.log([*sizes, full])[None, :])
    return distances.argmin(axis=1)


def vectors_at(table: FaceTable, place: int) -> NDArray[np.float32]:
    """Return the embeddings that faces of a size are compared with, by its place in `nearest_sizes`: (N, D)."""
    return table.vectors if table.reduced is None or place == table.reduced.shape[1] else table.reduced[:, place]


def places_of(resolutions: ArrayLike, table: FaceTable) -> NDArray[np.int64]:
    """Return for each face which embeddings of a table it is compared with: (P,), as `vectors_at` takes it."""
    shown = np.asarray(resolutions)
    if table.reduced is None:
        return np.zeros(len(shown), dtype=np.int64)
    return nearest_sizes(shown, table.enrol_sizes, table.made["preprocessing size"])


def find_at_sizes(gallery: FaceTable, numbers: ArrayLike, probes: FaceTable, count: int) -> Candidates:
    """Find the best people for each probe: candidates of shape (P, count).

    Args:
        gallery: enrolled people, sorted by person.
        numbers: (N,) int64 number of each photo's person, see `FaceTable.numbered`.
        probes: the faces.
        count: people wanted.
    """
    places = places_of(probes.resolutions, gallery)
    shape = (len(probes), count)
    found = Candidates(np.full(shape, -1), np.full(shape, -1), np.full(shape, -np.inf))
    for place in np.unique(places).tolist():
        rows = places == place
        some = GallerySearch(vectors_at(gallery, place), numbers).find(probes.vectors[rows], count)
        found.people[rows], found.rows[rows], found.scores[rows] = some.people, some.rows, some.scores
    return found
