"""Shard folders in a bucket of a server that speaks S3, and everything that goes wrong with one."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import numpy as np
import pytest

from shards.command import UserError
from shards.index import ShardIndex
from shards.storage.copying import copy_folder
from shards.storage.limits import Kept, Limits
from shards.storage.places import RemotePath, shard_folder
from shards.verify import find_faults
from tests.shards.storage.buckets import S3, SECRET, forget_clients, use
from tests.shards.storage.slow_network import network_before

QUICK = Limits(in_flight=16, timeout_s=0.5, patience_s=20)


@pytest.fixture
def bucket(s3: S3, shards: Path) -> RemotePath:
    """The shards in a bucket of their own."""
    return remote(s3.put(shards, f"faces-{uuid4().hex}", "some/folder"))


def remote(url: str, limits: Limits = QUICK) -> RemotePath:
    folder = shard_folder(url)
    assert isinstance(folder, RemotePath)
    return replace(folder, limits=limits)


def photos_of(folder: RemotePath | Path) -> list[bytes]:
    index = ShardIndex.open(folder)
    return [bytes(data) for data in index.read_all(np.arange(index.photos))]


def test_photos_are_those_of_the_local_folder(bucket: RemotePath, shards: Path, tmp_path: Path) -> None:
    assert photos_of(bucket) == photos_of(shards)
    assert list(find_faults(bucket)) == []
    cached = replace(bucket, kept=Kept(cache=tmp_path, cache_bytes=1 << 28))
    assert photos_of(cached) == photos_of(cached) == photos_of(shards)
    assert cached.cache is not None
    assert cached.cache.counts["kept"] >= ShardIndex.open(shards).photos


def test_a_copy_goes_there_and_back(s3: S3, shards: Path, tmp_path: Path) -> None:
    s3.client.create_bucket(Bucket="copies")
    there = remote("s3://copies/faces")
    assert copy_folder(shards, there)[1] == 0
    assert copy_folder(shards, there)[1] == 3, "the tars are there"
    copy_folder(there, tmp_path / "back")
    assert photos_of(tmp_path / "back") == photos_of(shards)


def test_a_slow_network_that_breaks_changes_nothing(
    bucket: RemotePath, s3: S3, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with network_before(s3.address) as network:
        use(monkeypatch, f"http://{network.address}")
        folder = remote(str(bucket), replace(QUICK, timeout_s=2))
        network.latency_s, network.bytes_per_s, network.broken = 0.02, 4e6, 0.3
        assert photos_of(folder) == photos_of(shards)
        assert network.breaks > 0


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("s3://no-such-bucket-here/faces", "holds no manifest.json"),
        ("s3://empty-bucket/faces", "holds no manifest.json"),
    ],
)
def test_a_name_that_is_no_folder_of_ours_is_told(s3: S3, url: str, says: str, refused: Callable[..., str]) -> None:
    s3.client.create_bucket(Bucket="empty-bucket")
    assert says in refused("shards.info", url)


def test_a_bucket_that_is_not_there_takes_no_copy(s3: S3, shards: Path, refused: Callable[..., str]) -> None:
    assert "a bucket that exists" in refused("shards.copy", shards, "s3://no-such-bucket-either/faces")


def test_no_permission_is_told_in_one_line_without_the_key(
    bucket: RemotePath, s3: S3, shards: Path, refused: Callable[..., str]
) -> None:
    with s3.checking_permission():
        for words in (["shards.info", bucket], ["shards.copy", shards, bucket]):
            line = refused(*words)
            assert "no permission" in line
            assert SECRET not in line


def test_no_credentials_at_all_are_told(
    bucket: RemotePath, s3: S3, monkeypatch: pytest.MonkeyPatch, refused: Callable[..., str]
) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    forget_clients()
    assert "no permission" in refused("shards.info", f"{bucket}/x")


def test_an_object_that_changes_under_a_run_ends_it(bucket: RemotePath, s3: S3, shards: Path) -> None:
    index = ShardIndex.open(bucket)
    index.check_tars()
    tars = index.records.column("tar")
    mine, others = np.flatnonzero(tars == 0), np.flatnonzero(tars != 0)
    index.read_all(mine[:2])
    name, _, path = str(bucket).removeprefix("s3://").partition("/")
    content = bytearray((shards / "shard-000000.tar").read_bytes())
    content[:] = bytes(len(content))
    s3.client.put_object(Bucket=name, Key=f"{path}/shard-000000.tar", Body=bytes(content))
    with pytest.raises(UserError, match=r"shard-000000\.tar was changed while it was read"):
        index.read_all(mine[2:])
    assert len(index.read_all(others)) == len(others), "what did not change is read as before"


def test_a_damaged_object_gives_photos_that_are_told_not_other_data(s3: S3, shards: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    copy_folder(shards, damaged)
    local = ShardIndex.open(shards)
    tar, start, size = (int(local.records[5][name]) for name in ("tar", "offset", "size"))
    with (damaged / local.manifest.tars[tar].name).open("r+b") as file:
        file.seek(start + size // 2)
        file.write(b"\0\1\2\3")
    index = ShardIndex.open(remote(s3.put(damaged, "damaged", "faces")))
    found = index.try_to_read(np.arange(10))
    assert [type(one).__name__ for one in found] == ["ndarray"] * 5 + ["Unread"] + ["ndarray"] * 4


@pytest.mark.soak
def test_a_server_that_falls_silent_ends_in_one_line(
    bucket: RemotePath, s3: S3, monkeypatch: pytest.MonkeyPatch
) -> None:
    with network_before(s3.address) as network:
        use(monkeypatch, f"http://{network.address}")
        index = ShardIndex.open(remote(str(bucket), replace(QUICK, timeout_s=1, patience_s=3)))
        network.silent = True
        with pytest.raises(UserError, match=r"no answer in \d+ tries .* no answer within 1 s"):
            index.read(0)
