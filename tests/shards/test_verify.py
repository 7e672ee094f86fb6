"""Every kind of damage is found, with the tar and the key it is at."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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
