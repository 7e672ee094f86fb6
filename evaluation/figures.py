"""What a protocol yields: figures, curves, and what was missing."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Figure:
    """One number of a protocol.

    Attributes:
        name: what it measures.
        value: share 0..1, full precision; NaN where nothing could be measured.
        n: pairs or probes behind it.
        interval: 95 % interval.
        spread: standard deviation over folds.
        paper: the figure published by Lai and Lam (2021).
        rerun: the authors' own rerun of their code.
        note: what a reader must know to compare it.
    """

    name: str
    value: float
    n: int
    interval: tuple[float, float] | None = None
    spread: float | None = None
    paper: float | None = None
    rerun: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """A line of a plot.

    Attributes:
        name: of the line.
        kind: "roc" (FAR, TAR), "cmc" (rank, share) or "resolution" (pixels, share).
        x: (N,) float.
        y: (N,) float.
    """

    name: str
    kind: Literal["roc", "cmc", "resolution"]
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Outcome:
    """The result of one protocol for one model.

    Attributes:
        protocol: its name.
        figures: in the order in which they are shown.
        curves: for the plots.
        counts: of pictures and pairs, by what they are.
        missing: picture name and reason, of every picture that could not be used.
        notes: one sentence each.
        incomplete: whether figures rest on less than the whole protocol.
    """

    protocol: str
    figures: tuple[Figure, ...]
    curves: tuple[Curve, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    incomplete: bool = False
