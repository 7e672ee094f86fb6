"""Check a shard folder: `python -m shards.verify DIR`.

Compares every tar's size and SHA-256 with the manifest, walks its members, and holds names, labels, places,
CRC-32 and DALI's index against the shard index; decodes every face, or a sample. Each fault is named with
its tar and key. Exit status 0: no fault; 1: faults; 2: the folder cannot be checked.
"""

import csv
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from shards.command import Parser, UserError, run
from shards.format import MANIFEST, REJECTS, TarEntry, index_name, label_of
from shards.storage.places import Folder, shard_folder
from shards.writer import Member, dali_index

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shards.index import ShardIndex


class Fault(NamedTuple):
    """Something wrong: in which file, at which key (empty for the whole file), and what."""

    file: str
    key: str
    what: str


def parser() -> Parser:
    """Return the command's parser."""
    command = Parser(prog="python -m shards.verify", description=__doc__)
    command.add_argument(
        "folder", type=shard_folder, help="shard folder, or its address in a bucket or on a web server"
    )
    command.add_argument(
        "--sample", type=int, help="decode only about so many faces, evenly spread; 0 for none (default: all)"
    )
    return command


def find_faults(folder: Folder, sample: int | None = None) -> Iterator[Fault]:
    """Yield every fault of a shard folder.

    Args:
        folder: the shard folder.
        sample: about how many faces to decode, or None for all.

    Raises:
        UserError: there is no readable manifest or index.
    """
    from shards.index import ShardIndex

    index = ShardIndex.open(folder)
    yield from _check_index(index)
    if sample is not None and sample < 0:
        raise UserError(f"a sample of {sample} faces; give 0 or more")
    every = 1 if sample is None else max(1, index.photos // sample) if sample else 0
    for entry, rows in zip(index.manifest.tars, index.rows_by_tar(), strict=True):
        yield from _check_tar(index, rows, entry, every)


def _check_index(index: "ShardIndex") -> Iterator[Fault]:
    """Check what the index says of itself."""
    import numpy as np

    from shards.format import IDENTITIES, NAMES, PHOTOS, POINTS

    manifest = index.manifest
    if len(index.names) != index.identities or len(set(index.names)) != index.identities:
        yield Fault(NAMES, "", f"{len(set(index.names))} names for {index.identities} identities")
    if not (index.folder / NAMES).read_bytes().endswith(b"\n"):
        yield Fault(NAMES, "", "does not end with the end of a line: it was cut short")
    if index.first[0] != 0 or (np.diff(index.first) < manifest.min_photos).any():
        yield Fault(IDENTITIES, "", f"an identity has fewer than {manifest.min_photos} photos")
    tars = index.records.column("tar")
    if len(tars) and not 0 <= tars.min() <= tars.max() < len(manifest.tars):
        yield Fault(PHOTOS, "", f"names tar {tars.max()} of {len(manifest.tars)}")
    counts = np.bincount(tars.clip(0), minlength=len(manifest.tars))
    for entry, count in zip(manifest.tars, counts, strict=False):
        if entry.photos != count:
            yield Fault(PHOTOS, "", f"holds {count} photos of {entry.name}, the manifest says {entry.photos}")
    if index.points(np.empty(0, np.int64)).shape != (0, 5, 2):
        yield Fault(POINTS, "", "holds no points")
    yield from _check_rejects(index)
    total = manifest.photos + sum(manifest.rejects.values())
    if total != manifest.input_records:
        yield Fault(MANIFEST, "", f"photos and rejects are {total}, the input {manifest.input_records}")


def _check_rejects(index: "ShardIndex") -> Iterator[Fault]:
    """Hold the table of rejects against the manifest's counts."""
    try:
        with (index.folder / REJECTS).open("rb") as file, io.TextIOWrapper(file, "utf-8", newline="") as lines:
            found = Counter(row["reason"] for row in csv.DictReader(lines))
    except (OSError, ValueError, KeyError, csv.Error) as error:
        yield Fault(REJECTS, "", f"cannot be read: {error}")
        return
    if found != index.manifest.rejects:
        yield Fault(REJECTS, "", f"holds {dict(found)}, the manifest says {index.manifest.rejects}")


def _check_tar(index: "ShardIndex", mine: "NDArray[np.int64]", entry: TarEntry, every: int) -> Iterator[Fault]:
    """Check one tar against manifest and the rows (N,) of its photos."""
    try:
        file = (index.folder / entry.name).open("rb")
    except OSError as error:
        yield Fault(entry.name, "", f"cannot be read: {error.strerror}")
        return
    with file:
        yield from _check_content(index, mine, entry, every, file)


def _check_content(
    index: "ShardIndex", mine: "NDArray[np.int64]", entry: TarEntry, every: int, file: BinaryIO
) -> Iterator[Fault]:
    """Check the content of a tar that is open."""
    try:
        digest = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
    except OSError as error:
        yield Fault(entry.name, "", f"cannot be read: {error.strerror}")
        return
    if size != entry.bytes:
        yield Fault(entry.name, "", f"has {size} bytes, the manifest says {entry.bytes}")
    if digest != entry.sha256:
        yield Fault(entry.name, "", f"has SHA-256 {digest[:16]}, the manifest says {entry.sha256[:16]}")
    records = index.records[mine]
    rows = {int(record["offset"]): (row, record) for row, record in zip(mine.tolist(), records, strict=True)}
    members: list[Member] = []
    try:
        for key, sample in _samples(file, members):
            yield from (Fault(entry.name, key, what) for what in _check_sample(index, sample, rows, every))
    except (tarfile.TarError, OSError, ValueError, EOFError) as error:
        yield Fault(entry.name, "", f"is no whole tar: {error}")
    for row, _ in rows.values():
        yield Fault(entry.name, "", f"lacks the face that photos.npy names in row {row}")
    listing = index_name(entry.name)
    try:
        found = (index.folder / listing).read_text(encoding="utf-8", errors="replace")
    except OSError:
        found = ""
    if found != dali_index(members):
        yield Fault(listing, "", "is not the index of its tar")


def _samples(file: BinaryIO, members: list[Member]) -> Iterator[tuple[str, dict[str, tuple[int, bytes]]]]:
    """Yield every photo's key and its files by extension: place and bytes. Fills the list of members."""
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for key, group in groupby(tar, lambda member: member.name.partition(".")[0]):
            sample = {}
            for member in group:
                content = tar.extractfile(member)
                data = content.read() if content else b""
                members.append(Member(member.name, member.offset_data, member.size))
                sample[member.name.partition(".")[2]] = (member.offset_data, data)
            yield key, sample


def _check_sample(
    index: "ShardIndex", sample: dict[str, tuple[int, bytes]], rows: "dict[int, tuple[int, np.void]]", every: int
) -> Iterator[str]:
    """Check the files of one photo; the photo is taken out of `rows`."""
    import numpy as np

    codec = index.manifest.codec
    expected = {codec, "label", "json"} | ({"views"} if index.manifest.stored_views else set())
    if sample.keys() != expected:
        yield f"has the files {', '.join(sorted(sample))}; expected {', '.join(sorted(expected))}"
    offset, face = sample.get(codec, (-1, b""))
    if offset not in rows:
        yield "is not in photos.npy"
        return
    row, record = rows.pop(offset)
    size, crc = int(record["size"]), int(record["crc32"])
    if len(face) != size or zlib.crc32(face) != crc:
        yield (f"has {len(face)} bytes with CRC-32 {zlib.crc32(face):08x}; photos.npy says {size} with {crc:08x}")
    if (found := zlib.crc32(sample.get("views", (0, b""))[1])) != record["views_crc32"]:
        yield f"has stored views with CRC-32 {found:08x}; photos.npy says {record['views_crc32']:08x}"
    if every and row % every == 0 and (problem := _undecodable(face, index.manifest.preprocessing.size)):
        yield problem
    label = int(np.searchsorted(index.first, row, side="right")) - 1
    if (found := label_of(sample.get("label", (0, b""))[1])) != label:
        yield f"has label {found}, the index says {label}"
    try:
        about = json.loads(sample.get("json", (0, b""))[1])
        name, native = about["identity"], about["native"]
    except (ValueError, KeyError, TypeError, RecursionError):
        yield "has a json that names no identity and native size"
        return
    written = np.array(about.get("points") or np.full((5, 2), np.nan), dtype=np.float32)
    points = index.points(np.array(row))
    if index.manifest.pointed and not np.array_equal(written, points, equal_nan=True):
        yield f"has points {written.tolist()}, points.npy says {points.tolist()}"
    if native != record["native"]:
        yield f"stood in its photo at {native} pixels, photos.npy says {record['native']}"
    if label < len(index.names) and name != index.names[label]:
        yield f"shows {name}, label {label} is {index.names[label]}"


def _undecodable(face: bytes, size: int) -> str:
    """Return why a face cannot be decoded to the stored size; nothing where it can."""
    from PIL import Image

    try:
        picture = Image.open(io.BytesIO(face))
        picture.load()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return f"cannot be decoded: {error}"
    if picture.size != (size, size):
        return f"has {picture.size[0]} x {picture.size[1]} pixels, the manifest says {size} x {size}"
    return ""


def main() -> None:
    """Check a folder and print its faults."""
    options = parser().parse_args()
    faults = 0
    for fault in find_faults(options.folder, options.sample):
        faults += 1
        print(f"{fault.file} {fault.key}: {fault.what}" if fault.key else f"{fault.file}: {fault.what}")
    print(f"{options.folder}: {faults or 'no'} fault{'s' * (faults != 1)}")
    raise SystemExit(1 if faults else 0)


if __name__ == "__main__":
    run(main)
