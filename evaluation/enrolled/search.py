"""Exact search for the best people of a gallery, in blocks of bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.identification import l2_normalised, pair_cosines

# Probes searched at once, and bytes of single-precision scores in memory at once.
_PROBES = 32
_BLOCK_BYTES = 1 << 26
_EXACT_ROWS = 16_384


@dataclass(frozen=True)
class Candidates:
    """The best people of a gallery for each probe, the best first; a person counts with its best photo.

    Attributes:
        people: (P, K) int64 number of the person; -1 where the gallery has fewer people.
        rows: (P, K) int64 gallery row of the photo; of equal ones the first. -1 likewise.
        scores: (P, K) float64 cosine to 12 decimals; -inf likewise.
    """

    people: NDArray[np.int64]
    rows: NDArray[np.int64]
    scores: NDArray[np.float64]


class GallerySearch:
    """A gallery ready to be searched.

    A product in single precision, with a bound on its rounding (Higham, Accuracy and Stability of Numerical
    Algorithms, 2002, section 3.1), finds every row that may be among the best; their cosines are then computed in
    double precision. The result is that of all cosines in double precision.

    Args:
        vectors: (G, D) float32, not necessarily normalised; kept, not copied.
        people: (G,) int64 number of each row's person, never falling.
    """

    def __init__(self, vectors: NDArray[np.float32], people: ArrayLike) -> None:
        self._vectors = np.asarray(vectors, dtype=np.float32)
        self._people = np.asarray(people, dtype=np.int64)
        assert self._vectors.ndim == 2 and self._people.shape == (len(self._vectors),)
        assert not (np.diff(self._people) < 0).any(), "the rows of a person stand together"
        self._inverse = np.zeros(len(self._vectors), dtype=np.float32)
        for start in range(0, len(self._vectors), _EXACT_ROWS):
            rows = slice(start, start + _EXACT_ROWS)
            lengths = np.linalg.norm(self._vectors[rows].astype(np.float64), axis=1)
            self._inverse[rows] = np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        self._starts = np.flatnonzero(np.diff(self._people, prepend=-1))
        # Of a sum of D products, of rounding the probe and the norm, and of scaling.
        self._bound = (self._vectors.shape[1] + 8) * 2.0**-24

    def find(self, probes: ArrayLike, count: int = 5) -> Candidates:
        """Find the best people for each probe: (P, D) -> candidates of shape (P, count).

        >>> search = GallerySearch(np.array([[1, 0], [3, 4], [0, 1]], dtype=np.float32), [0, 0, 1])
        >>> found = search.find([[0.0, 2.0]], 3)
        >>> found.people.tolist(), found.rows.tolist(), found.scores.tolist()
        ([[1, 0, -1]], [[2, 1, -1]], [[1.0, 0.8, -inf]])
        """
        units = l2_normalised(probes)
        shape = (len(units), count)
        found = Candidates(np.full(shape, -1), np.full(shape, -1), np.full(shape, -np.inf))
        for start in range(0, len(units), _PROBES):
            some = units[start : start + _PROBES]
            rows, columns = self._possible(some, count)
            scores = self._exact(some, rows, columns)
            # By probe, then score, then row.
            order = np.lexsort((rows, -scores, columns))
            for column in range(len(some)):
                own = order[columns[order] == column]
                _, first = np.unique(self._people[rows[own]], return_index=True)
                best = own[np.sort(first)[:count]]
                place = (start + column, slice(0, len(best)))
                found.people[place], found.rows[place] = self._people[rows[best]], rows[best]
                found.scores[place] = scores[best]
        return found

    def _possible(self, units: NDArray[np.float64], count: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return rows and probes whose cosine may be the best of one of the `count` best people."""
        columns = units.T.astype(np.float32)
        best = np.full((count, len(units)), -np.inf, dtype=np.float32)
        margin = np.float32(2 * self._bound + 1e-11)
        kept: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]] = []
        for start, stop, heads in self._blocks(len(units)):
            scores = self._vectors[start:stop] @ columns
            scores *= self._inverse[start:stop, None]
            own = np.maximum.reduceat(scores, heads - start, axis=0)
            best = np.partition(np.concatenate([best, own]), -count, axis=0)[-count:]
            rows, probes = np.nonzero(scores >= best.min(axis=0) - margin)
            kept.append((rows + start, probes, scores[rows, probes]))
        if not kept:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64)
        all_rows, all_probes, all_scores = (np.concatenate(parts) for parts in zip(*kept, strict=True))
        still = all_scores >= best.min(axis=0)[all_probes] - margin
        return all_rows[still], all_probes[still]

    def _blocks(self, probes: int) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """Yield the rows of whole people, and where each person's begin; a person is never divided."""
        size = max(1, _BLOCK_BYTES // (4 * max(probes, 1)))
        ends = np.append(self._starts[1:], len(self._vectors))
        first = 0
        while first < len(self._starts):
            # At least one person, however many photos it has.
            last = max(first + 1, int(np.searchsorted(ends, self._starts[first] + size, side="right")))
            yield int(self._starts[first]), int(ends[last - 1]), self._starts[first:last]
            first = last

    def _exact(
        self, units: NDArray[np.float64], rows: NDArray[np.int64], columns: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        parts = [slice(start, start + _EXACT_ROWS) for start in range(0, len(rows), _EXACT_ROWS)]
        scores = [pair_cosines(self._vectors[rows[part]], units[columns[part]]) for part in parts]
        return np.concatenate([np.empty(0), *scores])
