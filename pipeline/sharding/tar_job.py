"""The job that writes one tar of faces and its record."""

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.alignment.photo_to_face import Face, FaceFormat, make_face, read_photo
from pipeline.pixels.photo import UnusablePhoto
from pipeline.sharding.plan import TarContents, library_versions, too_few_reason
from pipeline.sharding.tar_record import TarRecord, record_path, write_record
from pipeline.sources.datasets import Framing
from shards.command import UserError
from shards.format import PHOTO_DTYPE, POINTS_DTYPE, index_name, label_bytes, tar_name
from shards.writer import Member, dali_index, write_atomically, write_tar

_JSON = json.JSONEncoder(ensure_ascii=False)


@dataclass(frozen=True)
class Origin:
    """Where the photos of a source lie and how they become faces, as far as a worker needs to know."""

    name: str
    root: Path
    framing: Framing


@dataclass(frozen=True)
class Job:
    """The sources, output folder and settings that all tars of a run share.

    Attributes:
        origins: of the photos, by the number of their source.
        out: shard folder.
        staging: folder of files in the making, of this run alone.
        form: how a face is made.
        min_photos: identities with fewer are dropped.
        versions: of the libraries that shape the bytes, the same wherever the work is done.
    """

    origins: tuple[Origin, ...]
    out: Path
    staging: Path
    form: FaceFormat
    min_photos: int
    versions: dict[str, str] = field(default_factory=library_versions)


def make_tar(contents: TarContents, job: Job) -> tuple[int, int, int]:
    """Write one tar and its record; return its number, and how many photos were written and how many rejected."""
    if (found := library_versions()) != job.versions:
        raise UserError(f"a worker has {found}, this machine {job.versions}; install the same versions everywhere")
    # The other cores belong to the other workers.
    cv2.setNumThreads(1)
    made = _Made()
    name = tar_name(contents.number)
    placed, sha256 = write_tar(job.out / name, _members(contents, job, made), job.staging)
    write_atomically(job.out / index_name(name), dali_index(placed).encode(), job.staging)
    members = 4 if job.form.stored_views else 3
    record = TarRecord(
        _photo_records(contents.number, made, placed[::members]),
        _points(made),
        contents.labels[made.rows],
        made.rejects,
        made.dropped,
        sha256,
        (job.out / name).stat().st_size,
    )
    write_record(record_path(job.out, contents.number), record, job.staging)
    return contents.number, len(made.rows), len(made.rejects)


@dataclass
class _Made:
    """What is known of the photos of a tar once their faces are in it: row in its contents, checksums, rejects."""

    rows: list[int] = field(default_factory=list)
    checks: list[tuple[int, int, int, int]] = field(default_factory=list)
    points: list[NDArray[np.float32]] = field(default_factory=list)
    rejects: list[tuple[int, str, str, str]] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def add(self, row: int, face: Face) -> None:
        """Note a face that goes into the tar."""
        self.rows.append(row)
        self.checks.append((len(face.encoded), zlib.crc32(face.encoded), zlib.crc32(face.views), face.native))
        self.points.append(face.points)


def _members(contents: TarContents, job: Job, made: _Made) -> Iterator[tuple[str, bytes]]:
    """Yield the files of every face, one identity's faces in memory at a time."""
    for _, group in groupby(range(len(contents.labels)), key=lambda row: int(contents.labels[row])):
        for row, face in _faces_of_identity(list(group), contents, job, made):
            made.add(row, face)
            yield from _files(contents, job, row, face)


def _faces_of_identity(rows: list[int], contents: TarContents, job: Job, made: _Made) -> list[tuple[int, Face]]:
    """Make the faces of an identity; drop it where bad photos leave it with too few."""
    faces: list[tuple[int, Face]] = []
    reasons: dict[int, str] = {}
    for row in rows:
        origin = job.origins[contents.sources[row]]
        landmarks = contents.landmarks[row] if origin.framing in ("landmarks", "native") else None
        try:
            data = read_photo(origin.root, contents.paths[row], int(contents.positions[row]))
            faces.append((row, make_face(data, landmarks, job.form, origin.framing)))
        except UnusablePhoto as error:
            reasons[row] = str(error)
    if len(faces) < job.min_photos:
        made.dropped.append(contents.identities[rows[0]])
        reasons.update((row, too_few_reason(job.min_photos)) for row, _ in faces)
        faces = []
    for row, reason in sorted(reasons.items()):
        made.rejects.append((int(contents.sources[row]), contents.paths[row], contents.identities[row], reason))
    return faces


def _files(contents: TarContents, job: Job, row: int, face: Face) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a face."""
    key = f"{contents.labels[row]:08d}-{row:08d}"
    about = {
        "dataset": job.origins[contents.sources[row]].name,
        "identity": contents.identities[row],
        "path": contents.paths[row],
        "native": face.native,
    }
    if np.isfinite(face.points).all():
        about["points"] = face.points.astype(np.float64).round(6).tolist()
    yield f"{key}.{job.form.codec}", face.encoded
    if face.views:
        yield f"{key}.views", face.views
    yield f"{key}.label", label_bytes(int(contents.labels[row]))
    yield f"{key}.json", _JSON.encode(about).encode()


def _points(made: _Made) -> NDArray[np.void]:
    points = np.empty(len(made.rows), dtype=POINTS_DTYPE)
    for row, found in enumerate(made.points):
        points["points"][row] = found
    return points


def _photo_records(number: int, made: _Made, placed: list[Member]) -> NDArray[np.void]:
    photos = np.zeros(len(made.rows), dtype=PHOTO_DTYPE)
    photos["tar"] = number
    for record, (size, crc32, views_crc32, native), member in zip(photos, made.checks, placed, strict=True):
        assert member.size == size
        record["offset"], record["size"] = member.offset, size
        record["crc32"], record["views_crc32"], record["native"] = crc32, views_crc32, native
    return photos
