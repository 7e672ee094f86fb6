"""From candidates to a decision on each face."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from evaluation.decisions.calibration import Calibration
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.search import Candidates
from evaluation.enrolled.sized_search import find_at_sizes

Verdict = Literal["person", "nobody we know", "too small to tell", "undecided"]
"""What is decided; "undecided" where there is no calibration: a threshold that nobody measured is a guess."""
CANDIDATES = 5


@dataclass(frozen=True)
class Candidate:
    """A person who may be meant.

    Attributes:
        person: name.
        row: of the photo in the gallery that is most alike.
        score: its cosine, -1..1.
        llr: natural logarithm of how much likelier the score is of this person than of another; None uncalibrated.
    """

    person: str
    row: int
    score: float
    llr: float | None = None

    @property
    def said(self) -> str:
        """The score in words."""
        return f"{self.score:.3f}" + ("" if self.llr is None else f", LLR {self.llr:+.1f}")


@dataclass(frozen=True)
class Decision:
    """What is decided on a face.

    Attributes:
        verdict: see `Verdict`.
        candidates: up to five people, the best first.
        reason: a sentence.
    """

    verdict: Verdict
    candidates: tuple[Candidate, ...]
    reason: str

    @property
    def person(self) -> str:
        """Name of the person, "" where none is decided on."""
        return self.candidates[0].person if self.verdict == "person" else ""


def identify(
    probes: FaceTable, gallery: FaceTable, calibration: Calibration | None = None, fpir: float = 0.01
) -> list[Decision]:
    """Search a gallery for each face and decide.

    Args:
        probes: the faces.
        gallery: enrolled people, sorted by person.
        calibration: of the same model; None decides on nobody.
        fpir: share of strangers that may be taken for somebody, at every size, 0..1.
    """
    names, numbers = gallery.numbered()
    found = find_at_sizes(gallery, numbers, probes, CANDIDATES)
    return decide(probes, found, names, len(gallery), calibration, fpir)


def decide(
    probes: FaceTable,
    found: Candidates,
    names: Sequence[str],
    photos: int,
    calibration: Calibration | None = None,
    fpir: float = 0.01,
) -> list[Decision]:
    """Decide on faces whose candidates were found.

    Args:
        probes: the faces.
        found: candidates of each.
        names: of the people, by their numbers.
        photos: in the gallery that was searched.
        calibration: of the same model; None decides on nobody.
        fpir: share of strangers that may be taken for somebody, at every size, 0..1.
    """
    everybody = [_candidates(found, row, names) for row in range(len(probes))]
    if calibration is None:
        reason = "No calibration was given (--calibration): which score is enough is not known."
        return [Decision("undecided", candidates, reason) for candidates in everybody]
    sizes = probes.resolutions
    thresholds = calibration.threshold(sizes, fpir, photos)
    small = calibration.too_small(sizes, fpir, photos)
    return [
        _decided(_rated(candidates, calibration, size, norm), size, threshold, too_small)
        for candidates, size, norm, threshold, too_small in zip(
            everybody, sizes.tolist(), probes.norms.tolist(), thresholds.tolist(), small.tolist(), strict=True
        )
    ]


def _decided(candidates: tuple[Candidate, ...], size: float, threshold: float, too_small: bool) -> Decision:
    if too_small:
        reason = f"At {size:.0f} pixels no score that occurs could decide (it would take {threshold:.3f})."
        return Decision("too small to tell", candidates, reason)
    if candidates and candidates[0].score > threshold:
        reason = f"{candidates[0].score:.3f} is above {threshold:.3f}, the threshold at {size:.0f} pixels."
        return Decision("person", candidates, reason)
    return Decision(
        "nobody we know", candidates, f"No score is above {threshold:.3f}, the threshold at {size:.0f} pixels."
    )


def _rated(
    candidates: tuple[Candidate, ...], calibration: Calibration, size: float, norm: float
) -> tuple[Candidate, ...]:
    llrs = calibration.llr([one.score for one in candidates], [size] * len(candidates), [norm] * len(candidates))
    return tuple(replace(one, llr=round(float(llr), 3)) for one, llr in zip(candidates, llrs, strict=True))


def _candidates(found: Candidates, row: int, names: Sequence[str]) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(names[person], int(found.rows[row, place]), float(found.scores[row, place]))
        for place, person in enumerate(found.people[row])
        if person >= 0 and np.isfinite(found.scores[row, place])
    )
