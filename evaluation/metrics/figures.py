"""What a protocol yields: figures, curves, and what was missing."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.metrics.intervals import Interval


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
        threshold: of a TAR at a FAR: the cosine that a pair must exceed.
    """

    name: str
    value: float
    n: int
    interval: Interval | None = None
    spread: float | None = None
    paper: float | None = None
    rerun: float | None = None
    note: str = ""
    threshold: float | None = None


CurveKind = Literal["roc", "open-set", "cmc", "resolution", "scores"]


@dataclass(frozen=True)
class Curve:
    """A line of a plot.

    Attributes:
        name: of the line; in a histogram "panel: whose scores", or whose scores alone.
        kind: "roc" (FAR, TAR), "open-set" (FPIR, TPIR), "cmc" (rank, share), "resolution" (pixels, share) or
            "scores" (cosine at the middle of a bin, share of the scores in it).
        x: (N,) float.
        y: (N,) float.
    """

    name: str
    kind: CurveKind
    x: NDArray[np.float64]
    y: NDArray[np.float64]


@dataclass(frozen=True)
class Shown:
    """A picture of a mistake.

    Attributes:
        role: "probe", "true match", "taken instead", "first" or "second".
        name: of the picture.
        score: cosine with the probe or the first picture; None for that one itself.
        jpeg: what the network saw, or nothing where it could not be read again.
    """

    role: str
    name: str
    score: float | None
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class Mistake:
    """A wrong decision, worst first within its kind.

    Attributes:
        kind: what went wrong, in the words of a heading.
        pictures: the probe or the first picture, then those it was compared with.
    """

    kind: str
    pictures: tuple[Shown, ...]


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
        mistakes: the worst ones, with their pictures.
    """

    protocol: str
    figures: tuple[Figure, ...]
    curves: tuple[Curve, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    incomplete: bool = False
    mistakes: tuple[Mistake, ...] = ()
