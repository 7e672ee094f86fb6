"""Test pictures that also stand in the training shards: the same bytes, the same face, much alike, the same name.

Memory: of every test picture a hash, a thumbnail and, with a model, an embedding; of the shards a block at a time.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from evaluation.checks.evaluated_pictures import EvaluatedPicture
from evaluation.checks.training_faces import TrainingFace, blocks, first_of_each_name
from evaluation.metrics.identification import l2_normalised
from evaluation.models.embedder import PictureEmbedder
from evaluation.models.pictures import PictureError, decode
from pipeline.jobs.progress import progress
from pipeline.sampling.shard_folders import ShardFolders
from shards.cores import usable_cores

Kind = Literal["same bytes", "same pixels", "much alike", "same name"]
KINDS: tuple[Kind, ...] = ("same bytes", "same pixels", "much alike", "same name")
"""From the surest to the least sure."""
MOST_DIFFERENCE = 4.0
"""Mean absolute difference of two faces' levels, 0..255, that another JPEG of the same face may have."""
_THUMBNAIL = 16
# Test pictures compared with a block of faces at once.
_AT_ONCE = 32_768


@dataclass(frozen=True)
class Leak:
    """A test picture that stands in the shards, too.

    Attributes:
        test: its number.
        photo: number of the training face.
        kind: how they are the same.
        value: mean difference of levels of the same pixels, cosine of what is much alike; None otherwise.
        mirrored: whether the training face is the mirror image.
    """

    test: int
    photo: int
    kind: Kind
    value: float | None = None
    mirrored: bool = False


@dataclass(frozen=True)
class Found:
    """What was found.

    Attributes:
        leaks: each test picture at most once of each kind, in the order of the kinds.
        unusable: reason by number, of test pictures that cannot be used.
        unread: reason by number, of training faces that cannot be read.
    """

    leaks: list[Leak]
    unusable: dict[int, str]
    unread: dict[int, str]


@dataclass(frozen=True)
class _Known:
    """What is kept of a test picture: the hash of its file, and the thumbnail of its face, (256,) float32."""

    file: bytes
    thumbnail: NDArray[np.float32]


def find_leaks(
    tests: Sequence[EvaluatedPicture],
    folders: ShardFolders,
    embedded: tuple[PictureEmbedder, Sequence[EvaluatedPicture]] | None = None,
    *,
    least: float = 0.9,
) -> Found:
    """Compare every test picture with every training face.

    Args:
        tests: the pictures, prepared as the shards' faces were.
        folders: the shards.
        embedded: a model, and the same pictures prepared for it; None compares no embeddings.
        least: cosine from which two pictures are much alike, -1..1.
    """
    known, unusable = _known(tests)
    usable = [number for number, one in enumerate(known) if one is not None]
    kept = [one for one in known if one is not None]
    byte_rows: dict[bytes, list[int]] = {}
    for number, one in zip(usable, kept, strict=True):
        byte_rows.setdefault(one.file, []).append(number)
    thumbnails = np.stack([one.thumbnail for one in kept]) if kept else np.empty((0, _THUMBNAIL**2), np.float32)
    vectors = _vectors(*embedded) if embedded else None
    best = np.full(len(tests), -np.inf), np.full(len(tests), -1, dtype=np.int64)
    leaks: dict[tuple[Kind, int], Leak] = {}
    unread: dict[int, str] = {}
    with progress("searching", folders.photos, lost="unreadable") as advance:
        for faces, faults in blocks(folders):
            unread.update(faults)
            alike = _same_pixels(faces, thumbnails, usable, tests, folders)
            for leak in [*_same_bytes(faces, byte_rows), *alike]:
                before = leaks.setdefault((leak.kind, leak.test), leak)
                if leak.value is not None and before.value is not None and leak.value < before.value:
                    leaks[leak.kind, leak.test] = leak
            if embedded and vectors is not None and faces:
                _keep_most_alike(embedded[0], faces, vectors, best)
            advance(len(faces), len(faults))
    for test in np.flatnonzero(best[0] >= least).tolist():
        leaks["much alike", test] = Leak(test, int(best[1][test]), "much alike", float(best[0][test]))
    for leak in _same_names(tests, first_of_each_name(folders)):
        leaks["same name", leak.test] = leak
    ordered = sorted(leaks.values(), key=lambda leak: (KINDS.index(leak.kind), leak.test))
    return Found(ordered, unusable, unread)


def thumbnail(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the means of a face's grey levels over a grid: (S, S, 3) uint8 RGB -> (256,) float32."""
    grey = cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)
    means = cv2.resize(grey.astype(np.float32), (_THUMBNAIL, _THUMBNAIL), interpolation=cv2.INTER_AREA)
    return means.astype(np.float32).ravel()


def _known(tests: Sequence[EvaluatedPicture]) -> tuple[list[_Known | None], dict[int, str]]:
    """Read the test pictures; return why some cannot be used, by number."""
    unusable: dict[int, str] = {}

    def one(number: int) -> _Known | None:
        try:
            data = tests[number].picture.read()
            face = tests[number].picture.preparation.apply(decode(data))
        except PictureError as error:
            unusable[number] = str(error)
            return None
        return _Known(hashlib.sha256(data).digest(), thumbnail(face))

    with ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(one, range(len(tests)))), dict(sorted(unusable.items()))


def _same_bytes(faces: Sequence[TrainingFace], rows: Mapping[bytes, list[int]]) -> list[Leak]:
    return [Leak(test, face.photo, "same bytes") for face in faces for test in rows.get(face.sha256, [])]


def _same_pixels(
    faces: Sequence[TrainingFace],
    thumbnails: NDArray[np.float32],
    numbers: Sequence[int],
    tests: Sequence[EvaluatedPicture],
    folders: ShardFolders,
) -> list[Leak]:
    """Compare the pixels of those whose thumbnails are alike, as they are and mirrored."""
    if not faces or not len(thumbnails):
        return []
    of_faces = np.stack([thumbnail(face.pixels) for face in faces])
    grids = of_faces.reshape(-1, _THUMBNAIL, _THUMBNAIL)
    found = []
    for mirrored, grid in ((False, of_faces), (True, grids[:, :, ::-1].reshape(len(faces), -1))):
        for test, row in _near(thumbnails, grid):
            difference = _difference(tests[numbers[test]], faces[row], folders, mirrored=mirrored)
            if difference <= MOST_DIFFERENCE:
                found.append(Leak(numbers[test], faces[row].photo, "same pixels", difference, mirrored))
    return found


def _difference(test: EvaluatedPicture, face: TrainingFace, folders: ShardFolders, *, mirrored: bool) -> float:
    """Return the mean difference of two faces' levels: as it is, or encoded as the shards are, whichever is less."""
    try:
        shown = test.picture.load()
    except PictureError:
        return np.inf
    # A mirrored photo was mirrored before it was encoded.
    shown, own = (shown[:, ::-1], face.pixels) if mirrored else (shown, face.pixels)
    if shown.shape != own.shape:
        return np.inf
    manifest = folders.locate(face.photo)[0].manifest
    both = [shown]
    if manifest.codec == "jpg":
        bgr = cv2.cvtColor(np.ascontiguousarray(shown), cv2.COLOR_RGB2BGR)
        both.append(decode(cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, manifest.quality])[1].tobytes()))
    return min(float(np.abs(one.astype(np.int16) - own).mean()) for one in both)


def _near(one: NDArray[np.float32], other: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return rows of (N, K) and (M, K) whose root mean square difference is at most `MOST_DIFFERENCE`.

    What JPEG changes cancels out in the mean of a cell.
    """
    found: list[tuple[int, int]] = []
    limit = one.shape[1] * MOST_DIFFERENCE**2
    lengths = np.square(other).sum(axis=1)
    for start in range(0, len(one), _AT_ONCE):
        some = one[start : start + _AT_ONCE]
        squares = np.square(some).sum(axis=1)[:, None] + lengths[None] - 2 * (some @ other.T)
        # float32 rounds sums of some millions to a quarter.
        rows, columns = np.nonzero(squares <= limit + 16)
        found += zip((rows + start).tolist(), columns.tolist(), strict=True)
    return found


def _vectors(model: PictureEmbedder, tests: Sequence[EvaluatedPicture]) -> NDArray[np.float32]:
    """Embed the test pictures: (N, D), normalised; NaN where one cannot be used."""
    return l2_normalised(model.embed([one.picture for one in tests]).vectors).astype(np.float32)


def _keep_most_alike(
    model: PictureEmbedder,
    faces: Sequence[TrainingFace],
    vectors: NDArray[np.float32],
    best: tuple[NDArray[np.float64], NDArray[np.int64]],
) -> None:
    """Keep of every test picture the training face that is most alike, and its cosine."""
    size = model.preprocessing.size
    embedded = model.embed([face.picture(size) for face in faces])
    of_faces = l2_normalised(embedded.vectors).astype(np.float32)
    photos = np.array([face.photo for face in faces])
    for start in range(0, len(vectors), _AT_ONCE):
        some = slice(start, start + _AT_ONCE)
        scores = np.nan_to_num(vectors[some] @ of_faces.T, nan=-np.inf)
        columns = scores.argmax(axis=1)
        values = scores[np.arange(len(scores)), columns]
        better = values > best[0][some]
        best[0][some] = np.where(better, values, best[0][some])
        best[1][some] = np.where(better, photos[columns], best[1][some])


def _same_names(tests: Sequence[EvaluatedPicture], first: Mapping[str, int]) -> Iterable[Leak]:
    by_name: dict[str, int] = {}
    for name, photo in first.items():
        by_name.setdefault(_plain(name), photo)
    for number, test in enumerate(tests):
        known = [by_name[name] for name in map(_plain, sorted(test.names, key=len, reverse=True)) if name in by_name]
        if known:
            yield Leak(number, known[0], "same name")


def _plain(name: str) -> str:
    """Return a name as it is compared: upper and lower case, spaces and underlines aside."""
    return name.casefold().replace(" ", "_")
