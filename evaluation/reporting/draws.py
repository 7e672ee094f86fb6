"""The draws behind the intervals, kept beside results.json, so that reports of different days can be compared in pairs.

draws.npz holds three arrays of one row a figure: `keys` (protocol, model and figure, text), `drawn` (fingerprint of who
was drawn, text) and `draws` (the figure in each draw, float64). results.json carries the file's SHA-256.
"""

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.intervals import Resampled
from evaluation.reporting.results import Report
from shards.writer import write_atomically

FILE = "draws.npz"
Draws = dict[tuple[str, str, str], tuple[NDArray[np.float64], str]]
"""By protocol, model and figure: the draws and who was drawn."""


def draws_of(report: Report) -> Draws:
    """Return the draws of every figure that was resampled."""
    return {
        (protocol, model.label, figure.name): (figure.interval.draws, figure.interval.drawn)
        for protocol, outcomes in report.outcomes.items()
        for model, outcome in zip(report.models, outcomes, strict=True)
        for figure in outcome.figures
        if isinstance(figure.interval, Resampled) and figure.interval.draws.size
    }


def write_draws(folder: Path, draws: Draws) -> dict[str, str]:
    """Write the draws into a folder; return what results.json says of them."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        keys=np.array([*draws] or np.empty((0, 3)), dtype=np.str_),
        drawn=np.array([drawn for _, drawn in draws.values()], dtype=np.str_),
        draws=np.array([values for values, _ in draws.values()], dtype=np.float64),
    )
    data = content.getvalue()
    write_atomically(folder / FILE, data)
    return {"file": FILE, "sha256": hashlib.sha256(data).hexdigest()}


def read_draws(folder: Path, named: dict[str, Any] | None) -> Draws:
    """Read the draws that a results.json names; none where it names none or the file is not beside it.

    Raises:
        ValueError: the file is another one, or damaged.
    """
    path = folder / FILE
    if named is None or not path.is_file():
        return {}
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != named["sha256"]:
        raise ValueError(f"{FILE} beside it is of another evaluation; remove it or evaluate again")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        rows = zip(file["keys"].tolist(), file["draws"], file["drawn"].tolist(), strict=True)
        return {(protocol, model, figure): (values, drawn) for (protocol, model, figure), values, drawn in rows}
