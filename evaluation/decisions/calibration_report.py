"""What a calibration is worth on people it was not fitted on: cross-validated over people."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.decisions.calibration import Calibration, Trials, fit, joined
from evaluation.enrolled.face_table import FaceTable
from evaluation.metrics.intervals import Interval, bootstrap_over_people
from evaluation.metrics.likelihood_ratios import cllr, min_cllr
from evaluation.metrics.verification import threshold_at_rate

CLASSES = ((0, 9), (9, 13), (13, 18), (18, 28), (28, 1e9))
"""Sizes of probes in pixels, from and below."""
FEW_PEOPLE = 50
"""Fewer people leave the rate of false alarms uncertain by a factor of two or more."""

_SPLITS = 3
_DRAWS = 5
# Of log likelihood ratios, for the reliability.
_EDGES = (-np.inf, -4, -2, -1, 0, 1, 2, 4, np.inf)


@dataclass(frozen=True)
class ClassReport:
    """What was found of probes of a class of size; a share is 0..1, NaN without trials.

    Attributes:
        low: smallest size in pixels.
        high: size in pixels below which the class ends.
        strangers: trials of identification with strangers.
        fpir: share of strangers that pass the calibrated threshold, with its 95 % interval over people.
        fpir_one: likewise with one threshold for all sizes, at the same FPIR over all classes.
        tpir: share of enrolled people's probes whose person is first and passes the calibrated threshold.
        tpir_one: likewise with one threshold.
        cllr: of the log likelihood ratios; of comparisons, not of identification.
        min_cllr: of a perfect monotone calibration of the same scores.
        too_small: share of probes that are too small to tell.
    """

    low: float
    high: float
    strangers: int
    fpir: float
    fpir_interval: Interval | None
    fpir_one: float
    tpir: float
    tpir_one: float
    cllr: float
    min_cllr: float
    too_small: float


@dataclass(frozen=True)
class CalibrationReport:
    """What a calibration is worth.

    Attributes:
        people: in it.
        cllr: over all trials of people held out.
        min_cllr: likewise of a perfect monotone calibration.
        classes: by size; the last entry holds all sizes together.
        reliability: lower and upper log likelihood ratio, trials, the ratio that was said and the one that was found.
    """

    people: int
    cllr: float
    min_cllr: float
    classes: tuple[ClassReport, ...]
    reliability: tuple[tuple[float, float, int, float, float], ...]


@dataclass(frozen=True, eq=False)
class _Probes:
    """Probes of people held out against galleries of one photo a person.

    Attributes:
        size: (N,) pixels.
        person: (N,) who it is.
        enrolled: (N,) whether that person is in the gallery.
        margin: (N,) best score less the calibrated threshold.
        score: (N,) best score.
        right: (N,) whether it is that person's.
        small: (N,) whether it is too small to tell.
    """

    size: NDArray[np.float64]
    person: NDArray[np.int64]
    enrolled: NDArray[np.bool_]
    margin: NDArray[np.float64]
    score: NDArray[np.float64]
    right: NDArray[np.bool_]
    small: NDArray[np.bool_]


def report(trials: Trials, fpir: float) -> CalibrationReport:
    """Fit on half of the people and test on the other half, some times over.

    Args:
        trials: of all people.
        fpir: the rate of false alarms that is wanted, 0..1.
    """
    llrs: list[NDArray[np.float64]] = []
    held: list[Trials] = []
    probes: list[_Probes] = []
    for seed, (calibration, tested) in enumerate(_halves(trials)):
        llrs.append(calibration.llr(tested.scores, tested.sizes, tested.norms))
        held.append(tested)
        probes.append(_identified(calibration, tested, fpir, seed))
    every = joined(held)
    llr = np.concatenate(llrs)
    found = _Probes(*(np.concatenate([getattr(part, one.name) for part in probes]) for one in fields(_Probes)))
    strangers = ~found.enrolled
    # One threshold at the FPIR that the calibrated ones came to.
    reached = float((found.margin[strangers] > 0).mean())
    one = threshold_at_rate(found.score[strangers], reached)
    classes = [_class(found, every, llr, one, low, high) for low, high in (*CLASSES, (0, np.inf))]
    people = len(np.unique(trials.gallery))
    whole = cllr(llr[every.mated], llr[~every.mated]), min_cllr(llr[every.mated], llr[~every.mated])
    return CalibrationReport(people, *whole, tuple(one for one in classes if one), _reliability(llr, every.mated))


def _halves(trials: Trials) -> Iterator[tuple[Calibration, Trials]]:
    """Yield what is fitted on one half of the people and the trials of the other half."""
    people = np.unique(trials.gallery)
    for seed in range(_SPLITS):
        half = np.random.default_rng(seed).permutation(people)[: len(people) // 2]
        probe, gallery = np.isin(trials.probes, half), np.isin(trials.gallery, half)
        within, without = trials.where(probe & gallery), trials.where(~probe & ~gallery)
        for fitted, tested in ((within, without), (without, within)):
            if all(part.mated.any() and not part.mated.all() for part in (fitted, tested)):
                yield fit(fitted, {}, {}), tested


def _identified(calibration: Calibration, trials: Trials, fpir: float, seed: int) -> _Probes:
    """Enrol one photo of each second person, some times over, and identify the probes of all people."""
    draw = np.random.default_rng(seed)
    people = np.unique(trials.gallery)
    parts = []
    for _ in range(_DRAWS):
        enrolled = draw.permutation(people)[: max(1, len(people) // 2)]
        photos = [int(draw.choice(np.unique(trials.photos[trials.gallery == person]))) for person in enrolled]
        # A photo that is enrolled is no probe.
        against = trials.where(np.isin(trials.photos, photos) & ~np.isin(trials.pictures, photos))
        key = against.groups * (int(trials.pictures.max()) + 1) + against.pictures
        order = np.lexsort((-against.scores, key))
        best = order[np.flatnonzero(np.diff(key[order], prepend=-1))]
        one = against.where(best)
        threshold = calibration.threshold(one.sizes, fpir, len(photos))
        small = calibration.too_small(one.sizes, fpir, len(photos))
        known = np.isin(one.probes, enrolled)
        parts.append(_Probes(one.sizes, one.probes, known, one.scores - threshold, one.scores, one.mated, small))
    return _Probes(*(np.concatenate([getattr(part, name.name) for part in parts]) for name in fields(_Probes)))


def _reliability(
    llr: NDArray[np.float64], mated: NDArray[np.bool_]
) -> tuple[tuple[float, float, int, float, float], ...]:
    """Compare said and found ratios of trials in bands: said is the mean posterior at even odds, as a ratio."""
    weights = np.where(mated, 0.5 / mated.sum(), 0.5 / (~mated).sum())
    rows = []
    for low, high in pairwise(_EDGES):
        band = (llr >= low) & (llr < high)
        if not band.any():
            continue
        true, false = float(weights[band & mated].sum()), float(weights[band & ~mated].sum())
        posterior = float((weights[band] / (1 + np.exp(-llr[band]))).sum() / weights[band].sum())
        found = np.log(true / false) if true and false else np.inf if true else -np.inf
        rows.append((low, high, int(band.sum()), float(np.log(posterior / (1 - posterior))), float(found)))
    return tuple(rows)


def _class(
    found: _Probes, trials: Trials, llr: NDArray[np.float64], one: float, low: float, high: float
) -> ClassReport | None:
    inside = (found.size >= low) & (found.size < high)
    strangers, mated = inside & ~found.enrolled, inside & found.enrolled
    if not strangers.any() or not mated.any():
        return None
    some = (trials.sizes >= low) & (trials.sizes < high)
    true, false = llr[some & trials.mated], llr[some & ~trials.mated]
    passed = found.margin > 0
    return ClassReport(
        low,
        high,
        int(strangers.sum()),
        float(passed[strangers].mean()),
        bootstrap_over_people(passed[strangers], found.person[strangers]),
        float((found.score > one)[strangers].mean()),
        float((passed & found.right)[mated].mean()),
        float(((found.score > one) & found.right)[mated].mean()),
        cllr(true, false),
        min_cllr(true, false),
        float(found.small[inside].mean()),
    )


def caveat(calibration: Calibration, fpir: float, photos: int) -> list[str]:
    """Return what must be said beside decisions that rest on few people or on scores beyond those seen."""
    people = int(calibration.provenance.get("people", 0))
    notes = []
    if people < FEW_PEOPLE:
        notes.append(
            f"The calibration rests on {people} people: its rates may be wrong by a factor of two or more, and its "
            "thresholds are raised by a standard error"
        )
    if fpir / max(photos, 1) < calibration.rates[-1]:
        notes.append(f"An FPIR of {fpir:.2%} against {photos:,} photos lies beyond what the calibration has seen")
    return notes


def provenance(table: FaceTable, trials: Trials, found: CalibrationReport) -> dict[str, Any]:
    """Return what a calibration file says of its origin: digests of the photos, counts, and what it is worth."""
    digest = hashlib.sha256("".join(sorted(table.sha256)).encode()).hexdigest()
    return {
        "people": found.people,
        "photos": len(table),
        "photos_sha256": digest,
        "mated_trials": int(trials.mated.sum()),
        "non_mated_trials": int((~trials.mated).sum()),
        "held_out": {"cllr": found.cllr, "min_cllr": found.min_cllr, "splits_in_half": _SPLITS},
    }
