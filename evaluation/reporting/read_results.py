"""results.json read back as the report that it was written from, but for the pixels of its mistakes."""

import math
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.figures import Alignment, Curve, Figure, Outcome
from evaluation.metrics.intervals import Interval, Resampled
from evaluation.models.gallery_model import MatchGallery
from evaluation.reporting.draws import Draws, read_draws
from evaluation.reporting.results import SCHEMA_VERSION, Model, Report, Settings
from shards.command import UserError
from shards.format import Preprocessing
from shards.json_file import read_object

_FIGURE = ("name", "n", "spread", "paper", "rerun", "note", "threshold")


def read_report(path: Path) -> Report:
    """Read a results.json, and the draws beside it, without which differences have no intervals.

    Raises:
        UserError: it is none, or of another version, or the draws are not those it was written with.
    """
    if not path.is_file():
        raise UserError(f"no file {path}; name a results.json of python -m evaluation")
    try:
        data = read_object(path)
        if data.get("schema") != SCHEMA_VERSION:
            raise ValueError(f"its schema is {data.get('schema')!r}, this program reads {SCHEMA_VERSION}")
        return _report(data, read_draws(path.parent, data.get("draws")))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, IndexError) as error:
        raise UserError(f"{path} is no results.json of an evaluation: {error!r:.200}") from error


def _report(data: dict[str, Any], draws: Draws) -> Report:
    models = tuple(
        Model(
            str(model["label"]),
            str(model["file"]),
            str(model["sha256"]),
            str(model["backbone"]),
            model["step"],
            model["recipe"],
            Preprocessing.from_dict(model["preprocessing"]),
            str(model.get("gallery", "")),
        )
        for model in data["models"]
    )
    labels = [model.label for model in models]
    outcomes = {}
    for protocol in data["protocols"]:
        results = {str(result["model"]): result for result in protocol["results"]}
        name = str(protocol["protocol"])
        outcomes[name] = tuple(_outcome(name, label, results[label], draws) for label in labels)
    given = data["settings"]
    settings = Settings(
        str(given["device"]),
        bool(given["flip"]),
        tuple(int(size) for size in given["sizes"]),
        _match_gallery(given["match_gallery"]),
        str(given["precision"]),
    )
    versions = {str(name): str(version) for name, version in data["versions"].items()}
    return Report(models, outcomes, {}, settings, versions, _pairs(data, labels))


def _match_gallery(given: object) -> MatchGallery | None:
    """Return how the gallery was matched; files of before there were two ways say only whether it was."""
    found: dict[object, MatchGallery | None] = {
        None: None,
        False: None,
        True: "reduced",
        "reduced": "reduced",
        "both": "both",
    }
    return found[given]


def _pairs(data: dict[str, Any], labels: list[str]) -> tuple[tuple[int, int], ...] | None:
    """Return the places of the models that were compared; None where no protocol says it."""
    for protocol in data["protocols"]:
        if "differences" in protocol:
            pairs = ((labels.index(one["model"]), labels.index(one["minus"])) for one in protocol["differences"])
            return tuple(pairs)
    return None


def _outcome(protocol: str, label: str, result: dict[str, Any], draws: Draws) -> Outcome:
    figures = tuple(_figure(figure, draws.get((protocol, label, str(figure["name"])))) for figure in result["figures"])
    return Outcome(
        protocol,
        figures,
        tuple(_curve(curve) for curve in result["curves"]),
        {str(name): int(count) for name, count in result["counts"].items()},
        tuple((str(one["picture"]), str(one["reason"])) for one in result["missing"]),
        tuple(map(str, result["notes"])),
        bool(result["incomplete"]),
        alignment=Alignment(**result["alignment"]),
        # What stands beside was decided when it was written.
        as_published=any(figure.get("best") is not None for figure in result["figures"]),
        fingerprint=str(result.get("fingerprint", "")),
    )


def _figure(data: dict[str, Any], resampled: tuple[np.ndarray, str] | None) -> Figure:
    interval: Interval | None = None
    if data["interval"] is not None:
        low, high = map(float, data["interval"])
        interval = Resampled((low, high), *resampled) if resampled else (low, high)
    value = math.nan if data["value"] is None else float(data["value"])
    rest = {name: data[name] for name in _FIGURE}
    return Figure(value=value, interval=interval, **rest)


def _curve(data: dict[str, Any]) -> Curve:
    x, y = (np.array([math.nan if v is None else v for v in data[axis]], dtype=np.float64) for axis in ("x", "y"))
    return Curve(str(data["name"]), data["kind"], x, y)
