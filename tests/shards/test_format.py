"""The manifest round trip and what is refused."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shards.command import UserError
from shards.format import MANIFEST, Manifest, Preprocessing, read_manifest


def test_manifest_survives_a_round_trip(shards: Path) -> None:
    manifest = read_manifest(shards)
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_manifest_says_how_the_photos_were_made(shards: Path) -> None:
    manifest = read_manifest(shards)
    assert manifest.preprocessing.template == "paper"
    assert manifest.preprocessing.size == 32
    assert (manifest.identities, manifest.photos, len(manifest.tars)) == (12, 60, 3)
    assert manifest.photos + sum(manifest.rejects.values()) == manifest.input_records
    text = (shards / MANIFEST).read_text()
    assert str(shards.parent) not in text, "a path of the machine"


def test_differences_name_both_values() -> None:
    one = Preprocessing("paper", ((1.0, 2.0),), 128, "bicubic")
    assert one.differences(replace(one, size=112)) == ["size 128 against 112"]
    assert one.differences(Preprocessing.from_dict(json.loads(json.dumps(one.to_dict())))) == []


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "holds no manifest.json"),
        ("{", "is no manifest"),
        ("[]", "is no manifest"),
        ('{"version": 1}', "is no manifest"),
        ('{"version": 99}', "format version 99"),
    ],
)
def test_other_manifests_are_refused(tmp_path: Path, content: str | None, says: str) -> None:
    if content is not None:
        (tmp_path / MANIFEST).write_text(content)
    with pytest.raises(UserError, match=says):
        read_manifest(tmp_path)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no folder"):
        read_manifest(tmp_path / "nowhere")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_mutated_manifest_is_read_or_refused(shards: Path, tmp_path: Path, data: st.DataObject) -> None:
    text = bytearray((shards / MANIFEST).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / MANIFEST).write_bytes(text)
    try:
        read_manifest(tmp_path)
    except UserError as error:
        assert "\n" not in str(error)
