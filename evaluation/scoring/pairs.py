"""What protocols of pairs share: pictures embedded once, scores, and the figures of verification."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.bootstrap import (
    PairPeople,
    Statistic,
    WeightedCurve,
    bootstrap_over_pairs,
    verification_intervals,
)
from evaluation.metrics.crossed import Crossed
from evaluation.metrics.figures import Figure
from evaluation.metrics.identification import pair_cosines
from evaluation.metrics.verification import (
    auc,
    best_accuracy,
    equal_error_rate,
    fold_accuracies,
    tar_at_far,
    ten_fold_decisions,
    threshold_at_rate,
)
from evaluation.models.embedder import Embedded
from evaluation.scoring.published import Published

_ERRORS_TO_TRUST = 30
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

    def with_misses(self, rows: Sequence[int], discarded: int) -> "PairScores":
        """Add pairs of one person that no threshold accepts, for a face was not found; the same of two are discarded.

        Args:
            rows: of the pairs of one person.
            discarded: number of those of two people, which say nothing of false accepts and count as left out.
        """
        everything = np.concatenate([self.rows, np.asarray(rows, dtype=np.int64)])
        order = np.argsort(everything, kind="stable")
        scores = np.concatenate([self.scores, np.full(len(rows), -np.inf)])
        return PairScores(scores[order], everything[order], self.left_out + discarded)

    def found(self) -> "PairScores":
        """Return the pairs in whose pictures both faces were found."""
        kept = self.scores > -np.inf
        return PairScores(self.scores[kept], self.rows[kept], self.left_out)


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
    positive: Sequence[tuple[str, str]],
    negative: Sequence[tuple[str, str]],
    person_in_name: Callable[[str], str] = person_in_name,
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
    statistics: dict[str, Statistic] = {tar_name(far): (lambda c, far=far: c.rate_at(far)) for far in fars}  # type: ignore[misc]
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
                    tar_name(far),
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


def measurable_figures(
    scores: NDArray[np.float64],
    same: NDArray[np.bool_],
    people: PairPeople,
    fars: Sequence[float],
    *,
    prefix: str = "",
) -> list[Figure]:
    """Return `verification_figures` with those false accept rates alone that there are enough pairs for.

    The others have no value, and a note that says how many pairs they need.

    Args:
        scores: (N,) of the pairs.
        same: (N,) whether they show one person.
        people: who stands in them.
        fars: false accept rates, 0..1.
        prefix: put before each name.
    """
    one, two = np.flatnonzero(same), np.flatnonzero(~same)
    measured = [far for far in fars if far * len(two) >= 1]
    both = people.of_rows(one), people.of_rows(two)
    figures = verification_figures(scores[one], scores[two], both, measured, prefix=prefix)
    for far in fars:
        if far not in measured:
            note = too_few(far, len(two), "pairs of two people")
            figures.insert(len(measured), Figure(f"{prefix}{tar_name(far)}", float("nan"), len(one), note=note))
            measured.append(far)
    return figures


def crossed_figures(
    crossed: Crossed, people: tuple[PairPeople, PairPeople], fars: Sequence[float], *, prefix: str = ""
) -> list[Figure]:
    """Return TAR at each FAR, AUC and EER of all comparisons of probes with a gallery, with their intervals.

    A FAR of f is measured where there are at least 1/f non-mated comparisons.

    Args:
        crossed: the comparisons.
        people: who stands in the mated ones, and in the non-mated ones that were kept.
        fars: false accept rates, 0..1.
        prefix: put before each name.
    """
    measured = [far for far in fars if far * crossed.count >= 1]
    statistics: dict[str, Statistic] = {tar_name(far): (lambda c, far=far: c.rate_at(far)) for far in measured}  # type: ignore[misc]
    statistics |= {"AUC": WeightedCurve.area, "EER": WeightedCurve.equal_error_rate}
    intervals = verification_intervals(crossed.mated, crossed.scores, people, statistics, weights=crossed.weights)
    n = len(crossed.mated)
    figures = []
    for far in fars:
        name = tar_name(far)
        if far not in measured:
            figures.append(Figure(f"{prefix}{name}", float("nan"), n, note=too_few(far, crossed.count)))
            continue
        figures.append(
            Figure(
                f"{prefix}{name}",
                crossed.tar_at_far(far),
                n,
                intervals[name],
                note=_rests_on(crossed.accepted(far), crossed.count),
                threshold=crossed.threshold(far),
            )
        )
    both = n + crossed.count
    return [
        *figures,
        Figure(f"{prefix}AUC", crossed.auc(), both, intervals["AUC"]),
        Figure(f"{prefix}EER", crossed.equal_error_rate(), both, intervals["EER"]),
    ]


def fold_figure(
    name: str, scores: NDArray[np.float64], same: Sequence[bool], folds: Sequence[int], people: PairPeople
) -> Figure:
    """Return the accuracy over folds, each at the threshold that does best on the others (LFW's protocol).

    Args:
        name: of the figure.
        scores: (N,) of the pairs.
        same: (N,) whether a pair shows one person.
        folds: (N,) fold of each pair.
        people: who stands in them.
    """
    if len(set(folds)) < 2:
        return Figure(name, float("nan"), len(folds), note="fewer than two folds left")
    right = ten_fold_decisions(scores, same, folds)
    accuracies = fold_accuracies(right, folds)
    interval = bootstrap_over_pairs(right, people)
    return Figure(name, float(accuracies.mean()), len(folds), interval, float(accuracies.std()))


def too_few(rate: float, found: int, what: str = "non-mated comparisons") -> str:
    """Say how many comparisons a rate needs to be measurable at all.

    >>> too_few(0.001, 300)
    'a rate of 0.1 % needs at least 1,000 non-mated comparisons, here are 300: not measured'
    """
    needed = math.ceil(1 / Fraction(str(rate)))
    return f"a rate of {100 * rate:g} % needs at least {needed:,} {what}, here are {found:,}: not measured"


def _rests_on(accepted: int, count: int) -> str:
    """Say how many pairs a FAR rests on, and where they are too few to trust it (Doddington et al., 2000: 30)."""
    coarse = f": coarse, fewer than {_ERRORS_TO_TRUST}" if accepted < _ERRORS_TO_TRUST else ""
    return f"FAR rests on {accepted:,} accepted of {count:,} negative pairs{coarse}"


def tar_name(far: float) -> str:
    """Name the figure of a false accept rate.

    >>> tar_name(0.001)
    'TAR at FAR 0.1 %'
    """
    return f"TAR at FAR {100 * far:g} %"


def _accepted(negatives: NDArray[np.float64], far: float) -> str:
    """Say how many pairs a FAR rests on: 0.1 % of 5,320 is five."""
    accepted = int((negatives > threshold_at_rate(negatives, far)).sum()) if len(negatives) else 0
    return _rests_on(accepted, len(negatives))


def reduced_sizes(sizes: Sequence[int], full: int) -> tuple[list[int], tuple[str, ...]]:
    """Return the sizes below the network's own, each once, and a note on those that are not.

    >>> reduced_sizes([8, 12, 8, 64], 32)
    ([8, 12], ('64 px is not below the 32 px of the network and is left out.',))
    """
    kept = [size for size in dict.fromkeys(sizes) if size < full]
    beyond = ", ".join(f"{size} px" for size in dict.fromkeys(sizes) if size > full)
    return kept, (f"{beyond} is not below the {full} px of the network and is left out.",) if beyond else ()
