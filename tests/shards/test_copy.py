"""A copy is the folder to the byte, is finished after an interruption, and takes nothing damaged."""

import shutil
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from shards.command import UserError
from shards.storage.copying import copy_folder
from shards.storage.limits import Limits
from shards.storage.places import RemotePath, shard_folder
from shards.verify import find_faults
from tests.shards.storage.http_server import serving


def content(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_copy_is_the_folder_to_the_byte(shards: Path, tmp_path: Path, command: Callable) -> None:
    with serving(shards) as (url, faults):
        faults.of = lambda number, name: "503" if number % 5 == 1 else ""
        done = command("shards.copy", url, tmp_path / "copy")
    assert done.returncode == 0, done.stderr
    assert content(tmp_path / "copy") == content(shards)
    assert list(find_faults(tmp_path / "copy")) == []


def test_only_what_is_missing_is_fetched(shards: Path, tmp_path: Path) -> None:
    with serving(shards) as (url, faults):
        remote, out = RemotePath(url), tmp_path / "copy"
        copy_folder(remote, out)
        (out / "shard-000001.tar").write_bytes(b"cut")
        (out / "manifest.json").unlink()
        faults.asked.clear()
        assert copy_folder(remote, out)[1] == 2
        assert {name for name in faults.asked if name.endswith("tar")} == {"shard-000001.tar"}
    assert content(out) == content(shards)


def test_an_interrupted_copy_is_no_shard_folder(shards: Path, tmp_path: Path) -> None:
    with serving(shards) as (url, faults):
        faults.of = lambda number, name: "404" if name == "shard-000002.tar" else ""
        remote = RemotePath(url, limits=Limits(patience_s=1))
        with pytest.raises(UserError, match="lacks shard-000002"):
            copy_folder(remote, tmp_path / "copy")
        assert not (tmp_path / "copy" / "manifest.json").exists()
        faults.of = lambda number, name: ""
        copy_folder(remote, tmp_path / "copy")
    assert content(tmp_path / "copy") == content(shards)


def test_damage_is_not_copied(shards: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    damaged = Path(shutil.copytree(shards, tmp_path / "damaged"))
    with (damaged / "shard-000000.tar").open("r+b") as file:
        file.seek(600)
        file.write(b"\0\1\2")
    assert "is not what the manifest says" in refused("shards.copy", damaged, tmp_path / "copy")
    assert not (tmp_path / "copy" / "shard-000000.tar").exists()
    assert not (tmp_path / "copy" / "manifest.json").exists()


def test_another_folder_is_not_overwritten(shards: Path, orl_shards: Path, refused: Callable[..., str]) -> None:
    before = content(orl_shards)
    assert "holds another shard folder" in refused("shards.copy", shards, orl_shards)
    assert content(orl_shards) == before


def test_a_folder_goes_to_a_bucket_and_comes_back(shards: Path, tmp_path: Path, refused: Callable[..., str]) -> None:
    bucket = fsspec.filesystem("memory")
    there = shard_folder("memory://copies/faces")
    try:
        assert copy_folder(shards, there)[1] == 0
        assert copy_folder(shards, there)[1] == 3, "the tars are there"
        assert list(find_faults(there)) == []
        bucket.pipe_file("/copies/faces/shard-000001.tar", b"cut")
        assert copy_folder(shards, there)[1] == 2
        copy_folder(there, tmp_path / "back")
        assert content(tmp_path / "back") == content(shards)
        assert "both not on this machine" in refused("shards.copy", "memory://copies/faces", "memory://other/faces")
    finally:
        bucket.rm("/copies", recursive=True)
