"""The end of a sharding run: renumbers labels and writes the index, the rejects and the manifest."""

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, NoReturn

import numpy as np
from numpy.typing import NDArray

from pipeline.pixels.resample import RESAMPLING
from pipeline.sharding.plan import Plan, library_versions
from pipeline.sharding.tar_record import TarRecord, read_record, record_path
from shards.command import UserError
from shards.digest import file_sha256
from shards.format import (
    IDENTITIES,
    MANIFEST,
    NAMES,
    PHOTO_DTYPE,
    PHOTOS,
    POINTS,
    POINTS_DTYPE,
    REJECTS,
    Manifest,
    TarEntry,
    label_bytes,
    next_member,
    tar_name,
    views_size,
)
from shards.writer import write_atomically


def finish(plan: Plan, out: Path) -> Manifest:
    """Turn finished tars into a finished folder; may be repeated after an interruption at any point.

    One tar's records are in memory at a time.
    """
    counts = np.zeros(len(plan.names), dtype=np.int64)
    for number in range(plan.tars):
        counts += np.bincount(read_record(record_path(out, number)).labels, minlength=len(counts))
    kept = np.flatnonzero(counts)
    if not kept.size:
        _refuse_nothing(plan, out)
    # Identities that lost too many photos left holes in the labels.
    final_of = np.full(len(plan.names), -1, dtype=np.int64)
    final_of[kept] = np.arange(len(kept))
    first = np.concatenate([[0], np.cumsum(counts[kept])]).astype(np.int64)
    tars, dropped, pointed = [], set(plan.too_few), 0
    for number in range(plan.tars):
        record = read_record(record_path(out, number))
        labels = final_of[record.labels]
        tars.append(_relabel(out / tar_name(number), number, record, labels, plan.settings.stored_views))
        plan.records.add_rejects(record.rejects)
        dropped.update(record.dropped)
        pointed += int(np.isfinite(record.points["points"]).all(axis=(1, 2)).sum())

    write_atomically(out / PHOTOS, lambda file: _write_rows(file, plan, out, final_of, first, PHOTO_DTYPE))
    if pointed:
        write_atomically(out / POINTS, lambda file: _write_rows(file, plan, out, final_of, first, POINTS_DTYPE))
    write_atomically(out / IDENTITIES, _npy(first))
    write_atomically(out / NAMES, "".join(f"{plan.names[label]}\n" for label in kept).encode())
    write_atomically(out / REJECTS, lambda file: _write_csv(file, plan.records.rejects()))
    manifest = _manifest(plan, tars, len(kept), sorted(dropped), pointed)
    assert manifest.photos + sum(manifest.rejects.values()) == manifest.input_records
    write_atomically(out / MANIFEST, manifest.to_json().encode())
    return manifest


def _write_rows(
    file: BinaryIO, plan: Plan, out: Path, final_of: NDArray[np.int64], first: NDArray[np.int64], dtype: np.dtype
) -> None:
    """Write the table of photos or of points, tar by tar, each identity's rows in their place.

    Args:
        file: open for writing.
        plan: of the folder.
        out: folder with the records of all tars.
        final_of: label of each planned one.
        first: (identities + 1,) row of each label's first photo.
        dtype: `PHOTO_DTYPE` or `POINTS_DTYPE`.
    """
    np.lib.format.write_array_header_1_0(
        file, {"descr": dtype.descr, "fortran_order": False, "shape": (int(first[-1]),)}
    )
    start = file.tell()
    for number in range(plan.tars):
        record = read_record(record_path(out, number))
        labels, table = final_of[record.labels], record.photos if dtype == PHOTO_DTYPE else record.points
        # An identity's photos stand together, in the tar as in the table.
        for rows in np.split(np.arange(len(labels)), np.flatnonzero(np.diff(labels)) + 1):
            if rows.size:
                file.seek(start + int(first[labels[rows[0]]]) * dtype.itemsize)
                file.write(table[rows].tobytes())


def _refuse_nothing(plan: Plan, out: Path) -> NoReturn:
    """Refuse a folder without any photo, saying why all were rejected."""
    for number in range(plan.tars):
        plan.records.add_rejects(read_record(record_path(out, number)).rejects)
    rejected = ", ".join(f"{count} {reason}" for reason, count in plan.records.reasons().items())
    raise UserError(
        f"no identity is left, of {plan.inputs} photos: {rejected}; remove {out} once the photos are repaired"
    )


def _relabel(
    tar: Path, number: int, record: TarRecord, final: NDArray[np.int64], stored_views: tuple[int, ...]
) -> TarEntry:
    """Write the final labels over the planned ones where they differ.

    Only absolute values are written, so a repetition after an interruption does no harm.
    """
    sha256 = record.sha256
    moved = np.flatnonzero(final != record.labels)
    views = views_size(stored_views)
    if moved.size:
        with tar.open("r+b") as file:
            for row in moved:
                offset = next_member(*(int(record.photos[row][name]) for name in ("offset", "size")))
                if views:
                    offset = next_member(offset, views)
                os.pwrite(file.fileno(), label_bytes(int(final[row])), offset)
            os.fsync(file.fileno())
        sha256 = file_sha256(tar)
    return TarEntry(tar_name(number), record.bytes, sha256, len(record.photos))


def _manifest(plan: Plan, tars: list[TarEntry], identities: int, dropped: list[str], pointed: int) -> Manifest:
    settings = plan.settings
    return Manifest(
        preprocessing=settings.preprocessing(),
        codec=settings.codec,
        quality=settings.quality if settings.codec == "jpg" else 0,
        resampling=RESAMPLING,
        stored_views=settings.stored_views,
        seed=settings.seed,
        min_photos=settings.min_photos,
        tar_mb=settings.tar_mb,
        min_tars=settings.min_tars,
        sources=tuple(plan.descriptions),
        input_records=plan.inputs,
        identities=identities,
        photos=sum(tar.photos for tar in tars),
        rejects=plan.records.reasons(),
        dropped_identities=tuple(dropped),
        tars=tuple(tars),
        versions=library_versions(),
        pointed=pointed,
    )


def _npy(array: NDArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _write_csv(file: BinaryIO, rows: Iterable[tuple[str, str, str]]) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "identity", "reason"))
    writer.writerows(rows)
    text.detach()
