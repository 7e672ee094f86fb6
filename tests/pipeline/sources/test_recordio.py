"""MXNet RecordIO sets, written here by the format's description and read back."""

import io
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.alignment.photo_to_face import read_photo
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.photo_table import PhotoTable
from pipeline.sources.recordio import DamagedRecord, read_record, recordio
from shards.command import UserError
from shards.index import ShardIndex

MAGIC = struct.pack("<I", 0xCED7230A)


def framed(body: bytes) -> bytes:
    """Frame a body as dmlc-core does: split where the magic number stands at a multiple of four."""
    parts, start = [], 0
    for place in range(0, len(body) - 3, 4):
        if body[place : place + 4] == MAGIC:
            parts.append(body[start:place])
            start = place + 4
    parts.append(body[start:])
    kinds = [0] if len(parts) == 1 else [1, *[2] * (len(parts) - 2), 3]
    return b"".join(
        MAGIC + struct.pack("<I", kind << 29 | len(part)) + part + bytes(-len(part) % 4)
        for kind, part in zip(kinds, parts, strict=True)
    )


def photo_record(label: float, picture: bytes) -> bytes:
    return struct.pack("<IfQQ", 0, label, 0, 0) + picture


def labels_record(first: float, second: float) -> bytes:
    return struct.pack("<IfQQ2f", 2, 0.0, 0, 0, first, second)


def jpeg(seed: int) -> bytes:
    face = cv2.GaussianBlur(np.random.default_rng(seed).integers(0, 256, (112, 112, 3), np.uint8), (0, 0), 4)
    buffer = io.BytesIO()
    Image.fromarray(face).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


def write_set(root: Path, people: int = 5, photos: int = 4, *, ranges: bool = True) -> None:
    """Write `train.rec`, `train.idx` and `property` in the layout that MS1M is shared in."""
    root.mkdir(exist_ok=True)
    bodies = [(key, photo_record((key - 1) // photos, jpeg(key))) for key in range(1, people * photos + 1)]
    if ranges:
        first = people * photos + 1
        bodies.insert(0, (0, labels_record(first, first + people)))
        bodies += [(first + p, labels_record(1 + p * photos, 1 + (p + 1) * photos)) for p in range(people)]
    else:
        bodies = [(key - 1, body) for key, body in bodies]
    index = []
    with (root / "train.rec").open("wb") as file:
        for key, body in bodies:
            index.append(f"{key}\t{file.tell()}\n")
            file.write(framed(body))
    (root / "train.idx").write_text("".join(index))
    (root / "property").write_text(f"{people},112,112")


@given(pieces=st.lists(st.sampled_from([MAGIC, b"abcd", b"x", b""]), max_size=8))
def test_a_record_that_holds_the_magic_number_comes_back_whole(pieces: list[bytes]) -> None:
    body = photo_record(3.0, b"".join(pieces))
    record = read_record(io.BytesIO(b"skip" + framed(body)), 4)
    assert (record.labels, record.picture) == ((3.0,), b"".join(pieces))


@pytest.mark.parametrize("ranges", [True, False])
def test_a_set_becomes_shards_of_its_own_faces(tmp_path: Path, ranges: bool) -> None:
    write_set(tmp_path / "ms1m", ranges=ranges)
    plan = Plan(recordio(tmp_path / "ms1m"), Settings(template="centred", size=112, codec="png"))
    manifest, _ = shard(plan, tmp_path / "out", workers=1)
    assert (manifest.identities, manifest.photos, manifest.input_records) == (5, 20, 20)
    assert manifest.sources[0]["listed_identities"] == 5
    index = ShardIndex.open(tmp_path / "out")
    assert index.names == [f"{label:08d}" for label in range(5)]
    stored = cv2.imdecode(index.read(7), cv2.IMREAD_COLOR)
    expected = cv2.imdecode(np.frombuffer(jpeg(8), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(stored, expected)


@pytest.mark.slow
def test_damaged_and_repeated_records_are_rejects(tmp_path: Path) -> None:
    root = tmp_path / "ms1m"
    write_set(root, photos=6)
    lines = (root / "train.idx").read_text().splitlines()
    with (root / "train.idx").open("a") as file:
        file.write(lines[3] + "\n")
    with (root / "train.rec").open("r+b") as file:
        file.seek(int(lines[2].split("\t")[1]))
        file.write(b"gone")  # the magic number of key 2
        file.seek(int(lines[9].split("\t")[1]) + 8 + 24)
        file.write(bytes(40))  # the head of a picture
    plan = Plan(recordio(root), Settings(template="centred", size=32))
    manifest, _ = shard(plan, tmp_path / "out", workers=1)
    assert manifest.rejects == {"damaged record": 1, "duplicate record": 1, "unreadable": 1}
    assert manifest.photos + sum(manifest.rejects.values()) == manifest.input_records == 31


def test_keys_beyond_float32_are_told_by_their_records(tmp_path: Path) -> None:
    """Above 2**24 the first identity key 16,777,219 can only be written as 16,777,220."""
    first = 16_777_219
    bodies = [(0, labels_record(first, first + 2))]
    bodies += [(first - 4 + number, photo_record(number // 2, jpeg(number))) for number in range(4)]
    bodies += [(first + person, labels_record(first - 4 + 2 * person, first - 2 + 2 * person)) for person in range(2)]
    index, data = "", b""
    for key, body in bodies:
        index, data = f"{index}{key}\t{len(data)}\n", data + framed(body)
    (tmp_path / "train.idx").write_text(index)
    (tmp_path / "train.rec").write_bytes(data)
    with PhotoTable([recordio(tmp_path)]) as records:
        assert records.identities()[0] == ["00000000", "00000001"]
        assert (records.inputs, records.reasons()) == (4, {})


def test_an_identity_is_named_by_any_of_its_photos(tmp_path: Path) -> None:
    write_set(tmp_path)
    lines = (tmp_path / "train.idx").read_text().splitlines()
    with (tmp_path / "train.rec").open("r+b") as file:
        file.seek(int(lines[5].split("\t")[1]))
        file.write(b"gone")  # the first photo of the second identity
    with PhotoTable([recordio(tmp_path)]) as records:
        assert records.identities()[0] == [f"{label:08d}" for label in range(5)]


def test_threads_do_not_share_their_place_in_a_file(tmp_path: Path) -> None:
    write_set(tmp_path)
    positions = [int(line.split("\t")[1]) for line in (tmp_path / "train.idx").read_text().splitlines()[1:21]]
    expected = [jpeg(key) for key in range(1, 21)]

    def read_all(_: int) -> bool:
        return [read_photo(tmp_path, "train.rec/1", position) for position in positions] == expected

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(read_all, range(40)))


def test_what_is_no_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder with train"):
        recordio(tmp_path)
    write_set(tmp_path / "a")
    (tmp_path / "a" / "train.idx").write_text("1 2\n")
    with pytest.raises(UserError, match="is no index"):
        recordio(tmp_path / "a")
    write_set(tmp_path / "b")
    (tmp_path / "b" / "property").write_text("many")
    with pytest.raises(UserError, match="identities,height,width"):
        recordio(tmp_path / "b")
    write_set(tmp_path / "c")
    kept = (tmp_path / "c" / "train.idx").read_text().splitlines()[:5]
    (tmp_path / "c" / "train.idx").write_text("\n".join(kept))
    with pytest.raises(UserError, match="names identity records 21 to 26"):
        PhotoTable([recordio(tmp_path / "c")])


def test_a_property_of_two_lines_is_read(tmp_path: Path) -> None:
    """As the insightface package's own builder writes it."""
    write_set(tmp_path)
    (tmp_path / "property").write_text("5,112,112\n20\n")
    assert recordio(tmp_path).choice["listed_identities"] == 5


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    changes=st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 255)), min_size=1, max_size=6),
    cut=st.integers(0, 4000),
)
def test_mutated_records_are_read_or_named(changes: list[tuple[int, int]], cut: int) -> None:
    data = bytearray(framed(photo_record(1.0, jpeg(0))))
    for place, value in changes:
        data[place % len(data)] = value
    if cut % 3 == 0:
        del data[cut % len(data) :]
    try:
        assert read_record(io.BytesIO(data), 0).labels
    except DamagedRecord as error:
        assert str(error)


def test_the_command_takes_it_on_the_centred_template(tmp_path: Path, command: Callable) -> None:
    write_set(tmp_path / "ms1m")
    done = command("pipeline.shard", "--dataset", "recordio", "--root", tmp_path / "ms1m", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert ShardIndex.open(tmp_path / "out").manifest.preprocessing.template == "centred"
