"""The work of one tar, done by one process: photos in, a finished tar and its record out."""

import io
import json
import multiprocessing
import os
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.faces import Face, FaceFormat, UnusablePhoto, make_face
from pipeline.plan import Unit, too_few_reason
from shards.format import PHOTO_DTYPE, tar_name
from shards.writer import Member, dali_index, write_atomically, write_tar

WORK = ".work"


@dataclass(frozen=True)
class UnitRecord:
    """What is known of a finished tar.

    Attributes:
        photos: (N,) `PHOTO_DTYPE`, in the tar's order.
        labels: (N,) int64 planned labels.
        rejects: path, identity and reason of every photo of the unit that is not in the tar.
        dropped: identities left with too few photos.
        sha256: of the tar.
        bytes: of the tar.
    """

    photos: NDArray[np.void]
    labels: NDArray[np.int64]
    rejects: list[tuple[str, str, str]]
    dropped: list[str]
    sha256: str
    bytes: int


@dataclass(frozen=True)
class Job:
    """What every unit of a run shares: where from, where to, and how.

    Attributes:
        root: folder of the photos.
        out: shard folder.
        dataset: name of the source.
        form: how a face is made.
        aligned: the photos are faces already.
        min_photos: identities with fewer are dropped.
    """

    root: Path
    out: Path
    dataset: str
    form: FaceFormat
    aligned: bool
    min_photos: int


def prepare_worker() -> None:
    """Make a worker process end with its parent, and leave the other cores to the other workers."""
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def do_unit(unit: Unit, job: Job) -> tuple[int, int]:
    """Write one tar and its record; return how many photos were written and how many rejected."""
    faces, rejects, dropped = _make_faces(unit, job)
    labels = unit.labels[[row for row, _ in faces]]
    name = tar_name(unit.number)
    placed, sha256 = write_tar(job.out / name, _members(unit, job, faces))
    write_atomically(index_path(job.out, name), dali_index(placed).encode())
    record = UnitRecord(
        _photo_records(unit.number, faces, placed, members=4 if job.form.stored_views else 3),
        labels,
        rejects,
        dropped,
        sha256,
        (job.out / name).stat().st_size,
    )
    write_record(record_path(job.out, unit.number), record)
    return len(faces), len(rejects)


def _make_faces(unit: Unit, job: Job) -> tuple[list[tuple[int, Face]], list[tuple[str, str, str]], list[str]]:
    """Make the faces of a unit; drop identities that bad photos leave with too few."""
    form = replace(job.form, template=None) if job.aligned else job.form
    faces: list[tuple[int, Face]] = []
    reasons: dict[int, str] = {}
    for row, path in enumerate(unit.paths):
        landmarks = None if unit.landmarks is None else unit.landmarks[row]
        try:
            faces.append((row, make_face(job.root / path, landmarks, form)))
        except UnusablePhoto as error:
            reasons[row] = str(error)
    usable = Counter(unit.identities[row] for row, _ in faces)
    dropped = sorted(name for name in set(unit.identities) if usable[name] < job.min_photos)
    for row, _ in faces:
        if unit.identities[row] in dropped:
            reasons[row] = too_few_reason(job.min_photos)
    rejects = [(unit.paths[row], unit.identities[row], reason) for row, reason in sorted(reasons.items())]
    return [(row, face) for row, face in faces if row not in reasons], rejects, dropped


def _members(unit: Unit, job: Job, faces: list[tuple[int, Face]]) -> Iterator[tuple[str, bytes]]:
    """Yield the files of every face."""
    for row, face in faces:
        key = f"{unit.labels[row]:08d}-{row:08d}"
        about = {
            "dataset": job.dataset,
            "identity": unit.identities[row],
            "path": unit.paths[row],
            "native": face.native,
        }
        yield f"{key}.{job.form.codec}", face.encoded
        if face.views:
            yield f"{key}.views", face.views
        yield f"{key}.label", label_bytes(int(unit.labels[row]))
        yield f"{key}.json", json.dumps(about, ensure_ascii=False).encode()


def label_bytes(label: int) -> bytes:
    """Return a label as it stands in a tar: int32, little endian."""
    return label.to_bytes(4, "little", signed=True)


def _photo_records(
    number: int, faces: list[tuple[int, Face]], placed: list[Member], *, members: int
) -> NDArray[np.void]:
    photos = np.zeros(len(faces), dtype=PHOTO_DTYPE)
    for record, (_, face), member in zip(photos, faces, placed[::members], strict=True):
        assert member.size == len(face.encoded)
        record["offset"], record["size"], record["tar"] = member.offset, member.size, number
        record["crc32"], record["native"] = zlib.crc32(face.encoded), face.native
        record["views_crc32"] = zlib.crc32(face.views)
    return photos


def index_path(out: Path, tar: str) -> Path:
    """Return the path of DALI's index of a tar."""
    return (out / tar).with_suffix(".idx")


def record_path(out: Path, number: int) -> Path:
    """Return the path of the record that says a tar is finished."""
    return out / WORK / f"{tar_name(number)}.npz"


def write_record(path: Path, record: UnitRecord) -> None:
    """Write a unit's record atomically; from then on the tar counts as finished."""
    about = {
        "rejects": record.rejects,
        "dropped": record.dropped,
        "sha256": record.sha256,
        "bytes": record.bytes,
    }
    buffer = io.BytesIO()
    np.savez(
        buffer,
        photos=record.photos,
        labels=record.labels,
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
    )
    write_atomically(path, buffer.getvalue())


def read_record(path: Path) -> UnitRecord:
    """Read a unit's record."""
    with np.load(path, allow_pickle=False) as data:
        about = json.loads(data["about"].tobytes())
        rejects = [(str(p), str(i), str(r)) for p, i, r in about["rejects"]]
        return UnitRecord(data["photos"], data["labels"], rejects, about["dropped"], about["sha256"], about["bytes"])
