"""A model that is watched while a protocol asks it: are its embeddings all alike, and what must it leave out."""

from collections.abc import Collection, Sequence

import numpy as np

from evaluation.metrics.identification import l2_normalised
from evaluation.models.embedder import Embedded, PictureEmbedder
from evaluation.models.pictures import Picture

MIRRORED = "@mirrored"
"""Behind the names of mirror images."""
LEFT_OUT = "left out: it stands in the training shards, too"
ALL_ALIKE, HARDLY_DIFFERENT = 0.999, 0.95
"""Mean cosine of two pictures from which a model says nothing, and from which it says little; 0 is usual."""
_FEWEST = 4


class Watched:
    """Embeds as a model does, leaves out some pictures, and measures how alike all embeddings are.

    Args:
        model: the model.
        leave_out: names of pictures that count as unusable.
    """

    def __init__(self, model: PictureEmbedder, leave_out: Collection[str] = ()) -> None:
        self.preprocessing, self.hint, self.summary = model.preprocessing, model.hint, model.summary
        self._model, self._leave_out = model, leave_out
        self._sum, self._count = np.zeros(1), 0
        self.left_out: set[str] = set()

    def embed(self, pictures: Sequence[Picture]) -> Embedded:
        """Embed pictures, in their order."""
        embedded = self._model.embed(pictures)
        names = [picture.name.removesuffix(MIRRORED) for picture in pictures]
        rows = [row for row, name in enumerate(names) if name in self._leave_out]
        if rows:
            self.left_out.update(names[row] for row in rows)
            embedded.vectors[rows] = np.nan
            embedded = Embedded(embedded.vectors, embedded.faults | {pictures[row].name: LEFT_OUT for row in rows})
        # Reduced pictures are more alike than others.
        full = np.array([picture.preparation.low is None for picture in pictures], dtype=bool)
        vectors = embedded.vectors[full & embedded.usable]
        # A row of zeros, which has no direction, is like any other such row.
        zeros = ~vectors.any(axis=1)
        for start in range(0, len(vectors), 8_192):
            self._sum = self._sum + l2_normalised(vectors[start : start + 8_192]).sum(axis=0)
        self._sum = self._sum + zeros.sum() * np.eye(1, max(vectors.shape[1], 1))[0]
        self._count += len(vectors)
        return embedded

    @property
    def mean_cosine(self) -> float:
        """Mean cosine of two pictures in full, of all that were asked for; NaN where they are too few."""
        n = self._count
        return float((self._sum @ self._sum - n) / (n * (n - 1))) if n >= _FEWEST else float("nan")

    def notes(self, label: str) -> tuple[str, ...]:
        """Say of a model of this name whether its embeddings are alike, and what was left out."""
        mean, found = self.mean_cosine, []
        if mean >= HARDLY_DIFFERENT:
            told = "are all alike" if mean >= ALL_ALIKE else "hardly differ"
            means = "the figures say nothing" if mean >= ALL_ALIKE else "the figures say little"
            found.append(
                f"The embeddings of {label} {told}: two pictures have a mean cosine of {mean:.4f}, which is near 0 "
                f"of a trained network; {means}. Either it has not learned (collapse), or it takes its pictures in "
                "another form than they are given in: try --check-input."
            )
        if self._leave_out:
            found.append(
                f"{label}: {len(self.left_out):,} pictures that stand in the training shards, too, are left out."
            )
        return tuple(found)
