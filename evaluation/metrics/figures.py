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


AlignmentKind = Literal["whole", "aligned already", "landmark list", "detection"]


@dataclass(frozen=True)
class Alignment:
    """How the faces of a protocol's pictures were aligned, without which no figure can be compared with another.

    Attributes:
        kind: "whole": no alignment, pictures resized as they are; "aligned already": the same, of pictures that hold
            aligned faces; "landmark list"; "detection" in the same run.
        source: the detector with its version, or the name of the list, with what is known of who made it.
        threshold: least score 0..1 of a face that the detector counts; None where unknown.
        pictures: number of pictures asked for.
        not_found: number of them without a face.
        became: what these became, such as "errors" or "whole pictures".
    """

    kind: AlignmentKind
    source: str = ""
    threshold: float | None = None
    pictures: int = 0
    not_found: int = 0
    became: str = ""

    @property
    def in_short(self) -> str:
        """What stands in a table's title."""
        return {
            "whole": "whole pictures",
            "aligned already": "pictures aligned already",
            "landmark list": "aligned by a landmark list",
            "detection": "aligned by detection",
        }[self.kind]

    @property
    def sentence(self) -> str:
        """All of it, as a report states it."""
        if self.kind == "whole":
            return "Faces: pictures are resized whole, not aligned."
        if self.kind == "aligned already":
            return "Faces: pictures are taken as aligned already, resized whole."
        sure = f", score {self.threshold:g} or more" if self.threshold is not None else ""
        lost = f"; {self.not_found:,} of {self.pictures:,} not found" if self.pictures else ""
        became = f", which became {self.became}" if self.not_found else ""
        return f"Faces: {self.in_short} ({self.source}{sure}){lost}{became}."


CurveKind = Literal["roc", "open-set", "cmc", "resolution", "discard", "scores"]


@dataclass(frozen=True)
class Curve:
    """A line of a plot.

    Attributes:
        name: of the line; in a histogram "panel: whose scores", or whose scores alone.
        kind: "roc" (FAR, TAR), "open-set" (FPIR, TPIR), "cmc" (rank, share), "resolution" (pixels, share),
            "discard" (share discarded, error of the rest) or "scores" (cosine at the middle of a bin, share of the
            scores in it).
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
        alignment: how its faces were aligned.
        as_published: whether it was measured as the published figures of its kind of alignment were, so that these
            may stand beside.
        fingerprint: of the pictures that it was measured on, with their landmarks; "" where unknown.
    """

    protocol: str
    figures: tuple[Figure, ...]
    curves: tuple[Curve, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    missing: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    incomplete: bool = False
    mistakes: tuple[Mistake, ...] = ()
    alignment: Alignment = Alignment("whole")
    as_published: bool = True
    fingerprint: str = ""
