"""What protocols of pairs share: pictures embedded once, scores, and the figures of verification."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.bootstrap import PairPeople, Statistic, WeightedCurve, verification_intervals
from evaluation.metrics.figures import Figure
from evaluation.metrics.identification import pair_cosines
from evaluation.metrics.verification import auc, best_accuracy, equal_error_rate, tar_at_far, threshold_at_rate
from evaluation.models.embedder import Embedded
from evaluation.scoring.published import Published

_SURELY_TOLD = 0.99
"""Share of pairs of one person whose two names must name the same one."""


@dataclass(frozen=True)
class PairScores:
    """Scores of the pairs whose two pictures could be used.

    Attributes:
        scores: (N,) cosines.
        rows: (N,) int64 places of these pairs in the list.
        left_out: number of pairs of which a picture could not be used.
    """

    scores: NDArray[np.float64]
    rows: NDArray[np.int64]
    left_out: int


def score_pairs(left: Embedded, left_rows: Sequence[int], right: Embedded, right_rows: Sequence[int]) -> PairScores:
    """Score pairs given by the rows of their pictures; a picture named by many pairs was embedded once."""
    a, b = np.asarray(left_rows, dtype=np.int64), np.asarray(right_rows, dtype=np.int64)
    rows = np.flatnonzero(left.usable[a] & right.usable[b])
    scores = pair_cosines(left.vectors[a[rows]], right.vectors[b[rows]]) if rows.size else np.empty(0)
    return PairScores(scores, rows, len(a) - len(rows))


def person_in_name(name: str) -> str:
    """Return whom a QMUL-SurvFace picture shows, by its name `ID_camN_K.jpg`; `distractors_N.jpg` each show one.

    >>> person_in_name("verification_images/0012_cam1_3.jpg"), person_in_name("distractors_7.jpg")
    ('0012', 'distractors_7')
    """
    stem = PurePosixPath(name).stem
    first = stem.split("_")[0]
    return first if first.isdecimal() else stem


def people_of_pairs(
    positive: Sequence[tuple[str, str]], negative: Sequence[tuple[str, str]]
) -> tuple[PairPeople, PairPeople, bool]:
    """Return the people of pairs of one person and of two by the names of the pictures, and whether the names say it.

    If names do not say who is shown, every pair counts as independent.
    """
    alike = [person_in_name(left) == person_in_name(right) for left, right in positive]
    told = bool(alike) and sum(alike) >= _SURELY_TOLD * len(alike)
    if told:
        left = [person_in_name(first) for first, _ in [*positive, *negative]]
        right = left[: len(positive)] + [person_in_name(second) for _, second in negative]
    else:
        left = right = [str(number) for number in range(len(positive) + len(negative))]
    people = PairPeople.of(left, right)
    count = len(positive)
    return people.of_rows(np.arange(count)), people.of_rows(np.arange(count, len(left))), told


def verification_figures(
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    people: tuple[PairPeople, PairPeople],
    fars: Sequence[float],
    *,
    prefix: str = "",
    published_tar: dict[float, Published] | None = None,
    published_auc: Published | None = None,
) -> list[Figure]:
    """Return TAR at each FAR, AUC, EER and accuracy, with the intervals of a bootstrap over people.

    Args:
        positives: (P,) scores of pairs of one person.
        negatives: (N,) scores of pairs of two people.
        people: the people in them.
        fars: false accept rates, 0..1.
        prefix: put before each name.
        published_tar: by FAR.
        published_auc: figure to show beside.
    """
    both = len(positives) + len(negatives)
    statistics: dict[str, Statistic] = {_tar_name(far): (lambda c, far=far: c.rate_at(far)) for far in fars}  # type: ignore[misc]
    statistics |= {
        "AUC": WeightedCurve.area,
        "EER": WeightedCurve.equal_error_rate,
        "best accuracy": WeightedCurve.best_accuracy,
    }
    intervals = verification_intervals(positives, negatives, people, statistics)

    def figure(name: str, value: float, n: int, known: Published | None = None, note: str = "") -> Figure:
        paper, rerun = (known.paper, known.rerun) if known else (None, None)
        return Figure(f"{prefix}{name}", value, n, intervals[name], paper=paper, rerun=rerun, note=note)

    return [
        *(
            replace(
                figure(
                    _tar_name(far),
                    tar_at_far(positives, negatives, far),
                    len(positives),
                    (published_tar or {}).get(far),
                    _accepted(negatives, far),
                ),
                threshold=threshold_at_rate(negatives, far) if far < 1 and len(negatives) else None,
            )
            for far in fars
        ),
        figure("AUC", auc(positives, negatives), both, published_auc),
        figure("EER", equal_error_rate(positives, negatives), both),
        figure("best accuracy", best_accuracy(positives, negatives), both),
    ]


def _tar_name(far: float) -> str:
    return f"TAR at FAR {100 * far:g} %"


def _accepted(negatives: NDArray[np.float64], far: float) -> str:
    """Say how many pairs a FAR rests on: 0.1 % of 5,320 is five."""
    accepted = int((negatives > threshold_at_rate(negatives, far)).sum()) if len(negatives) else 0
    return f"FAR rests on {accepted:,} accepted of {len(negatives):,} negative pairs"


def reduced_sizes(sizes: Sequence[int], full: int) -> tuple[list[int], tuple[str, ...]]:
    """Return the sizes below the network's own, each once, and a note on those that are not.

    >>> reduced_sizes([8, 12, 8, 64], 32)
    ([8, 12], ('64 px is not below the 32 px of the network and is left out.',))
    """
    kept = [size for size in dict.fromkeys(sizes) if size < full]
    beyond = ", ".join(f"{size} px" for size in dict.fromkeys(sizes) if size > full)
    return kept, (f"{beyond} is not below the {full} px of the network and is left out.",) if beyond else ()
