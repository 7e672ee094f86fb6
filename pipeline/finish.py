"""The end of a sharding run: labels close up, the index, the rejects, and last the manifest."""

import csv
import hashlib
import io
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import PIL
from numpy.typing import NDArray

from pipeline.plan import Plan
from pipeline.resample import RESAMPLING
from pipeline.unit import UnitRecord, label_bytes, read_record, record_path
from shards.format import (
    IDENTITIES,
    MANIFEST,
    NAMES,
    PHOTOS,
    REJECTS,
    Manifest,
    TarEntry,
    next_member,
    tar_name,
    views_size,
)
from shards.writer import write_atomically


def finish(plan: Plan, out: Path) -> Manifest:
    """Turn finished tars into a finished folder; may be repeated after an interruption at any point."""
    records = [read_record(record_path(out, number)) for number in range(plan.tars)]
    planned = np.concatenate([record.labels for record in records])
    kept = np.unique(planned)
    # Identities that lost too many photos left holes in the labels.
    final_of = np.full(len(plan.names), -1, dtype=np.int64)
    final_of[kept] = np.arange(len(kept))
    records = [
        _relabel(out / tar_name(n), record, final_of, plan.settings.stored_views) for n, record in enumerate(records)
    ]
    labels = final_of[planned]
    order = np.argsort(labels, kind="stable")
    photos = np.concatenate([record.photos for record in records])[order]
    first = np.concatenate([[0], np.cumsum(np.bincount(labels, minlength=len(kept)))]).astype(np.int64)
    write_atomically(out / PHOTOS, _npy(photos))
    write_atomically(out / IDENTITIES, _npy(first))
    write_atomically(out / NAMES, "".join(f"{plan.names[label]}\n" for label in kept).encode())
    rejects = _all_rejects(plan, records)
    write_atomically(out / REJECTS, _csv(rejects))
    manifest = _manifest(plan, records, len(kept), rejects)
    assert manifest.photos + sum(manifest.rejects.values()) == manifest.input_records
    write_atomically(out / MANIFEST, manifest.to_json().encode())
    return manifest


def _relabel(tar: Path, record: UnitRecord, final_of: NDArray[np.int64], stored_views: tuple[int, ...]) -> UnitRecord:
    """Write the final labels over the planned ones where they differ.

    Only absolute values are written, so a repetition after an interruption does no harm.
    """
    final = final_of[record.labels]
    moved = np.flatnonzero(final != record.labels)
    if not moved.size:
        return record
    views = views_size(stored_views)
    with tar.open("r+b") as file:
        for row in moved:
            offset = next_member(*(int(record.photos[row][name]) for name in ("offset", "size")))
            if views:
                offset = next_member(offset, views)
            os.pwrite(file.fileno(), label_bytes(int(final[row])), offset)
        os.fsync(file.fileno())
    with tar.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    return replace(record, sha256=sha256)


def _all_rejects(plan: Plan, records: list[UnitRecord]) -> list[tuple[str, str, str]]:
    tables = (plan.source.rejects, plan.too_few)
    before = [tuple(row) for table in tables for row in table.itertuples(index=False, name=None)]
    return sorted([*before, *(reject for record in records for reject in record.rejects)])


def _manifest(plan: Plan, records: list[UnitRecord], identities: int, rejects: list[tuple[str, str, str]]) -> Manifest:
    settings = plan.settings
    dropped = set(plan.too_few["identity"]).union(*(record.dropped for record in records))
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
        sources=(plan.source.description(),),
        input_records=plan.source.inputs,
        identities=identities,
        photos=sum(len(record.photos) for record in records),
        rejects=dict(sorted(Counter(reason for _, _, reason in rejects).items())),
        dropped_identities=tuple(sorted(str(name) for name in dropped)),
        tars=tuple(
            TarEntry(tar_name(number), record.bytes, record.sha256, len(record.photos))
            for number, record in enumerate(records)
        ),
        versions={"numpy": np.__version__, "opencv": cv2.__version__, "pillow": PIL.__version__},
    )


def _npy(array: NDArray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def _csv(rows: list[tuple[str, str, str]]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([("path", "identity", "reason"), *rows])
    return text.getvalue().encode()
