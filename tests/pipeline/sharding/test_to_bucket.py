"""A folder written to a bucket is the local one to the byte, is continued after an interruption, and comes whole."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from shards.format import MANIFEST
from shards.storage.places import shard_folder
from shards.verify import find_faults
from tests.shards.storage.buckets import S3

OPTIONS = ["--dataset", "vggface2", "--size", 32, "--workers", 1, "--min-tars", 3]


@pytest.fixture
def input_options(rendered: Path, train_list: Path) -> list[object]:
    return [*OPTIONS, "--root", rendered / "VGGFace2", "--landmarks", train_list]


def versions(s3: S3, bucket: str) -> list[tuple[str, datetime]]:
    """Name and time of every object that was ever put into a bucket that keeps versions."""
    listed = s3.client.list_object_versions(Bucket=bucket).get("Versions", [])
    return [(one["Key"].partition("/")[2], one["LastModified"]) for one in listed]


@pytest.mark.soak
def test_it_is_continued_and_the_manifest_comes_last(
    s3: S3, input_options: list[object], shards: Path, tmp_path: Path, command: Callable, refused: Callable[..., str]
) -> None:
    words = ["pipeline.shard", *input_options, "--out", "s3://written/faces", "--work", tmp_path / "work"]
    assert "name a folder in a bucket that exists" in refused(*words)
    s3.client.create_bucket(Bucket="written")
    s3.client.put_bucket_versioning(Bucket="written", VersioningConfiguration={"Status": "Enabled"})
    # What an interrupted run had uploaded.
    there = "shard-000000.tar"
    s3.client.put_object(Bucket="written", Key=f"faces/{there}", Body=(shards / there).read_bytes())
    done = command(*words)
    assert done.returncode == 0, done.stderr
    times = dict(versions(s3, "written"))
    assert len(times) == len(versions(s3, "written")), "each file once"
    assert times[MANIFEST] == max(times.values())
    for path in shards.iterdir():
        if path.suffix in (".tar", ".idx", ".npy", ".txt", ".csv"):
            stored = s3.client.get_object(Bucket="written", Key=f"faces/{path.name}")["Body"].read()
            assert stored == path.read_bytes(), path.name
    assert list(find_faults(shard_folder("s3://written/faces"))) == []
    again = command(*words)
    assert "was finished already" in again.stdout
    assert dict(versions(s3, "written")) == times
    assert "begun with quality 95, now quality 80" in refused(*words, "--quality", 80)


def test_labels_that_close_up_over_dropped_people_reach_the_bucket(
    s3: S3, rendered: Path, train_list: Path, tmp_path: Path, command: Callable
) -> None:
    root = tmp_path / "VGGFace2"
    root.mkdir()
    (root / "train").mkdir()
    for person in (rendered / "VGGFace2" / "train").iterdir():
        (root / "train" / person.name).mkdir()
        for photo in person.iterdir():
            (root / "train" / person.name / photo.name).write_bytes(photo.read_bytes())
    for photo in (root / "train" / "n000002").iterdir():
        photo.write_bytes(b"no picture")
    s3.client.create_bucket(Bucket="relabelled")
    options = [*OPTIONS, "--root", root, "--landmarks", train_list, "--work", tmp_path / "work"]
    done = command("pipeline.shard", *options, "--out", "s3://relabelled/faces")
    assert done.returncode == 0, done.stderr
    assert list(find_faults(shard_folder("s3://relabelled/faces"))) == []


def test_where_the_tars_are_made_is_asked_for(
    input_options: list[object], tmp_path: Path, refused: Callable[..., str]
) -> None:
    assert "name a folder for its tars" in refused("pipeline.shard", *input_options, "--out", "s3://a/b")
    assert "leave --work out" in refused(
        "pipeline.shard", *input_options, "--out", tmp_path / "out", "--work", tmp_path / "work"
    )
