"""Photos to faces with their embeddings, in parts, so that a killed command continues."""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.enrolled.face_table import ENROL_SIZES, FaceTable, joined, read_faces, write_faces
from evaluation.enrolled.photo_quality import sharpness, side_in_photo
from evaluation.models.embedder import Embedder
from evaluation.models.gallery_model import gallery_at
from evaluation.models.pictures import Picture, PictureError, decode, read_bytes
from evaluation.models.preparation import aligned, require_template, whole
from pipeline.alignment.align import DegenerateLandmarks
from pipeline.alignment.face_detector import detect, detector_name, in_stored_picture, orientation, upright
from pipeline.jobs.progress import progress
from shards.command import UserError
from shards.digest import file_sha256
from shards.format import WHOLE, Preprocessing
from shards.writer import write_atomically
from training.networks.backbone_file import LoadedBackbone

_PHOTOS_PER_PART = 16
NO_DETECTOR = "none: every picture is a face, taken whole"


@dataclass(frozen=True)
class Measuring:
    """What faces are found and embedded by.

    Attributes:
        embedder: the model.
        made: the fingerprint: everything that an embedding depends on besides the photo.
        aligned: pictures are aligned faces already, taken whole.
        least_score: 0..1, faces of which the detector is less sure do not count.
        sizes: in pixels, rising, to which people's photos are also reduced.
    """

    embedder: Embedder
    made: dict[str, Any]
    aligned: bool
    least_score: float
    sizes: tuple[int, ...] = ()


def measuring(
    model: str,
    embedder: Embedder,
    loaded: LoadedBackbone,
    options: dict[str, Any],
    *,
    aligned: bool,
    least_score: float,
    sizes: Sequence[int] = (),
) -> Measuring:
    """Put together a model and how faces are found for it; a model of whole pictures needs no detector.

    Args:
        model: as the user names it.
        embedder: of the model.
        loaded: the model.
        options: what else embeddings depend on, such as flip and precision.
        aligned: pictures are aligned faces already.
        least_score: 0..1, of a face.
        sizes: in pixels, to which people's photos are also reduced.

    Raises:
        UserError: a size is not below the model's, the detector is not installed, or the model's template is unknown.
    """
    whole_pictures = aligned or loaded.preprocessing.template == WHOLE
    if not whole_pictures:
        require_template(loaded.preprocessing, "finding faces")
    rising = sorted(set(sizes))
    if rising and not 1 <= rising[0] <= rising[-1] < loaded.preprocessing.size:
        raise UserError(
            f"--enrol-sizes {' '.join(map(str, rising))}; the model takes {loaded.preprocessing.size} pixels: give "
            "sizes from 1 to below it"
        )
    made = {
        "model": loaded.sha256 or f"{model} (code, which cannot be told apart)",
        "backbone": loaded.name,
        **{f"preprocessing {name}": value for name, value in loaded.preprocessing.to_dict().items()},
        **options,
        "detector": NO_DETECTOR if whole_pictures else f"{detector_name()}, score {least_score:g}",
        **({ENROL_SIZES: rising} if rising else {}),
    }
    # As JSON gives it back: the file of another run must compare equal.
    return Measuring(embedder, json.loads(json.dumps(made)), whole_pictures, least_score, tuple(rising))


@dataclass(frozen=True)
class FoundFace:
    """A face in a photo: landmarks as x1, y1, ..., y5 of the stored picture (none of a whole picture), box, size."""

    landmarks: tuple[float, ...]
    box: tuple[float, float, float, float]
    side: float
    sharpness: float
    score: float

    def picture(self, name: str, path: Path, form: Preprocessing, low: int | None = None) -> Picture:
        """Return the face as the network sees it; with `low`, reduced to that side in pixels and enlarged back."""
        if not self.landmarks:
            return whole(name, path, form, low, on_template=True)
        return aligned(name, path, np.array(self.landmarks).reshape(5, 2), form, low)


def find_faces(path: Path, how: Measuring) -> list[FoundFace]:
    """Find the faces of a photo, from left to right.

    Raises:
        PictureError: the photo cannot be read, or there is no face in it.
    """
    data = read_bytes(path)
    stored = decode(data)
    form = how.embedder.preprocessing
    if how.aligned:
        height, width = stored.shape[:2]
        seen = whole(path.name, path, form).preparation.apply(stored)
        return [FoundFace((), (0, 0, width, height), min(height, width), sharpness(seen), 1.0)]
    turned = orientation(data)
    found = []
    for face in sorted(detect(upright(stored, turned), how.least_score), key=lambda face: tuple(face.box)):
        points = in_stored_picture(face.landmarks, turned, stored.shape)
        try:
            side = side_in_photo(points, form.template)
            seen = aligned(path.name, path, points, form).preparation.apply(stored)
        except (DegenerateLandmarks, PictureError):
            continue
        left, top, width, height = (float(value) for value in face.box)
        landmarks = tuple(float(value) for value in points.ravel())
        found.append(FoundFace(landmarks, (left, top, width, height), side, sharpness(seen), face.score))
    if not found:
        raise PictureError("no face found")
    return found


def face_table(
    how: Measuring, faces: Sequence[tuple[str, Path, int, FoundFace]], *, enrolled: bool = True
) -> tuple[FaceTable, dict[str, str]]:
    """Embed faces.

    Args:
        how: the model.
        faces: person, path, number in the photo and the face.
        enrolled: they are also reduced to the sizes of `how`, as photos of people to compare others with.

    Returns:
        a table in their order, and reasons by photo of those that could not be embedded.
    """
    form = how.embedder.preprocessing
    lows = [None, *(how.sizes if enrolled else ())]
    together = how.embedder.embed(
        [face.picture(str(path), path, form, low) for low in lows for _, path, _, face in faces]
    )
    at_each = [together[number * len(faces) : (number + 1) * len(faces)] for number in range(len(lows))]
    embedded, *reduced = gallery_at(at_each, lows, "both")
    kept = np.flatnonzero(embedded.usable).tolist()
    some = [faces[row] for row in kept]
    digests = {path: file_sha256(path) for _, path, _, _ in some}
    landmarks = [np.reshape(face.landmarks, (5, 2)) if face.landmarks else np.full((5, 2), np.nan) for *_, face in some]
    table = FaceTable(
        how.made,
        tuple(person for person, *_ in some),
        tuple(str(path) for _, path, _, _ in some),
        tuple(digests[path] for _, path, _, _ in some),
        tuple(photo_state(path) for _, path, _, _ in some),
        np.array(landmarks, dtype=np.float64).reshape(-1, 5, 2),
        np.array([face.box for *_, face in some], dtype=np.float64).reshape(-1, 4),
        np.array([(f.side, f.sharpness, f.score, number) for _, _, number, f in some], dtype=np.float64).reshape(-1, 4),
        embedded.vectors[kept],
        # K of (N, D) -> (N, K, D)
        np.stack([one.vectors[kept] for one in reduced], axis=1) if reduced else None,
    )
    return table, embedded.faults


def measure(
    photos: Sequence[tuple[str, Path]], how: Measuring, work: Path, *, enrolled: bool
) -> tuple[FaceTable, dict[str, str]]:
    """Find and embed the faces of photos, or of those that an interrupted run left.

    Args:
        photos: person and path of each.
        how: the model and how faces are found.
        work: folder of what is finished; it is made, and the caller removes it when all is done.
        enrolled: the photos are of people to enrol: take the largest of several faces, and reduce it, too.

    Returns:
        the faces in order of the photos, and reasons by photo of those without one.
    """
    work.mkdir(parents=True, exist_ok=True)
    work.chmod(0o700)
    tables: list[FaceTable] = []
    faults: dict[str, str] = {}
    parts = [photos[start : start + _PHOTOS_PER_PART] for start in range(0, len(photos), _PHOTOS_PER_PART)]
    with progress("faces", len(photos), lost="without") as advance:
        for part in parts:
            done = work / f"{_digest(part, how, enrolled)}.faces"
            table, lost = _finished(done) or _measure_part(part, how, done, enrolled)
            tables.append(table)
            faults.update(lost)
            advance(len(part) - len(lost), len(lost))
    return joined(tables) if tables else face_table(how, [], enrolled=enrolled)[0], faults


def _measure_part(
    part: Sequence[tuple[str, Path]], how: Measuring, done: Path, enrolled: bool
) -> tuple[FaceTable, dict[str, str]]:
    faces: list[tuple[str, Path, int, FoundFace]] = []
    faults: dict[str, str] = {}
    for person, path in part:
        try:
            found = find_faces(path, how)
        except PictureError as error:
            faults[str(path)] = str(error)
            continue
        if enrolled:
            found = [max(found, key=lambda face: face.side)]
        faces += [(person, path, number, face) for number, face in enumerate(found)]
    table, lost = face_table(how, faces, enrolled=enrolled)
    faults.update(lost)
    # The faults first: a part without its faces is done again.
    write_atomically(done.with_suffix(".json"), json.dumps(faults).encode(), private=True)
    write_faces(done, table)
    return table, faults


def _finished(done: Path) -> tuple[FaceTable, dict[str, str]] | None:
    if not done.is_file():
        return None
    try:
        return read_faces(done), dict(json.loads(done.with_suffix(".json").read_text(encoding="utf-8")))
    except (UserError, OSError, ValueError):
        return None


def _digest(part: Sequence[tuple[str, Path]], how: Measuring, enrolled: bool) -> str:
    states = [(person, str(path), photo_state(path)) for person, path in part]
    return hashlib.sha256(json.dumps([how.made, enrolled, states]).encode()).hexdigest()


def photo_state(path: Path) -> str:
    """Return size and time of a file, "gone" of one that cannot be opened."""
    try:
        found = path.stat()
    except OSError:
        return "gone"
    return f"{found.st_size} {found.st_mtime_ns}"


def picture_of(table: FaceTable, row: int, form: Preprocessing, low: int | None = None) -> Picture:
    """Return a face of a table as the network sees it; with `low`, reduced to that side in pixels and enlarged back."""
    path, points = Path(table.photos[row]), table.landmarks[row]
    if np.isfinite(points).all():
        return aligned(table.photos[row], path, points, form, low)
    return whole(table.photos[row], path, form, low, on_template=True)


def faces_as_seen(table: FaceTable, form: Preprocessing, rows: Sequence[int]) -> Iterator[NDArray[np.uint8] | None]:
    """Yield faces as the network sees them, (S, S, 3) uint8 RGB; None where the photo is no longer what it was."""
    for row in rows:
        try:
            same = photo_state(Path(table.photos[row])) == table.states[row]
            yield picture_of(table, row, form).load() if same else None
        except PictureError:
            yield None


def jpeg(face: NDArray[np.uint8] | None) -> bytes | None:
    """Encode an RGB face for a page."""
    if face is None:
        return None
    done, encoded = cv2.imencode(".jpg", cv2.cvtColor(face, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 88])
    assert done
    return bytes(encoded.tobytes())


def counted(faults: Mapping[str, str]) -> dict[str, int]:
    """Return how many photos had each fault."""
    reasons = list(faults.values())
    return {reason: reasons.count(reason) for reason in dict.fromkeys(reasons)}
