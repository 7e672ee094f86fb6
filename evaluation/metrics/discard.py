"""Error against the share of pictures that are discarded, the worst first, by a quality known beforehand.

A quality is worth something where the errors are among the pictures of low quality: then the error of the rest falls as
more are discarded (Grother and Tabassi, 2007; ISO/IEC 29794-1, error versus discard characteristic).
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.verification import FloatArray


def error_by_discard(errors: ArrayLike, quality: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """Return shares discarded, rising from 0, and the share of errors among the rest.

    Of equal quality all are discarded together, so that the order of the pictures does not matter.

    >>> shares, rest = error_by_discard([True, False, True, False], [1.0, 2.0, 2.0, 3.0])
    >>> shares.tolist(), rest.round(4).tolist()
    ([0.0, 0.25, 0.75], [0.5, 0.3333, 0.0])

    Args:
        errors: (N,) whether each is decided wrongly.
        quality: (N,) the lowest is discarded first; NaN where it is not known: left out.

    Returns:
        (K,) and (K,), K the number of distinct qualities; empty where none is known.
    """
    values, wrong = np.asarray(quality, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    known = ~np.isnan(values)
    values, wrong = values[known], wrong[known]
    order = np.argsort(values, kind="stable")
    _, first = np.unique(values[order], return_index=True)
    total: NDArray[np.float64] = np.concatenate([[0.0], np.cumsum(wrong[order])])
    count = len(values)
    return first / max(count, 1), (total[-1] - total[first]) / np.maximum(count - first, 1)
