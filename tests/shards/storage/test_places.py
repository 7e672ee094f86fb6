"""Addresses are told from paths; none with a secret in it is taken, and none is shown."""

from pathlib import Path

import pytest

from shards.command import UserError
from shards.storage.places import RemotePath, shard_folder


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("shards/a", Path("shards/a")),
        ("/c:/odd//name", Path("/c:/odd/name")),
        ("file:///data/some%20where", Path("/data/some where")),
        ("s3://bucket/folder/", RemotePath("s3://bucket/folder")),
        ("HTTPS://host:80/a/b", RemotePath("https://host:80/a/b")),
    ],
)
def test_paths_and_addresses(text: str, place: Path | RemotePath) -> None:
    assert shard_folder(text) == place


def test_a_file_of_a_folder() -> None:
    file = shard_folder("gs://bucket/a") / "manifest.json"
    assert (str(file), file.name) == ("gs://bucket/a/manifest.json", "manifest.json")


@pytest.mark.parametrize(
    "text", ["https://me:secret@host/a", "https://host/a?X-Signature=secret", "https://secret@host/a", "s3://b/#secret"]
)
def test_secrets_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(UserError, match="give credentials by the environment") as told:
        shard_folder(text)
    assert "secret" not in str(told.value)


def test_unknown_kinds_of_storage_are_refused() -> None:
    with pytest.raises(UserError, match=r"no storage of the kind ftpx:// is known"):
        RemotePath("ftpx://host/a/manifest.json").read_bytes()
    with pytest.raises(UserError, match="names no folder"):
        shard_folder("s3://")
