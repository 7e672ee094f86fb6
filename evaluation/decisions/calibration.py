"""From a score, the size of the probe's face and its norm to a log likelihood ratio and a threshold."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from shards.command import UserError
from shards.json_file import read_object
from shards.writer import write_atomically

FORMAT = "calibration, version 1"
Floats = NDArray[np.float64]

_RATES = (0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001, 0.0005, 0.0002, 0.0001, 5e-5, 2e-5, 1e-5, 5e-6, 2e-6, 1e-6)
# A rate is read off where at least so many non-mated trials lie beyond.
_BEYOND = 20
_RESAMPLES = 40
_LISTS = ("sizes", "mean", "deviation", "slope", "offset", "highest", "rates", "tail")
_MOST_STRANGERS = 60_000


@dataclass(frozen=True, eq=False)
class Trials:
    """Comparisons of a probe with a photo in a gallery.

    Attributes:
        scores: (N,) cosines.
        sizes: (N,) pixels, of the probe's face.
        norms: (N,) of the probe's embedding.
        probes: (N,) int64 number of the probe's person.
        gallery: (N,) int64 number of the gallery photo's person.
        groups: (N,) int64: probes reduced alike share a number.
        photos: (N,) int64 number of the gallery photo.
        pictures: (N,) int64 number of the probe's own photo, reduced or not.
    """

    scores: Floats
    sizes: Floats
    norms: Floats
    probes: NDArray[np.int64]
    gallery: NDArray[np.int64]
    groups: NDArray[np.int64]
    photos: NDArray[np.int64]
    pictures: NDArray[np.int64]

    @property
    def mated(self) -> NDArray[np.bool_]:
        """(N,) whether both are of one person."""
        return np.asarray(self.probes == self.gallery)

    def where(self, chosen: NDArray[np.bool_] | NDArray[np.int64]) -> "Trials":
        """Return some of the trials, by a mask or by their numbers."""
        return Trials(*(getattr(self, one.name)[chosen] for one in fields(self)))


def joined(parts: Sequence[Trials]) -> Trials:
    """Put trials together."""
    return Trials(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Trials)))


@dataclass(frozen=True)
class Calibration:
    """What scores mean at each size; between the sizes everything is linear in the logarithm of the size.

    Attributes:
        made: fingerprint of the model and how faces are found; see `measuring`.
        provenance: people, photos and trials it was fitted on, and what cross-validation found.
        sizes: in pixels, rising.
        mean: of non-mated scores at each size.
        deviation: standard deviation of non-mated scores at each size.
        slope: of the log likelihood ratio over the standardised score at each size, 0 or more.
        offset: of the log likelihood ratio at each size.
        norm: mean, standard deviation and slope of the log likelihood ratio over the standardised norm.
        highest: the score that 1 % of mated trials exceed at each size: what occurs.
        rates: of non-mated trials, falling.
        tail: the standardised score that each rate exceeds.
        caution: added to it: the standard error, by a bootstrap over people.
        bound: largest log likelihood ratio, either way: that of as many trials as there are pairs of people.
    """

    made: dict[str, Any]
    provenance: dict[str, Any]
    sizes: tuple[float, ...]
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    slope: tuple[float, ...]
    offset: tuple[float, ...]
    norm: tuple[float, float, float]
    highest: tuple[float, ...]
    rates: tuple[float, ...]
    tail: tuple[float, ...]
    caution: float
    bound: float

    def _at(self, values: tuple[float, ...], sizes: ArrayLike) -> Floats:
        return np.asarray(np.interp(np.log2(np.asarray(sizes, dtype=np.float64)), np.log2(self.sizes), values))

    def standardised(self, scores: ArrayLike, sizes: ArrayLike) -> Floats:
        """Return how many standard deviations scores lie above those of strangers of that size."""
        return np.asarray((np.asarray(scores) - self._at(self.mean, sizes)) / self._at(self.deviation, sizes))

    def llr(self, scores: ArrayLike, sizes: ArrayLike, norms: ArrayLike) -> Floats:
        """Return natural log likelihood ratios, never falling with the score, within the bound: (N,) each."""
        mean, deviation, slope = self.norm
        quality = slope * (np.asarray(norms, dtype=np.float64) - mean) / deviation
        found = self._at(self.slope, sizes) * self.standardised(scores, sizes) + self._at(self.offset, sizes) + quality
        return np.asarray(np.clip(found, -self.bound, self.bound))

    def threshold(self, sizes: ArrayLike, fpir: float, photos: int) -> Floats:
        """Return the cosine that a stranger of a size exceeds at a rate, against a gallery of so many photos.

        A comparison's own rate is 1 - (1 - fpir) ** (1 / photos). Beyond the rates that were seen the tail is
        continued as an exponential one.
        """
        rate = -np.expm1(np.log1p(-fpir) / max(photos, 1))
        logs, tail = np.log(self.rates), np.array(self.tail)
        if rate >= self.rates[-1]:
            beyond = float(np.interp(-np.log(rate), -logs, tail))
        else:
            steepness = (tail[-1] - tail[-2]) / (logs[-2] - logs[-1]) if len(tail) > 1 else 1.0
            beyond = float(tail[-1] + max(steepness, 0.0) * (logs[-1] - np.log(rate)))
        return np.asarray(self._at(self.mean, sizes) + self._at(self.deviation, sizes) * (beyond + self.caution))

    def too_small(self, sizes: ArrayLike, fpir: float, photos: int) -> NDArray[np.bool_]:
        """Tell at which sizes no score that occurs could decide, or none was seen: (N,)."""
        pixels = np.asarray(sizes, dtype=np.float64)
        decides = self._at(self.highest, pixels) > self.threshold(pixels, fpir, photos)
        return np.asarray(~decides | (pixels < self.sizes[0]))


def fit(trials: Trials, made: dict[str, Any], provenance: dict[str, Any]) -> Calibration:
    """Fit a calibration by logistic regression, weighted so that mated and non-mated trials count alike.

    Args:
        trials: of two people or more, some mated, in every group.
        made: fingerprint.
        provenance: where the trials come from.
    """
    mated, groups = trials.mated, np.unique(trials.groups)
    sizes = np.array([np.median(trials.sizes[trials.groups == group]) for group in groups])
    order = np.argsort(sizes)
    groups, sizes = groups[order], sizes[order]
    strangers = [trials.scores[(trials.groups == group) & ~mated] for group in groups]
    highest = [np.quantile(trials.scores[(trials.groups == group) & mated], 0.99) for group in groups]
    mean = np.array([scores.mean() for scores in strangers])
    deviation = np.array([max(float(scores.std()), 1e-6) for scores in strangers])
    place = np.log2(sizes)
    at = np.log2(trials.sizes)
    z = (trials.scores - np.interp(at, place, mean)) / np.interp(at, place, deviation)
    norm = float(trials.norms.mean()), max(float(trials.norms.std()), 1e-6)
    some = _for_regression(mated)
    quality_of = (trials.norms[some] - norm[0]) / norm[1]
    slope, offset, quality = _logistic(z[some], _hats(at[some], place), quality_of, mated[some])
    beyond = z[~mated]
    rates = tuple(rate for rate in _RATES if rate * beyond.size >= _BEYOND) or _RATES[:1]
    people = len(np.unique(trials.gallery))
    return Calibration(
        made,
        provenance,
        tuple(sizes.tolist()),
        tuple(mean.tolist()),
        tuple(deviation.tolist()),
        tuple(slope.tolist()),
        tuple(offset.tolist()),
        (*norm, quality),
        tuple(float(score) for score in highest),
        rates,
        tuple(np.quantile(beyond, 1 - np.array(rates)).tolist()),
        _caution(beyond, trials.where(~mated), rates[min(len(rates) - 1, 6)]),
        float(np.log(max(people * (people - 1) / 2, 2))),
    )


def _for_regression(mated: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the rows of all mated trials, and of so many others that a regression takes seconds."""
    others = np.flatnonzero(~mated)
    if len(others) > _MOST_STRANGERS:
        others = np.random.default_rng(0).choice(others, _MOST_STRANGERS, replace=False)
    return np.sort(np.concatenate([np.flatnonzero(mated), others]))


def _hats(at: Floats, place: Floats) -> Floats:
    """Return the weights of linear interpolation: (N,) between (K,) places -> (N, K)."""
    return np.stack([np.interp(at, place, unit) for unit in np.eye(len(place))], axis=1)


def _logistic(z: Floats, hats: Floats, norms: Floats, mated: NDArray[np.bool_]) -> tuple[Floats, Floats, float]:
    """Return slopes and offsets at the sizes and the norm's slope; a size with a falling slope says nothing."""
    from sklearn.linear_model import LogisticRegression

    features = np.concatenate([z[:, None] * hats, hats, norms[:, None]], axis=1)
    weights = np.where(mated, 0.5 / mated.mean(), 0.5 / (1 - mated.mean()))
    model = LogisticRegression(C=10.0, fit_intercept=False, max_iter=300)
    model.fit(features, mated, sample_weight=weights)
    found, count = model.coef_[0], hats.shape[1]
    falling = found[:count] < 0
    return np.where(falling, 0, found[:count]), np.where(falling, 0, found[count:-1]), float(found[-1])


def _caution(z: Floats, trials: Trials, rate: float) -> float:
    """Return the standard error of a quantile of standardised scores, by a bootstrap over people."""
    draw = np.random.default_rng(0)
    people, codes = np.unique(np.concatenate([trials.probes, trials.gallery]), return_inverse=True)
    probe, other = codes[: len(z)], codes[len(z) :]
    # Only the highest scores can be at the quantile.
    top = np.argsort(-z)[: max(int(20 * rate * len(z)), min(len(z), 1000))]
    found = []
    for _ in range(_RESAMPLES):
        times = np.bincount(draw.integers(0, len(people), len(people)), minlength=len(people)).astype(np.float64)
        whole = float((times[probe] * times[other]).sum())
        reached = np.cumsum(times[probe[top]] * times[other[top]]) >= rate * whole
        found.append(z[top[int(np.argmax(reached))]] if reached.any() else z[top[-1]])
    return float(np.std(found))


def write_calibration(path: Path, calibration: Calibration) -> None:
    """Write a calibration as JSON, whole or not at all."""
    text = json.dumps({"format": FORMAT, **asdict(calibration)}, indent=1) + "\n"
    write_atomically(path, text.encode(), private=True)


def read_calibration(path: Path) -> Calibration:
    """Read a calibration.

    Raises:
        UserError: the file is missing, damaged or not of this form.
    """
    try:
        data = read_object(path)
        if data.pop("format", None) != FORMAT:
            raise ValueError(f"its format is not {FORMAT!r}")
        lists = {name: tuple(map(float, data[name])) for name in _LISTS}
        mean, deviation, quality = map(float, data["norm"])
        found = Calibration(
            made=dict(data["made"]),
            provenance=dict(data["provenance"]),
            norm=(mean, deviation, quality),
            caution=float(data["caution"]),
            bound=float(data["bound"]),
            **lists,
        )
        count = len(found.sizes)
        by_size = ("mean", "deviation", "slope", "offset", "highest")
        if not count or any(len(lists[name]) != count for name in by_size) or len(found.rates) != len(found.tail):
            raise ValueError("its lists are not equally long")
        every = [*chain.from_iterable(lists.values()), *found.norm, found.caution, found.bound]
        if not np.isfinite(every).all() or min(found.sizes) <= 0 or not found.rates:
            raise ValueError("its numbers are not finite")
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read as a calibration ({error}); run `python -m evaluation.calibrate`"
        ) from error
    return found
