"""What an evaluation found, as plain data: the content of results.json (docs/evaluation.md)."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.figures import Curve, Figure, Mistake, Outcome
from evaluation.metrics.paired import differences_of
from evaluation.models.gallery_model import MatchGallery
from evaluation.models.stored_embeddings import Origin
from evaluation.reporting.best_known import best_known
from shards.command import UserError
from shards.format import Preprocessing
from shards.json_file import read_object
from shards.writer import write_atomically
from training.networks.backbone_file import LoadedBackbone

SCHEMA_VERSION = 1
_MOST_POINTS = 300
_LOWEST_RATE = 1e-6


@dataclass(frozen=True)
class Model:
    """An evaluated model and where it comes from.

    Attributes:
        label: short name in tables.
        file: name of the checkpoint file.
        sha256: of the file.
        backbone: architecture.
        step: steps of training, or None.
        recipe: name, or None.
        preprocessing: what its pictures went through.
        gallery: label of the model that embedded the gallery; "" where it did so itself.
    """

    label: str
    file: str
    sha256: str
    backbone: str
    step: int | None
    recipe: str | None
    preprocessing: Preprocessing
    gallery: str = ""

    @staticmethod
    def of(path: Path, loaded: LoadedBackbone) -> "Model":
        """Describe a loaded checkpoint, or a model from code, whose path is its import path."""
        step = "" if loaded.step is None else f", step {loaded.step}"
        stem = path.stem if loaded.sha256 else str(path)
        label = "untrained" if loaded.step == 0 else f"{stem}{step}"
        return Model(label, path.name, loaded.sha256, loaded.name, loaded.step, loaded.recipe, loaded.preprocessing)

    @staticmethod
    def of_embeddings(path: Path, origin: Origin) -> "Model":
        """Describe the model behind stored embeddings, as far as their file says."""
        flip = ", mean over mirror images" if origin.flip else ""
        precision = "" if origin.precision == "float32" else f", computed in {origin.precision}"
        backbone = f"{origin.backbone}, embeddings from a file{flip}{precision}"
        return Model(path.stem, path.name, origin.sha256, backbone, origin.step, origin.recipe, origin.preprocessing)


@dataclass(frozen=True)
class Settings:
    """What was asked for, as far as figures depend on it.

    Attributes:
        device: "cpu" or "gpu".
        flip: whether each embedding is the mean over the picture and its mirror image.
        sizes: of reduced pictures, in pixels.
        match_gallery: whether the gallery is reduced to the size of the probes, or the mean of both taken.
        precision: of the network, "float32" or "bfloat16".
    """

    device: str
    flip: bool
    sizes: tuple[int, ...]
    match_gallery: MatchGallery | None = None
    precision: str = "float32"


@dataclass(frozen=True)
class Report:
    """All models, all protocols.

    Attributes:
        models: in the order given.
        outcomes: for every protocol that was run one outcome per model, in the models' order.
        skipped: protocols for which no data was given, with the option that gives it.
        settings: of the evaluation.
        versions: of the libraries that shape pictures and embeddings, by name.
        pairs: places of two models each, whose differences are shown: the first minus the second; None: every model
            with the first.
    """

    models: tuple[Model, ...]
    outcomes: dict[str, tuple[Outcome, ...]]
    skipped: dict[str, str]
    settings: Settings
    versions: dict[str, str]
    pairs: tuple[tuple[int, int], ...] | None = None

    @property
    def compared(self) -> tuple[tuple[int, int], ...]:
        """Places of the models whose differences are shown."""
        return tuple((place, 0) for place in range(1, len(self.models))) if self.pairs is None else self.pairs


def to_data(report: Report, draws: dict[str, str] | None = None) -> dict[str, Any]:
    """Return a report as plain data; NaN becomes null. `draws` says which file holds the draws of its intervals."""
    return {
        "schema": SCHEMA_VERSION,
        "models": [asdict(model) for model in report.models],
        "settings": asdict(report.settings),
        "versions": report.versions,
        "draws": draws,
        "protocols": [
            {
                "protocol": name,
                "results": [
                    {
                        "model": model.label,
                        "incomplete": outcome.incomplete,
                        "alignment": asdict(outcome.alignment),
                        "fingerprint": outcome.fingerprint,
                        "figures": [_figure(outcome, figure) for figure in outcome.figures],
                        "counts": outcome.counts,
                        "missing": [{"picture": p, "reason": r} for p, r in outcome.missing],
                        "notes": list(outcome.notes),
                        "mistakes": [_mistake(mistake) for mistake in outcome.mistakes],
                        "curves": [_curve(curve) for curve in outcome.curves],
                    }
                    for model, outcome in zip(report.models, outcomes, strict=True)
                ],
                "differences": _differences(report, outcomes),
            }
            for name, outcomes in report.outcomes.items()
        ],
        "skipped": [{"protocol": name, "option": option} for name, option in report.skipped.items()],
    }


def write_results(path: Path, report: Report, draws: dict[str, str] | None = None) -> None:
    """Write results.json; `draws` says which file beside it holds the draws of its intervals."""
    text = json.dumps(to_data(report, draws), indent=1, ensure_ascii=False, allow_nan=False)
    write_atomically(path, (text + "\n").encode())


def _differences(report: Report, outcomes: tuple[Outcome, ...]) -> list[dict[str, Any]]:
    """Return what the models' figures differ by."""
    return [
        {
            "model": report.models[one].label,
            "minus": report.models[other].label,
            "figures": [
                {**_without_nan(asdict(difference)), "excludes_zero": difference.excludes_zero}
                for difference in differences_of(outcomes[one].figures, outcomes[other].figures)
            ],
        }
        for one, other in report.compared
    ]


def _without_nan(data: dict[str, Any]) -> dict[str, Any]:
    """Replace what is no number by null."""
    return {name: None if isinstance(value, float) and math.isnan(value) else value for name, value in data.items()}


def _mistake(mistake: Mistake) -> dict[str, Any]:
    """Return a mistake without its pixels."""
    pictures = [{"role": shown.role, "picture": shown.name, "score": shown.score} for shown in mistake.pictures]
    return {"kind": mistake.kind, "pictures": pictures}


def _curve(curve: Curve) -> dict[str, Any]:
    """Return a curve; of one with many points those nearest to even steps, of the logarithm where x is a rate."""
    x, y = curve.x, curve.y
    if len(x) > _MOST_POINTS:
        rates = np.geomspace(max(float(x[x > 0].min()), _LOWEST_RATE), 1, _MOST_POINTS)
        rates = np.linspace(0, 1, _MOST_POINTS) if curve.kind == "discard" else rates
        # The last point at or below each rate: what a step function is there.
        rows = np.unique(np.maximum(np.searchsorted(x, rates, side="right") - 1, 0))
        x, y = x[rows], y[rows]
    points = [[number if math.isfinite(number) else None for number in axis.tolist()] for axis in (x, y)]
    return {"name": curve.name, "kind": curve.kind, "x": points[0], "y": points[1]}


def _figure(outcome: Outcome, figure: Figure) -> dict[str, Any]:
    best = best_known(outcome.protocol, figure.name, outcome)
    sources = {"best": best.value if best else None, "best_source": best.source if best else None}
    return _without_nan({**asdict(figure), **sources})


def thresholds_of(path: Path, loaded: LoadedBackbone, *, flip: bool) -> list[tuple[str, str, float]]:
    """Return protocol, figure and threshold of every figure of a model that has one.

    Args:
        path: results.json of an evaluation.
        loaded: the model.
        flip: whether its embeddings are the mean over the picture and its mirror image.

    Raises:
        UserError: no such file, or it is of another model or other settings, or holds no thresholds.
    """
    try:
        data = read_object(path)
        models = [model["label"] for model in data["models"] if model["sha256"] == loaded.sha256 and loaded.sha256]
        if not models:
            raise UserError(f"{path} is of another model; evaluate {loaded.name} and name that results.json")
        if bool(data["settings"]["flip"]) != flip:
            raise UserError(f"{path} was made {'with' if not flip else 'without'} --flip; compare the same way")
        found = [
            (str(protocol["protocol"]), str(figure["name"]), float(figure["threshold"]))
            for protocol in data["protocols"]
            for result in protocol["results"]
            if result["model"] == models[0]
            for figure in result["figures"]
            if figure.get("threshold") is not None
        ]
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise UserError(f"{path} is no results.json of an evaluation: {error!r}") from error
    if not found:
        raise UserError(f"{path} holds no threshold; evaluate a verification protocol, such as with --survface")
    return found
