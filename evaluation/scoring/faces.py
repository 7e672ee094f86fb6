"""Where the faces stand in the pictures of a folder: by a list, by detection, or nowhere in particular."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from evaluation.lists.text_lists import Landmarks, PictureFolder, read_landmark_list
from evaluation.metrics.figures import Alignment, AlignmentKind
from evaluation.models.pictures import Picture
from evaluation.models.preparation import aligned, whole
from pipeline.alignment.align import native_size
from pipeline.alignment.face_detector import Several, detector_name
from pipeline.alignment.landmark_run import NO_FACE, SEVERAL_FACES, Detection, manifest_path, measure_photos
from shards.command import UserError
from shards.format import Preprocessing

NotFound = Literal["error", "whole"]
_NOT_LISTED = "not in the landmark list"


@dataclass(frozen=True)
class FaceSource:
    """What a user says of the faces in pictures for which no data set's own list says it.

    Attributes:
        kind: how they are aligned.
        lists: landmark lists, where they are by a list.
        several: which face of several a detection takes.
        least_score: 0..1, of a face that a detection counts.
        smallest: side in pixels of the smallest face that a detection looks for.
        not_found: what a picture without a face becomes: an error of the recogniser, or the whole picture.
        work: folder that keeps what a detection found.
        workers: processes of a detection.
    """

    kind: AlignmentKind = "whole"
    lists: tuple[Path, ...] = ()
    several: Several = "largest"
    least_score: float = 0.9
    smallest: float = 10
    not_found: NotFound = "error"
    work: Path = Path("landmarks")
    workers: int = 1


WHOLE = FaceSource()
"""Pictures as they are."""


@dataclass(frozen=True)
class Faces:
    """Where the faces of a folder's pictures stand.

    Attributes:
        alignment: how that is known, and of how many pictures it is not.
        points: (5, 2) landmarks by name of picture.
        lost: reason by name, of pictures in which no face was found and that count as errors.
    """

    alignment: Alignment = field(default_factory=lambda: Alignment("whole"))
    points: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    lost: dict[str, str] = field(default_factory=dict)

    def picture(self, label: str, path: Path, name: str, form: Preprocessing, low: int | None = None) -> Picture:
        """Return a picture that is not lost: aligned where its landmarks are known, else whole."""
        points = self.points.get(name)
        if points is not None:
            return aligned(label, path, points, form, low)
        return whole(label, path, form, low, on_template=self.alignment.kind == "aligned already")

    def side(self, name: str) -> int | None:
        """Return the side in pixels at which a face stands in its picture; None without landmarks."""
        points = self.points.get(name)
        return None if points is None else native_size(points)


def locate(source: FaceSource, folders: Sequence[tuple[str, PictureFolder, Sequence[str]]]) -> list[Faces]:
    """Find the faces in the pictures of some folders.

    With one list, a picture goes by its name, by its name behind that of its folder, or behind that of its part;
    with as many lists as folders, each list is of the folder in the same place.

    Args:
        source: what the user says.
        folders: of each its part's name, the folder and its pictures' names.

    Raises:
        UserError: a list cannot be read, does not fit or could mean pictures of two folders; no detector.
    """
    if source.kind in ("whole", "aligned already"):
        return [Faces(Alignment(source.kind, pictures=len(names))) for _, _, names in folders]
    if source.kind == "detection":
        return [_detected(source, folder, names) for _, folder, names in folders]
    if len(source.lists) not in (1, len(folders)):
        parts = ", ".join(part for part, _, _ in folders)
        raise UserError(
            f"{len(source.lists)} landmark lists for {len(folders)} folders; give one, or one each: {parts}"
        )
    lists = [read_landmark_list(path) for path in source.lists]
    if len(lists) == 1:
        lists = lists * len(folders)
        _refuse_one_name_for_two(source.lists[0], lists[0], folders)
    paths = source.lists if len(source.lists) == len(folders) else source.lists * len(folders)
    found = [_listed(source, path, one, *folder) for path, one, folder in zip(paths, lists, folders, strict=True)]
    if folders and not any(faces.points for faces in found):
        example = next((names[0] for _, _, names in folders if names), "nothing")
        raise UserError(
            f"none of the pictures, such as {example}, is in {paths[0]}, whose names look like {lists[0].names[0]}"
        )
    return found


def joined(alignments: Sequence[Alignment]) -> Alignment:
    """Return the alignment of several folders together; a threshold that they do not share is unknown."""
    alignments = [one for one in alignments if one.pictures] or alignments
    sources = "; ".join(dict.fromkeys(one.source for one in alignments if one.source))
    counts = {name: sum(getattr(one, name) for one in alignments) for name in ("pictures", "not_found")}
    threshold = alignments[0].threshold if len({one.threshold for one in alignments}) == 1 else None
    became = next((one.became for one in alignments if one.not_found), "")
    return Alignment(alignments[0].kind, sources, threshold, counts["pictures"], counts["not_found"], became)


def list_source(path: Path) -> tuple[str, float | None]:
    """Return a landmark list's name with the detector that made it, and its threshold, as far as is noted beside it."""
    try:
        made = json.loads(manifest_path(path).read_text(encoding="utf-8"))
        return f"{path.name}, by {made['detector']!s:.100}", float(made["least_score"])
    except (OSError, ValueError, KeyError, TypeError):
        return f"{path.name}, detector unknown", None


def _names_in_list(part: str, folder: PictureFolder, name: str) -> tuple[str, ...]:
    return (f"{part}/{name}", f"{folder.root.name}/{name}", name)


def _refuse_one_name_for_two(
    path: Path, landmarks: Landmarks, folders: Sequence[tuple[str, PictureFolder, Sequence[str]]]
) -> None:
    """Refuse a list in which one row would be taken for pictures of two folders."""
    seen: dict[str, str] = {}
    for part, folder, names in folders:
        for name in names:
            row = next((form for form in _names_in_list(part, folder, name) if form in landmarks.points), None)
            if row is not None and seen.setdefault(row, part) != part:
                raise UserError(
                    f"{path} names {row}, which is a picture of both {seen[row]} and {part}; give one list for each "
                    f"folder, or write {part}/{row}"
                )


def _listed(
    source: FaceSource, path: Path, landmarks: Landmarks, part: str, folder: PictureFolder, names: Sequence[str]
) -> Faces:
    points, lost = {}, {}
    for name in names:
        forms = _names_in_list(part, folder, name)
        row = next((form for form in forms if form in landmarks.points), None)
        if row is not None:
            points[name] = landmarks.points[row]
        else:
            lost[name] = next((landmarks.faults[form] for form in forms if form in landmarks.faults), _NOT_LISTED)
    made_by, threshold = list_source(path)
    return _faces(source, Alignment("landmark list", made_by, threshold, len(names)), points, lost)


def _detected(source: FaceSource, folder: PictureFolder, names: Sequence[str]) -> Faces:
    settings = Detection(detector_name(), source.several, source.least_score, source.smallest)
    root = folder.root
    # Names in lists may differ from those on disk by upper and lower case.
    paths = [folder.path(name).relative_to(root).as_posix() for name in names]
    found = dict(zip(names, measure_photos(root, paths, settings, source.work, source.workers), strict=True))
    points = {name: np.reshape(one.landmarks, (5, 2)) for name, one in found.items() if one.landmarks}
    # What cannot be read is no face that was not found: who embeds the picture says so.
    lost = {name: one.outcome for name, one in found.items() if one.outcome in (NO_FACE, SEVERAL_FACES)}
    several = f"{settings.detector}, faces from {source.smallest:g} px, the {source.several} of several"
    return _faces(source, Alignment("detection", several, source.least_score, len(names)), points, lost)


def _faces(
    source: FaceSource, alignment: Alignment, points: dict[str, NDArray[np.float64]], lost: dict[str, str]
) -> Faces:
    became = "whole pictures" if source.not_found == "whole" else "errors"
    return Faces(
        replace(alignment, not_found=len(lost), became=became), points, {} if source.not_found == "whole" else lost
    )
