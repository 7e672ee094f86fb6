"""Photos of anybody against a gallery: found, embedded, searched, decided on and written."""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluation.decisions.calibration import Calibration
from evaluation.decisions.decision import Decision, identify
from evaluation.decisions.identify_page import write_decisions
from evaluation.enrolled.face_table import FaceTable
from evaluation.enrolled.measuring import Measuring, measure
from pipeline.sources.picture_files import PICTURE_SUFFIXES, walk_pictures
from shards.command import UserError
from shards.lock import locked


@dataclass(frozen=True)
class Identified:
    """What was decided.

    Attributes:
        page: the page that shows it.
        probes: the faces.
        decisions: one a face.
        faults: reason by path of photos without one.
    """

    page: Path
    probes: FaceTable
    decisions: tuple[Decision, ...]
    faults: dict[str, str]


def identify_folder(
    photos: Path,
    gallery: FaceTable,
    how: Measuring,
    out: Path,
    notes: Sequence[str],
    calibration: Calibration | None = None,
    fpir: float = 0.01,
) -> Identified:
    """Find the faces in a folder of photos, decide on each and write tables and page; a killed run continues.

    Args:
        photos: folder of photos, in sub-folders or not.
        gallery: enrolled people.
        how: the model.
        out: folder to write into.
        notes: sentences on the gallery, for the page.
        calibration: of the same model; None decides on nobody.
        fpir: share of strangers that may be taken for somebody, 0..1.

    Raises:
        UserError: there is no photo.
    """
    if not photos.is_dir():
        raise UserError(f"no folder {photos}; expected a folder of photos")
    found = [("", photos.absolute() / path) for _, path in walk_pictures(photos)]
    if not found:
        raise UserError(f"{photos} holds no photo; expected files ending in {', '.join(PICTURE_SUFFIXES)}")
    work = out / ".photos.work"
    with locked(out / ".lock", out, "name another --out"):
        probes, faults = measure(found, how, work, enrolled=False)
        decisions = identify(probes, gallery, calibration, fpir)
        page = write_decisions(out, probes, gallery, decisions, faults, notes, how.embedder.preprocessing)
        shutil.rmtree(work)
    return Identified(page, probes, tuple(decisions), faults)
