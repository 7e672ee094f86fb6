"""Resumable landmark detection over a folder of photos, in parts of a few photos each."""

import csv
import hashlib
import io
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.alignment.face_detector import (
    Several,
    choose,
    detect,
    detector_name,
    drawn,
    in_stored_picture,
    orientation,
    upright,
)
from pipeline.alignment.photo_to_face import read_photo
from pipeline.jobs.executors import local_processes, work_through
from pipeline.jobs.progress import progress
from pipeline.pixels.photo import UnusablePhoto, decode
from pipeline.sources.picture_files import PassedOver, walk_pictures
from shards.command import UserError
from shards.json_file import read_object
from shards.lock import locked_output
from shards.writer import write_atomically

TAKEN = "taken"
NO_FACE, SEVERAL_FACES = "no face found", "several faces"
"""Outcomes of a photo that could be read and has no landmarks all the same."""
_PHOTOS_PER_PART = 32


@dataclass(frozen=True)
class Detection:
    """What decides which landmarks a photo gets.

    Attributes:
        detector: name and version.
        several: which face of several is taken.
        least_score: 0..1, faces of which the detector is less sure do not count.
        smallest: side in pixels of the smallest face that is looked for.
    """

    detector: str
    several: Several
    least_score: float
    smallest: float


@dataclass(frozen=True)
class Measured:
    """What was found in a photo.

    Attributes:
        path: of the photo, below the folder.
        faces: number found.
        outcome: "taken", how one of several was taken, or why there are no landmarks.
        landmarks: x1, y1, ..., x5, y5 in pixels of the stored picture; empty where there are none.
    """

    path: str
    faces: int
    outcome: str
    landmarks: tuple[float, ...] = ()


@dataclass(frozen=True)
class Summary:
    """The finished list.

    Attributes:
        made: how it was made, and of which photos.
        outcomes: number of photos by outcome, the most frequent first.
        already: it had been finished before.
        passed_over: number of hidden files with the suffix of a picture.
    """

    made: dict[str, Any]
    outcomes: dict[str, int]
    already: bool
    passed_over: int = 0


def report_path(out: Path) -> Path:
    """Return where the table of all photos lies beside a landmark list."""
    return out.with_suffix(".report.csv")


def manifest_path(out: Path) -> Path:
    """Return where it is noted beside a landmark list how it was made; written last."""
    return out.with_suffix(".json")


def measure_folder(
    images: Path,
    out: Path,
    *,
    several: Several,
    least_score: float,
    workers: int,
    smallest: float = 10,
    pictures: Path | None = None,
    unlabelled: bool = False,
) -> Summary:
    """Measure the landmarks of all photos IMAGES/IDENTITY/PHOTO, or of those that an interrupted run left.

    Args:
        images: folder of identity folders.
        out: landmark list to write, a CSV without a header; a report and a note of how it was made lie beside it.
        several: which face of several is taken.
        least_score: 0..1, of a face.
        workers: processes.
        smallest: side in pixels of the smallest face that is looked for.
        pictures: folder for the photos with what was found drawn in; None draws none.
        unlabelled: photos that lie in the folder itself are taken too.

    Raises:
        UserError: no detector, no photos, no face at all, or the list was made of other photos or otherwise.
    """
    settings = Detection(detector_name(), several, least_score, float(smallest))
    if not images.is_dir():
        held = "photos" if unlabelled else "identity folders with photos in them"
        raise UserError(f"no folder {images}; expected one that holds {held}")
    found_on_disk = list(walk_pictures(images, passed_over := PassedOver()))
    paths = [path for identity, path in found_on_disk if identity or unlabelled]
    nobodys = [path for identity, path in found_on_disk if not (identity or unlabelled)]
    if not paths:
        raise UserError(f"{images} holds no photos; expected IMAGES/{'' if unlabelled else 'IDENTITY/'}PHOTO.jpg")
    digests = [_digest(images, part, settings) for part in _parts(paths)]
    made = {
        **asdict(settings),
        "photos": len(found_on_disk),
        "input_sha256": hashlib.sha256("".join(digests).encode()).hexdigest(),
    }
    if manifest_path(out).is_file():
        if pictures is not None and not pictures.is_dir():
            raise UserError(f"{out} was finished without pictures; name another --out, or leave out --pictures")
        return _finished(out, made, passed_over.pictures)
    if out.exists():
        raise UserError(f"{out} exists and was not written by this command; name another file for --out")
    work = out.parent / f".{out.name}.work"
    work.mkdir(parents=True, exist_ok=True)
    with locked_output(work / "lock", out):
        found = measure_photos(images, paths, settings, work, workers, pictures)
        found += [Measured(path, 0, "not in an identity's folder") for path in nobodys]
        outcomes = _write(out, found, made)
        shutil.rmtree(work)
    return Summary(made, outcomes, already=False, passed_over=passed_over.pictures)


def measure_photos(
    images: Path, paths: Sequence[str], settings: Detection, work: Path, workers: int, pictures: Path | None = None
) -> list[Measured]:
    """Measure photos below a folder, in their order, or those of them that an earlier call did not keep.

    Args:
        images: the folder.
        paths: of the photos in it.
        settings: what decides which landmarks a photo gets.
        work: folder that keeps what was found, under digests of photos and settings; made where it is not there.
        workers: processes.
        pictures: folder for the photos with what was found drawn in; None draws none.

    Raises:
        UserError: a worker process died.
    """
    work.mkdir(parents=True, exist_ok=True)
    parts = _parts(paths)
    done = [work / f"{_digest(images, part, settings)}.json" for part in parts]
    left = [pair for pair in zip(parts, done, strict=True) if not (pair[1].is_file() and _drawn(pair[0], pictures))]
    if left:
        _measure_parts(images, left, settings, workers, pictures)
    return [measured for path in done for measured in _read(path)]


def _parts(paths: Sequence[str]) -> list[Sequence[str]]:
    return [paths[start : start + _PHOTOS_PER_PART] for start in range(0, len(paths), _PHOTOS_PER_PART)]


def measure_photo(images: Path, path: str, settings: Detection, pictures: Path | None = None) -> Measured:
    """Find the faces of a photo and take one; draw them below a folder, if one is named."""
    try:
        data = read_photo(images, path, -1)
        # OpenCV decodes BGR; the detector was trained on RGB.
        stored = cv2.cvtColor(decode(data), cv2.COLOR_BGR2RGB).astype(np.uint8, copy=False)
    except UnusablePhoto as error:
        return Measured(path, 0, str(error))
    turned = orientation(data)
    photo = upright(stored, turned)
    faces = detect(photo, settings.least_score, settings.smallest)
    face = choose(faces, settings.several, photo.shape)
    if pictures is not None:
        target = picture_path(pictures, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(target, drawn(photo, faces, face))
    if face is None:
        return Measured(path, len(faces), SEVERAL_FACES if faces else NO_FACE)
    landmarks = in_stored_picture(face.landmarks, turned, stored.shape)
    outcome = TAKEN if len(faces) == 1 else f"{settings.several} of several taken"
    return Measured(path, len(faces), outcome, tuple(round(float(value), 2) for value in landmarks.ravel()))


def picture_path(pictures: Path, path: str) -> Path:
    """Return where a photo with its faces drawn in lies: PICTURES/IDENTITY/PHOTO.jpg.jpg, whatever the photo's kind."""
    return pictures / f"{path}.jpg"


def _drawn(paths: Iterable[str], pictures: Path | None) -> bool:
    """Return whether pictures of some photos are there, as far as any are wanted."""
    return pictures is None or all(picture_path(pictures, path).is_file() for path in paths)


def _measure_parts(
    images: Path, left: Sequence[tuple[Sequence[str], Path]], settings: Detection, workers: int, pictures: Path | None
) -> None:
    """Measure the parts that are not there yet."""
    folder = None if pictures is None else pictures.absolute()
    tasks = ((images.absolute(), paths, settings, done, folder) for paths, done in left)
    photos = sum(len(paths) for paths, _ in left)
    with progress("landmarks", photos, lost="without") as advance, local_processes(workers) as workplace:
        work_through(workplace, measure_part, tasks, lambda counts: advance(*counts), kept="what was found is kept")


def measure_part(
    images: Path, paths: Sequence[str], settings: Detection, done: Path, pictures: Path | None
) -> tuple[int, int]:
    """Measure some photos and keep what was found; return how many have landmarks and how many have none."""
    # The other cores belong to the other workers.
    cv2.setNumThreads(1)
    found = [measure_photo(images, path, settings, pictures) for path in paths]
    write_atomically(done, json.dumps([asdict(measured) for measured in found]).encode())
    taken = sum(bool(measured.landmarks) for measured in found)
    return taken, len(found) - taken


def _read(path: Path) -> list[Measured]:
    found = json.loads(path.read_text(encoding="utf-8"))
    return [Measured(one["path"], one["faces"], one["outcome"], tuple(one["landmarks"])) for one in found]


def _digest(images: Path, paths: Iterable[str], settings: Detection) -> str:
    """Tell photos and settings apart: a part is measured again where a photo has changed since."""
    states = [(path, *_state(images / path)) for path in paths]
    return hashlib.sha256(json.dumps([asdict(settings), states]).encode()).hexdigest()


def _state(photo: Path) -> tuple[int, int]:
    """Return size and time of a photo, -1 of one that cannot be opened."""
    try:
        found = photo.stat()
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _finished(out: Path, made: dict[str, Any], passed_over: int) -> Summary:
    """Return what is known of a finished list; refuse one of other photos or settings, naming both values."""
    try:
        found = read_object(manifest_path(out))
        outcomes = dict(found.pop("outcomes"))
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise UserError(f"{manifest_path(out)} was not written by this command; name another file for --out") from error
    differing = [name for name in made if found.get(name) != made[name]]
    if differing:
        name = differing[0]
        what = "other photos" if name == "input_sha256" else f"{name} {found.get(name)}, now {name} {made[name]}"
        raise UserError(f"{out} was made with {what}; remove {manifest_path(out)} and the list, or name another --out")
    return Summary(made, outcomes, already=True, passed_over=passed_over)


def _write(out: Path, found: list[Measured], made: dict[str, Any]) -> dict[str, int]:
    """Write report, list and note, in this order; return the outcomes."""
    outcomes = dict(Counter(measured.outcome for measured in found).most_common())
    report = [(measured.path, measured.faces, measured.outcome) for measured in found]
    write_atomically(report_path(out), _csv([("path", "faces", "outcome"), *report]))
    taken = [(measured.path, *measured.landmarks) for measured in found if measured.landmarks]
    if not taken:
        raise UserError(f"no face was taken in any of {len(found)} photos; {report_path(out)} says why")
    write_atomically(out, _csv(taken))
    write_atomically(manifest_path(out), (json.dumps({**made, "outcomes": outcomes}, indent=1) + "\n").encode())
    return outcomes


def _csv(rows: Iterable[Sequence[object]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()
