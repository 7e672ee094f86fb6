"""Every kind of damage is found, with the tar and the key it is at."""

import io
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards.command import UserError
from shards.index import ShardIndex
from shards.verify import find_faults


@pytest.fixture
def copy(shards: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "copy"))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def test_a_sound_folder_has_no_fault(shards: Path) -> None:
    assert list(find_faults(shards)) == []
    assert list(find_faults(shards, sample=3)) == []


def test_a_changed_face_is_named(copy: Path) -> None:
    index = ShardIndex.open(copy)
    record = index.records[7]
    tar, key = index.key(7)
    overwrite(copy / tar, int(record["offset"]) + 40, b"\0\1\2\3\4\5\6\7")
    faults = list(find_faults(copy))
    assert any(fault.file == tar and fault.key == key and "CRC-32" in fault.what for fault in faults)
    assert any("SHA-256" in fault.what for fault in faults)


def test_a_changed_label_is_named(copy: Path) -> None:
    index = ShardIndex.open(copy)
    record = index.records[0]
    tar, key = index.key(0)
    offset = int(record["offset"]) + -(-int(record["size"]) // 512) * 512 + 512
    overwrite(copy / tar, offset, (9).to_bytes(4, "little"))
    assert any(f.key == key and f.what == "has label 9, the index says 0" for f in find_faults(copy))


def cut(folder: Path) -> None:
    tar = folder / "shard-000001.tar"
    tar.write_bytes(tar.read_bytes()[:5000])


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing tar": (lambda folder: (folder / "shard-000001.tar").unlink(), "shard-000001.tar"),
    "short tar": (cut, "shard-000001.tar"),
    "empty tar": (lambda folder: (folder / "shard-000001.tar").write_bytes(b""), "shard-000001.tar"),
    "no tar": (lambda folder: (folder / "shard-000001.tar").write_bytes(b"x" * 9999), "shard-000001.tar"),
    "other listing": (lambda folder: (folder / "shard-000002.idx").write_text("v1.2 0\n"), "shard-000002.idx"),
    "missing listing": (lambda folder: (folder / "shard-000002.idx").unlink(), "shard-000002.idx"),
    "fewer names": (lambda folder: (folder / "identities.txt").write_text("one\n"), "identities.txt"),
    "names cut short": (
        lambda folder: (folder / "identities.txt").write_bytes((folder / "identities.txt").read_bytes()[:-1]),
        "identities.txt",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_named(copy: Path, damage: str) -> None:
    deed, named = DAMAGES[damage]
    deed(copy)
    assert named in {fault.file for fault in find_faults(copy)}


@pytest.mark.parametrize("name", ["photos.npy", "identities.npy", "manifest.json", "identities.txt"])
def test_a_missing_index_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(UserError):
        list(find_faults(copy))


def test_native_sizes_and_rejects_are_held_against_the_index(copy: Path) -> None:
    records = np.load(copy / "photos.npy")
    records["native"][5] += 1
    np.save(copy / "photos.npy", records)
    with (copy / "rejects.csv").open("a") as file:
        file.write("a.jpg,a,missing\n")
    faults = {(fault.file, fault.what) for fault in find_faults(copy)}
    assert ("rejects.csv", "holds {'missing': 1}, the manifest says {}") in faults
    assert any("pixels, photos.npy says" in what for _, what in faults)


def change_records(folder: Path, field: str, row: int, value: int) -> None:
    records = np.load(folder / "photos.npy")
    records[field][row] = value
    np.save(folder / "photos.npy", records)


def change_manifest(folder: Path, change: Callable[[dict], object]) -> None:
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def rename_first_identity(folder: Path) -> None:
    names = (folder / "identities.txt").read_text().splitlines()
    (folder / "identities.txt").write_text("\n".join([names[1], *names[1:]]) + "\n")


def move_points(folder: Path) -> None:
    points = np.load(folder / "points.npy")
    points["points"][3] += 0.25
    np.save(folder / "points.npy", points)


LIES: dict[str, tuple[Callable[[Path], object], str]] = {
    "a name twice": (rename_first_identity, "identities.txt: 11 names for 12 identities"),
    "another's name": (rename_first_identity, "label 0 is "),
    "another tar": (lambda folder: change_records(folder, "tar", 0, 1), "holds 21 photos of shard-000001.tar"),
    "no such tar": (lambda folder: change_records(folder, "tar", 0, 7), "photos.npy: names tar 7 of 3"),
    "another place": (lambda folder: change_records(folder, "offset", 4, 1), "is not in photos.npy"),
    "a face not in its tar": (
        lambda folder: change_records(folder, "offset", 4, 1),
        "lacks the face that photos.npy names in row 4",
    ),
    "stored views": (lambda folder: change_records(folder, "views_crc32", 3, 5), "has stored views with CRC-32"),
    "other points": (move_points, "points.npy says"),
    "photos enough": (
        lambda folder: change_manifest(folder, lambda manifest: manifest.update(min_photos=6)),
        "an identity has fewer than 6 photos",
    ),
    "sum of photos": (
        lambda folder: change_manifest(folder, lambda manifest: manifest.update(input_records=61)),
        "photos and rejects are 60, the input 61",
    ),
    "no list of rejects": (lambda folder: (folder / "rejects.csv").unlink(), "rejects.csv: cannot be read"),
}


@pytest.mark.parametrize("lie", LIES)
def test_an_index_that_says_otherwise_is_named(copy: Path, lie: str) -> None:
    change, says = LIES[lie]
    change(copy)
    assert says in "\n".join(f"{fault.file}: {fault.what}" for fault in find_faults(copy))


def rewrite_tar(folder: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> None:
    """Change the names and contents of the first tar's members; bytes stay where they are."""
    path = folder / "shard-000000.tar"
    with tarfile.open(path) as tar:
        members = [(member.name, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in members:
            name, content = change(name, content)  # noqa: PLW2901
            header = tarfile.TarInfo(name)
            header.size = len(content)
            tar.addfile(header, io.BytesIO(content))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda name, content: (name.replace(".label", ".class"), content), "has the files class, jpg, json; expected"),
        (lambda name, content: (name, b"[]" if name.endswith("json") else content), "a json that names no identity"),
        (lambda name, content: (name, bytes(len(content)) if name.endswith("jpg") else content), "cannot be decoded"),
    ],
)
def test_a_tar_whose_files_are_others_is_named(
    copy: Path, change: Callable[[str, bytes], tuple[str, bytes]], says: str
) -> None:
    rewrite_tar(copy, change)
    assert says in "\n".join(fault.what for fault in find_faults(copy))


def test_a_face_of_another_size_is_named(copy: Path) -> None:
    index = ShardIndex.open(copy)
    small = io.BytesIO()
    Image.new("RGB", (8, 8)).save(small, "JPEG")
    tar, _ = index.key(0)
    overwrite(copy / tar, int(index.records[0]["offset"]), small.getvalue())
    assert "has 8 x 8 pixels, the manifest says 32 x 32" in {fault.what for fault in find_faults(copy)}


def test_a_sample_is_a_number_of_faces(copy: Path, refused: Callable[..., str]) -> None:
    assert "0 or more" in refused("shards.verify", copy, "--sample", -1)
    assert list(find_faults(copy, sample=0)) == []


def test_the_command_counts_faults(copy: Path, command: Callable) -> None:
    assert command("shards.verify", copy).returncode == 0
    cut(copy)
    done = command("shards.verify", copy)
    assert done.returncode == 1
    assert "shard-000001.tar: has 5000 bytes" in done.stdout
    assert "60" in command("shards.info", copy).stdout


def test_the_command_refuses_other_folders(tmp_path: Path, refused: Callable[..., str]) -> None:
    assert "holds no manifest.json" in refused("shards.verify", tmp_path)
    assert "no folder" in refused("shards.info", tmp_path / "nowhere")
