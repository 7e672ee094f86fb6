"""95 % intervals of verification and open-set figures: people are drawn with replacement, with all they are in.

A draw gives every person a multiplicity m. A pair of one person then counts m times, a pair of two people
m m' times, a probe m times. Thresholds are computed again in every draw, so that the interval of TAR at FAR also holds
what the few negatives behind a low FAR leave open (the vertex bootstrap of Snijders and Borgatti, 1999).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from evaluation.metrics.identification import MatedRanks
from evaluation.metrics.intervals import RESAMPLES, Interval, fingerprint, percentiles, wilson, with_draws
from evaluation.metrics.verification import FloatArray, crossing

IntArray = NDArray[np.int64]
Statistic = Callable[["WeightedCurve"], float]


@dataclass(frozen=True)
class Weighted:
    """Positive scores sorted into the negative ones once, so that weights give figures in linear time.

    Negative scores between the same two positive ones pass at the same TAR: no figure can tell them apart. They are one
    step; steps are numbered downwards, 0 to K - 1.

    Attributes:
        negative: (N,) step of each negative score.
        above: (P,) the highest step that each positive score is strictly above; K if none.
        reaches: (P,) the same, of the highest that it is at least as high as.
        steps: K, at most one more than twice the distinct positive scores.
    """

    negative: IntArray
    above: IntArray
    reaches: IntArray
    steps: int

    @staticmethod
    def of(positives: ArrayLike, negatives: ArrayLike) -> "Weighted":
        """Sort positives (P,) into negatives (N,)."""
        levels, level = np.unique(np.asarray(positives, dtype=np.float64), return_inverse=True)
        others = np.asarray(negatives, dtype=np.float64)
        # Odd at a positive score, even between two of them; then downwards.
        place = np.searchsorted(levels, others, side="left") + np.searchsorted(levels, others, side="right")
        values, number = np.unique(-place, return_inverse=True)
        above, reaches = (np.searchsorted(values, -(2 * level + 1), side=side) for side in ("right", "left"))
        return Weighted(number, above, reaches, len(values))

    def curve(self, up: ArrayLike, un: ArrayLike, total: float | None = None) -> "WeightedCurve":
        """Return what passes, for positives weighted by `up` (P,) and negatives by `un` (N,).

        `total` is the weight of all positives where some are not among the scores because they never pass.
        """
        places = self.steps + 1
        true, tied = (np.cumsum(np.bincount(at, up, places), dtype=np.float64) for at in (self.above, self.reaches))
        false = np.concatenate([[0.0], np.cumsum(np.bincount(self.negative, un, self.steps))])
        return WeightedCurve(false, true, tied, float(true[-1]) if total is None else total)


@cache
def _exact(rate: float) -> Fraction:
    """Return a rate as it is written; each is asked for in every draw."""
    return Fraction(str(rate))


@dataclass(frozen=True)
class WeightedCurve:
    """How much passes at each step of negative scores.

    Attributes:
        false: (K + 1,) weight of negatives strictly above the k-th step; last, of all.
        true: (K + 1,) weight of positives strictly above it; last, of all that have a score.
        tied: (K + 1,) weight of positives at least as high; last, of all that have a score.
        total: weight of all positives.
    """

    false: FloatArray
    true: FloatArray
    tied: FloatArray
    total: float

    @property
    def empty(self) -> bool:
        """Whether positives or negatives have no weight."""
        return not (self.false[-1] > 0 and self.total > 0)

    def rate_at(self, rate: float) -> float:
        """Return TAR at FAR, or TPIR at FPIR, by the rule of `verification.threshold_at_rate`."""
        share = _exact(rate)
        place = share.numerator * int(self.false[-1]) // share.denominator
        number = int(np.searchsorted(self.false[1:], place, side="right"))
        return float(self.true[number] / self.total)

    def area_strictly_above(self) -> float:
        """Return the chance that a positive is above a negative, as `identification.tpir_area`."""
        return float(np.diff(self.false) @ self.true[:-1] / (self.false[-1] * self.total))

    def area(self) -> float:
        """Return the chance that a positive is above a negative, ties half, as `verification.auc`."""
        return float(np.diff(self.false) @ (self.true + self.tied)[:-1] / (2 * self.false[-1] * self.total))

    def equal_error_rate(self) -> float:
        """Return the rate at which both errors are equal, as `verification.equal_error_rate`."""
        # Up to the positives above a negative score, then over to all that are at least as high.
        tar = np.concatenate([[0.0], np.stack([self.true[:-1], self.tied[:-1]], axis=1).ravel(), [self.total]])
        far = np.concatenate([[0.0, 0.0], np.repeat(self.false[1:], 2)])
        return crossing(far / self.false[-1], tar / self.total)

    def best_accuracy(self) -> float:
        """Return the highest share of correct decisions, as `verification.best_accuracy`."""
        right = self.true + self.false[-1] - self.false
        return float(right.max() / (self.false[-1] + self.total))


@dataclass(frozen=True)
class PairPeople:
    """The two people of each pair.

    Attributes:
        left: (N,) number of the person.
        right: (N,) number of the other, the same in pairs of one person.
        count: people, numbered 0 to count - 1.
    """

    left: IntArray
    right: IntArray
    count: int

    @staticmethod
    def of(left: Sequence[str], right: Sequence[str]) -> "PairPeople":
        """Number the people of pairs by their names."""
        names, number = np.unique(np.array([*left, *right], dtype=str), return_inverse=True)
        return PairPeople(number[: len(left)], number[len(left) :], len(names))

    def of_rows(self, rows: ArrayLike) -> "PairPeople":
        """Keep some pairs, and the numbers of all people."""
        kept = np.asarray(rows, dtype=np.int64)
        return PairPeople(self.left[kept], self.right[kept], self.count)

    @staticmethod
    def joined(one: "PairPeople", other: "PairPeople") -> "PairPeople":
        """Put the pairs of one after those of another; their people are numbered alike."""
        assert one.count == other.count
        left, right = np.concatenate([one.left, other.left]), np.concatenate([one.right, other.right])
        return PairPeople(left, right, one.count)

    def weights(self, drawn: IntArray) -> IntArray:
        """Return (N,) how often each pair is drawn, given how often each person is."""
        return np.where(self.left == self.right, drawn[self.left], drawn[self.left] * drawn[self.right])

    def fingerprint(self, seed: int) -> str:
        """Return what two lists of pairs share only where they are of the same people, drawn alike."""
        return fingerprint(self.left, self.right, drawn_people(np.random.default_rng(seed), self.count))


def verification_intervals(
    positives: ArrayLike,
    negatives: ArrayLike,
    people: tuple[PairPeople, PairPeople],
    statistics: Mapping[str, Statistic],
    *,
    weights: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Interval | None]:
    """Return the interval of each statistic of the scores of pairs.

    Args:
        positives: (P,) scores of pairs of one person.
        negatives: (N,) scores of pairs of two people.
        people: of the positive and of the negative pairs, numbered alike.
        statistics: by name.
        weights: (N,) how many negative pairs each score stands for; None: one each.
        seed: of the draws, so that the interval is the same every time.
        resamples: number of draws.
    """
    generator = np.random.default_rng(seed)
    same, other = people
    scores = Weighted.of(positives, negatives)
    stands_for = np.ones(len(other.left)) if weights is None else np.asarray(weights, dtype=np.float64)

    def draw() -> WeightedCurve:
        drawn = drawn_people(generator, same.count)
        return scores.curve(same.weights(drawn), other.weights(drawn) * stands_for)

    whole = scores.curve(np.ones(len(same.left)), stands_for)
    # Of more comparisons than are kept, each model keeps others: the mated ones alone tell who was drawn.
    drawn = same.fingerprint(seed) if weights is not None else PairPeople.joined(same, other).fingerprint(seed)
    return _intervals(whole, draw, statistics, len(np.unique(same.left)), resamples, drawn)


def bootstrap_over_pairs(
    hits: ArrayLike, people: PairPeople, *, seed: int = 0, resamples: int = RESAMPLES
) -> Interval | None:
    """Return the interval of a mean over pairs; None without pairs.

    Args:
        hits: (N,) 0..1 per pair.
        people: the people in them.
        seed: of the draws.
        resamples: number of draws.
    """
    values = np.asarray(hits, dtype=np.float64)
    if not values.size:
        return None
    if (mean := float(values.mean())) in (0.0, 1.0):
        interval = wilson(mean, len(np.unique([people.left, people.right])))
        return with_draws(interval, np.full(resamples, mean), people.fingerprint(seed))
    generator = np.random.default_rng(seed)
    weights = (people.weights(drawn_people(generator, people.count)) for _ in range(resamples))
    shares = [(drawn @ values) / drawn.sum() if drawn.any() else np.nan for drawn in weights]
    return with_draws(percentiles(shares), shares, people.fingerprint(seed))


def open_set_intervals(
    mated: MatedRanks,
    people: ArrayLike,
    unmated_best: ArrayLike,
    unmated_people: ArrayLike,
    statistics: Mapping[str, Statistic],
    *,
    rank: int = 20,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> dict[str, Interval | None]:
    """Return the interval of each statistic of TPIR and FPIR; mated and unmated people are drawn apart.

    Args:
        mated: (P,) mated probes.
        people: (P,) whom they show.
        unmated_best: (U,) best score of each unmated probe.
        unmated_people: (U,) whom they show, as far as is known.
        statistics: by name.
        rank: TPIR counts true identities up to it.
        seed: of the draws.
        resamples: number of draws.
    """
    generator = np.random.default_rng(seed)
    # A probe that is not within the rank passes at no threshold.
    passes = mated.within(rank)
    scores = Weighted.of(mated.scores[passes], unmated_best)
    (known, one), (others, other) = (
        np.unique(np.asarray(who), return_inverse=True) for who in (people, unmated_people)
    )

    def curve(mated_weight: NDArray[Any], unmated_weight: NDArray[Any]) -> WeightedCurve:
        return scores.curve(mated_weight[passes], unmated_weight, float(mated_weight.sum()))

    def draw() -> WeightedCurve:
        return curve(drawn_people(generator, len(known))[one], drawn_people(generator, len(others))[other])

    whole = curve(np.ones(len(one)), np.ones(len(other)))
    first = drawn_people(np.random.default_rng(seed), len(known))
    return _intervals(whole, draw, statistics, len(known), resamples, fingerprint(one, other, first))


def _intervals(
    whole: WeightedCurve,
    draw: Callable[[], WeightedCurve],
    statistics: Mapping[str, Statistic],
    people: int,
    resamples: int,
    drawn: str,
) -> dict[str, Interval | None]:
    """Return the percentiles of each statistic over draws; Wilson's interval where it is 0 or 1."""
    if whole.empty:
        return dict.fromkeys(statistics)
    curves = [draw() for _ in range(resamples)]
    some = any(not curve.empty for curve in curves)
    found = {}
    for name, statistic in statistics.items():
        value = statistic(whole)
        # At 0 and 1 every draw gives the same: the draws say nothing about how far the truth may be.
        if value in (0.0, 1.0) or not some:
            found[name] = with_draws(wilson(value, people), np.full(resamples, value), drawn)
            continue
        draws = [np.nan if curve.empty else statistic(curve) for curve in curves]
        found[name] = with_draws(percentiles(draws), draws, drawn)
    return found


def drawn_people(generator: np.random.Generator, people: int) -> IntArray:
    """Return how often each person is drawn when as many are drawn as there are: (people,)."""
    return np.bincount(generator.integers(0, people, people) if people else [], minlength=people)
