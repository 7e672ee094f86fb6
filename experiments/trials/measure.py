"""Embeddings of test people to figures of each person, high-resolution galleries against reduced probes."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.identification import best_scores, l2_normalised, mated_ranks
from evaluation.metrics.verification import threshold_at_rate

FAR = 0.01
FIGURES = {
    "rank-1": "rank-1",
    "tar": "TAR at FAR 1 %",
    "auc": "AUC",
}
"""Name -> title. Each is a mean over people of a mean over the person's probes or pairs."""

OPEN_SET_FIGURES = {
    "tpir": "TPIR at FPIR 1 %",
    "drawn": "strangers drawn by three small photos",
    "drawn in full": "strangers drawn by three photos in full",
}
"""Likewise, of `open_set_figures`."""

OLD_GALLERY_FIGURES = {f"old {name}": f"{title}, old gallery" for name, title in FIGURES.items()}
"""Likewise, of `person_figures` with the gallery of the recogniser before it was adapted."""

BOTH_SIZES_FIGURES = {
    f"both {name}": f"{title}, gallery in full and reduced" for name, title in (FIGURES | OPEN_SET_FIGURES).items()
}
"""Likewise, of both functions with a gallery of the means of each photo in full and reduced to the probes' size."""

TITLES = {**FIGURES, **OPEN_SET_FIGURES, **OLD_GALLERY_FIGURES, **BOTH_SIZES_FIGURES}
"""All figures, in the order in which they are told."""

FPIR = 0.01
SMALL = 10
"""Side in pixels of the small photos that a gallery is given."""
_SMALL_PHOTOS = 3

# Pairs of scores in memory at once.
_BLOCK = 1 << 22


def person_figures(full: ArrayLike, reduced: ArrayLike, people: ArrayLike) -> dict[str, NDArray[np.float64]]:
    """Return the figures of every person, in the order of their names.

    Identification: the gallery is each person's first photo in full, the probes are the person's other photos,
    reduced. Verification: photos in full against reduced photos; a positive pair is two photos of one person, a
    negative pair is of two people, and the threshold at a FAR is taken over the negative pairs of all test people.

    Args:
        full: (N, D) embeddings of the photos in full.
        reduced: (N, D) embeddings of the same photos, reduced.
        people: (N,) the person of each.

    Returns:
        by name in `FIGURES`, (P,) of 0..1: "rank-1", the share of the person's probes at rank 1; "tar", the share of
        the person's positive pairs above the threshold at FAR 1 %; "auc", the mean over the person's positive pairs of
        the share of negative pairs with a lower score, ties half.
    """
    gallery, probes = l2_normalised(full), l2_normalised(reduced)
    names, person = np.unique(np.asarray(people), return_inverse=True)
    first = np.zeros(len(person), dtype=bool)
    first[np.unique(person, return_index=True)[1]] = True
    ranks = mated_ranks(probes[~first], person[~first], gallery[first], person[first]).ranks
    positives, owners, negatives = _pair_scores(gallery, probes, person)
    below = np.searchsorted(negatives, positives, side="left") + np.searchsorted(negatives, positives, side="right")
    above = positives > threshold_at_rate(negatives, FAR)
    return {
        "rank-1": _mean_by(ranks == 1, person[~first], len(names)),
        "tar": _mean_by(above, owners, len(names)),
        "auc": _mean_by(below / (2 * len(negatives)), owners, len(names)),
    }


def open_set_figures(
    full: ArrayLike, reduced: ArrayLike, small: ArrayLike, people: ArrayLike
) -> dict[str, NDArray[np.float64]]:
    """Return figures of every person against people who are not enrolled, in the order of their names.

    The gallery and the probes are those of `person_figures`; a person's probes are those of a stranger where the person
    is left out of the gallery. Three small photos drawing strangers: of one enrolled person after the other the second
    to the fourth photo are added to the gallery, reduced to `SMALL` pixels; and in full, which shows what four photos
    draw where size makes no difference.

    Args:
        full: (N, D) embeddings of the photos in full, of two people at least.
        reduced: (N, D) embeddings of the same photos, reduced.
        small: (N, D) embeddings of the same photos, reduced to `SMALL` pixels.
        people: (N,) the person of each.

    Returns:
        by name in `OPEN_SET_FIGURES`, (P,) of 0..1: "tpir", the share of the person's probes at rank 1 above the
        threshold at FPIR 1 % over all people as strangers; "drawn", the share of the person's probes, as a stranger's,
        that are nearest to the person with the small photos, mean over whom these show; "drawn in full", the same of
        the photos in full. By chance, 1 / (P - 1) are nearest to a person with one photo.
    """
    gallery, probes = l2_normalised(full), l2_normalised(reduced)
    names, person = np.unique(np.asarray(people), return_inverse=True)
    first = np.zeros(len(person), dtype=bool)
    first[np.unique(person, return_index=True)[1]] = True
    enrolled, asked = gallery[first], person[~first]
    ranked = mated_ranks(probes[~first], asked, enrolled, person[first])
    # With one photo a person in the gallery, the best other person is the best of a gallery without the own one.
    found = ranked.within(1) & (ranked.scores > threshold_at_rate(ranked.rival_scores, FPIR))
    figures = {"tpir": _mean_by(found, asked, len(names))}
    for name, added in (("drawn", small), ("drawn in full", full)):
        few = l2_normalised(added)
        by_host = []
        for host in range(len(names)):
            own = best_scores(probes[~first], few[np.flatnonzero(person == host)[1 : 1 + _SMALL_PHOTOS]])[0]
            nearest = (own > ranked.rival_scores) | (person[first][ranked.rivals] == host)
            by_host.append(np.where(asked == host, np.nan, nearest))
        figures[name] = _mean_by(np.nanmean(by_host, axis=0), asked, len(names))
    return figures


def _pair_scores(
    gallery: NDArray[np.float64], probes: NDArray[np.float64], person: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Return the scores of positive pairs, the person of each, and the scores of negative pairs, sorted."""
    positives, owners, negatives = [], [], []
    step = max(1, _BLOCK // len(probes))
    for start in range(0, len(gallery), step):
        rows = np.arange(start, min(start + step, len(gallery)))
        scores = gallery[rows] @ probes.T
        same = person[rows, None] == person[None, :]
        other_photo = rows[:, None] != np.arange(len(probes))[None, :]
        at, _ = np.nonzero(same & other_photo)
        positives.append(scores[same & other_photo])
        owners.append(person[rows][at])
        negatives.append(scores[~same])
    return np.concatenate(positives), np.concatenate(owners), np.sort(np.concatenate(negatives))


def _mean_by(values: ArrayLike, owners: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """Return the mean of each owner's values: (count,)."""
    sums = np.bincount(owners, weights=np.asarray(values, dtype=np.float64), minlength=count)
    return sums / np.bincount(owners, minlength=count)
