"""Which scores are usual in a gallery, and from which size on a model tells people apart."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.identification import cosines

# A normal distribution's standard deviation over its median absolute deviation.
_SD_OF_MAD = 1.4826


def usual_limit(best: NDArray[np.float64], deviations: float = 2) -> float:
    """Return the highest best cosine with other people that is still usual, whatever a few wrong photos have.

    The median and some standard deviations, these from the median absolute deviation.

    >>> round(usual_limit(np.array([0.3, 0.3, 0.2, 0.4, 0.9])), 3)
    0.597
    """
    middle = float(np.median(best))
    return middle + deviations * _SD_OF_MAD * float(np.median(np.abs(best - middle)))


def usual_floor(best: NDArray[np.float64]) -> float:
    """Return the lowest best cosine with a person's own photos that is still usual; see `usual_limit`."""
    return -usual_limit(-best, 3) if best.size else -np.inf


def confusing_side(reduced: dict[int, NDArray[np.float32]], full: NDArray[np.float32], people: Sequence[str]) -> int:
    """Return the side in pixels below which a model takes different people for one another.

    A photo in a gallery is harmful where small photos of strangers are as near to it as those of one person ought to
    be. So small photos are compared with small ones: the side is the smallest at which the typical best cosine of a
    photo with other people's is no higher than that of a photo in full may be (`usual_limit`).

    Args:
        reduced: embeddings (N, D) of the same photos, reduced, by their side in pixels.
        full: (N, D) of the photos in full.
        people: (N,) the person of each.

    Returns:
        one of the sides; the largest where none will do; 0 where there are not two people.
    """
    owners = np.array(people, dtype=object)
    if len(set(people)) < 2:
        return 0
    same = owners[:, None] == owners[None, :]

    def best_other(vectors: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(np.where(same, -np.inf, cosines(vectors, vectors)).max(axis=1))

    limit = usual_limit(best_other(full))
    enough = [side for side, vectors in sorted(reduced.items()) if float(np.median(best_other(vectors))) <= limit]
    return min(enough, default=max(reduced))
