"""The offline command: counts that add up, the same bytes whatever happens, and refusals."""

import csv
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.alignment.align import align
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import vggface2
from pipeline.sources.landmark_list import read_landmarks
from shards.format import read_manifest
from shards.index import ShardIndex
from shards.verify import find_faults
from tests.campaigns import kill_sharder
from tests.campaigns.kill_sharder import contents

OPTIONS = ["--dataset", "vggface2", "--size", "32", "--min-tars", "6", "--workers", "2"]


@pytest.fixture
def input_options(rendered: Path, train_list: Path) -> list[str]:
    return [*OPTIONS, "--root", str(rendered / "VGGFace2"), "--landmarks", str(train_list)]


@pytest.fixture(scope="module")
def damaged(rendered: Path, train_list: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A copy of the data set with every kind of bad photo in it, and its list."""
    root = tmp_path_factory.mktemp("damaged") / "VGGFace2"
    shutil.copytree(rendered / "VGGFace2", root)
    first = root / "train" / "n000002"
    photos = sorted(first.iterdir())
    photos[0].write_bytes(photos[0].read_bytes()[:-2000])  # truncated: the identity falls under four photos
    photos[1].write_bytes(b"no picture")
    second = sorted((root / "train" / "n000003").iterdir())
    second[0].write_bytes(b"")
    lines = train_list.read_text().splitlines()
    rows = {line.split(",")[0].strip('"'): number for number, line in enumerate(lines)}
    lines[rows["n000004/0001_01"]] = '"n000004/0001_01",' + ",".join(["9999"] * 10)
    lines[rows["n000005/0001_01"]] = '"n000005/0001_01",' + ",".join(["50"] * 10)
    path = root / "list.csv"
    path.write_text("\n".join(lines) + "\n")
    return root, path


@pytest.mark.parametrize("stored_views", [(), (8, 12)])
def test_every_photo_is_written_or_rejected(
    damaged: tuple[Path, Path], tmp_path: Path, stored_views: tuple[int, ...]
) -> None:
    root, path = damaged
    plan = Plan(vggface2(root, [path]), Settings(size=32, min_tars=3, stored_views=stored_views))
    manifest, already = shard(plan, tmp_path / "out", workers=2)
    assert not already
    with (tmp_path / "out" / "rejects.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert Counter(row["reason"] for row in rows) == manifest.rejects
    assert manifest.rejects == {
        "identity with fewer than 4 usable photos": 3,
        "landmarks degenerate": 1,
        "landmarks outside the picture": 1,
        "truncated": 1,
        "unreadable": 2,
    }
    assert manifest.dropped_identities == ("n000002",)
    assert manifest.photos + sum(manifest.rejects.values()) == manifest.input_records == 60
    assert manifest.identities == 11
    index = ShardIndex.open(tmp_path / "out")
    assert "n000002" not in index.names
    assert list(find_faults(tmp_path / "out")) == [], "labels close up over the dropped identity"


def test_faces_are_the_aligned_photos(rendered: Path, train_list: Path, shards: Path, tmp_path: Path) -> None:
    plan = Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=48, codec="png"))
    shard(plan, tmp_path / "out", workers=1)
    index = ShardIndex.open(tmp_path / "out")
    table = read_landmarks(train_list, header=True)
    for photo in range(0, index.photos, 7):
        label = int(np.searchsorted(index.first, photo, side="right")) - 1
        rows = table[table["name"].str.startswith(index.names[label])].sort_values("name")
        row = rows.iloc[photo - int(index.first[label])]
        picture = cv2.imread(str(rendered / "VGGFace2" / "train" / f"{row['name']}.jpg"))
        expected = align(picture, row.to_numpy()[1:].astype(float).reshape(5, 2), 48)
        np.testing.assert_array_equal(cv2.imdecode(index.read(photo), cv2.IMREAD_COLOR), expected)


def test_the_number_of_processes_does_not_show(rendered: Path, train_list: Path, shards: Path, tmp_path: Path) -> None:
    plan = Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=32, min_tars=3))
    shard(plan, tmp_path / "out", workers=3)
    assert contents(tmp_path / "out") == contents(shards)


def test_low_resolution_pictures_keep_their_native_size(rendered: Path, tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "out"
    options = ["--dataset", "survface", "--root", rendered / "QMUL-SurvFace", "--size", 32, "--codec", "png"]
    done = command("pipeline.shard", *options, "--out", out)
    assert done.returncode == 0, done.stderr
    index = ShardIndex.open(out)
    assert index.manifest.preprocessing.template == "whole"
    first = sorted((rendered / "QMUL-SurvFace" / "QMUL-SurvFace" / "training_set" / index.names[0]).iterdir())[0]
    picture = Image.open(first)
    assert index.records[0]["native"] == min(picture.size)
    expected = np.asarray(picture.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC))
    stored = cv2.imdecode(index.read(0), cv2.IMREAD_COLOR_RGB)
    # Pillow and OpenCV may decode a JPEG a level apart.
    assert stored is not None
    assert np.abs(stored.astype(int) - expected).max() <= 3


def test_lossless_codecs_hold_the_same_pixels(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    pixels = []
    for codec in ("png", "webp"):
        plan = Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=32, codec=codec))
        shard(plan, tmp_path / codec, workers=1)
        index = ShardIndex.open(tmp_path / codec)
        pixels.append([cv2.imdecode(index.read(photo), cv2.IMREAD_COLOR) for photo in range(index.photos)])
        assert list(find_faults(tmp_path / codec)) == []
    np.testing.assert_array_equal(pixels[0], pixels[1])


def test_tars_are_even_and_within_their_bound(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    plan = Plan(vggface2(rendered / "VGGFace2", [train_list]), Settings(size=128, codec="png", tar_mb=1, min_tars=1))
    manifest, _ = shard(plan, tmp_path / "out", workers=1)
    assert len(manifest.tars) > 1
    assert max(tar.bytes for tar in manifest.tars) <= 1 << 20
    assert len({tar.photos for tar in manifest.tars}) <= 2


def test_a_small_folder_has_several_tars_but_none_without_an_identity(rendered: Path, train_list: Path) -> None:
    source = vggface2(rendered / "VGGFace2", [train_list])
    assert Plan(source, Settings(size=32)).tars == min(8, len(Plan(source, Settings(size=32)).names))
    plan = Plan(source, Settings(size=32, min_tars=99))
    assert plan.tars == len(plan.names)


@pytest.mark.soak
def test_killed_at_random_it_continues_to_the_same_bytes(damaged: tuple[Path, Path], tmp_path: Path) -> None:
    root, path = damaged
    options = [*OPTIONS, "--root", str(root), "--landmarks", str(path), "--size", "256", "--codec", "png"]
    words = [sys.executable, "-m", "pipeline.shard", *options]
    outcomes = kill_sharder.run(words, tmp_path, kills=1, seed=2)
    assert outcomes.total() - outcomes["finished"] == 1


def test_a_finished_folder_is_left_alone(input_options: list[str], tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "out"
    assert command("pipeline.shard", *input_options, "--out", out).returncode == 0
    before = contents(out)
    done = command("pipeline.shard", *input_options, "--out", out)
    assert done.returncode == 0
    assert "was finished already" in done.stdout
    assert contents(out) == before
    (out / "stray").mkdir()
    assert list(find_faults(out)) == []


def test_other_parameters_are_refused(
    input_options: list[str], tmp_path: Path, command: Callable, refused: Callable[..., str]
) -> None:
    out = tmp_path / "out"
    assert command("pipeline.shard", *input_options, "--out", out).returncode == 0
    line = refused("pipeline.shard", *input_options, "--out", out, "--quality", 80)
    assert "quality 95" in line
    assert "quality 80" in line


def test_a_folder_in_use_is_refused(input_options: list[str], tmp_path: Path, refused: Callable[..., str]) -> None:
    import fcntl

    (tmp_path / ".work").mkdir()
    with (tmp_path / ".work" / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "is in use by another command" in refused("pipeline.shard", *input_options, "--out", tmp_path)


def test_mistakes_end_in_one_line(
    rendered: Path, train_list: Path, tmp_path: Path, refused: Callable[..., str]
) -> None:
    root = rendered / "VGGFace2"
    shard_ = ["pipeline.shard", "--out", tmp_path / "out"]
    assert "no folder" in refused(*shard_, "--dataset", "vggface2", "--root", "/nowhere", "--landmarks", train_list)
    assert "needs --root" in refused(*shard_, "--dataset", "vggface2")
    assert "no landmark list" in refused(*shard_, "--dataset", "vggface2", "--root", root)
    wrong = tmp_path / "wrong.csv"
    wrong.write_text("a,b\n1,2\n")
    assert "NAME_ID" in refused(*shard_, "--dataset", "vggface2", "--root", root, "--landmarks", wrong)
    assert "invalid choice" in refused(*shard_, "--dataset", "nothing")
    assert "quality 101" in refused(*shard_, "--dataset", "orl", "--quality", 101)
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    assert "other files" in refused("pipeline.shard", "--dataset", "orl", "--out", tmp_path / "used")


def test_the_manifest_remembers_the_settings(shards: Path) -> None:
    manifest = read_manifest(shards)
    assert (manifest.codec, manifest.quality, manifest.seed, manifest.min_tars) == ("jpg", 95, 0, 3)
    assert manifest.sources[0]["landmarks"] == ["loose_landmark_train.csv"]
