"""From candidates to a decision on each face."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from evaluation.decisions.face_table import FaceTable
from evaluation.decisions.search import Candidates, GallerySearch

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


def identify(probes: FaceTable, gallery: FaceTable) -> list[Decision]:
    """Search a gallery for each face and decide.

    Args:
        probes: the faces.
        gallery: enrolled people, sorted by person.
    """
    names, numbers = gallery.numbered()
    found = GallerySearch(gallery.vectors, numbers).find(probes.vectors, CANDIDATES)
    reason = "No calibration was given (--calibration): which score is enough is not known."
    return [Decision("undecided", _candidates(found, row, names), reason) for row in range(len(probes))]


def _candidates(found: Candidates, row: int, names: list[str]) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(names[person], int(found.rows[row, place]), float(found.scores[row, place]))
        for place, person in enumerate(found.people[row])
        if person >= 0 and np.isfinite(found.scores[row, place])
    )
