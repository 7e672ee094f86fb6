"""The command from a folder of ordinary photos to a landmark list, and on through the river."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from pipeline.alignment.landmark_run import measure_folder, report_path
from pipeline.sources.datasets import orl_photos
from pipeline.sources.landmark_list import LANDMARK_COLUMNS, read_landmarks
from shards.command import UserError
from shards.format import read_manifest


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ordinary photos of three people, and every kind of photo that is not ordinary."""
    root = tmp_path_factory.mktemp("photos")
    pictures = {}
    for person, path, _ in orl_photos(["s3", "s11", "s12"]):
        if int(path.stem) <= 5:
            pictures[f"{person}/{path.stem}"] = cv2.imread(str(path))
    for name, picture in pictures.items():
        (root / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(root / f"{name}.png"), picture)
    larger = cv2.resize(pictures["s11/2"], None, fx=2, fy=2)
    both = np.full((224, 400, 3), 120, dtype=np.uint8)
    both[56:168, 10:102], both[:, 200:384] = pictures["s12/1"], larger
    cv2.imwrite(str(root / "s11" / "two, of them.png"), both)
    cv2.imwrite(str(root / "s12" / "wall.png"), np.full((120, 90, 3), 90, dtype=np.uint8))
    (root / "s12" / "broken.jpg").write_bytes(b"no picture")
    # As a telephone held sideways stores it.
    turned = cv2.rotate(pictures["s12/2"], cv2.ROTATE_90_COUNTERCLOCKWISE)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(turned).save(root / "s12" / "turned.png", exif=exif)
    cv2.imwrite(str(root / "nobody.jpg"), pictures["s12/1"])
    return root


@pytest.fixture(scope="module")
def measured(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("landmarks") / "landmarks.csv"
    measure_folder(photos, out, several="largest", least_score=0.9, workers=2)
    return out


def outcomes(out: Path) -> dict[str, tuple[int, str]]:
    with report_path(out).open(newline="") as file:
        return {row["path"]: (int(row["faces"]), row["outcome"]) for row in csv.DictReader(file)}


@pytest.mark.slow
def test_every_photo_is_reported(photos: Path, measured: Path) -> None:
    found = outcomes(measured)
    assert set(found) == {str(path.relative_to(photos)) for path in photos.rglob("*.*")}
    assert found.pop("nobody.jpg") == (0, "not in an identity's folder")
    assert found.pop("s11/two, of them.png") == (2, "largest of several taken")
    assert found.pop("s12/wall.png") == (0, "no face found")
    assert found.pop("s12/broken.jpg") == (0, "unreadable")
    assert set(found.values()) == {(1, "taken")}


def test_the_larger_face_is_taken_and_a_turned_photo_is_measured_as_it_is_stored(measured: Path) -> None:
    table = read_landmarks(measured).set_index("name")[LANDMARK_COLUMNS]
    points = {name: row.to_numpy().reshape(5, 2) for name, row in table.iterrows()}
    assert points["s11/two, of them.png"][:, 0].min() > 200
    # Turned back by 90 degrees, x of the upright picture is y counted from below.
    upright, stored = points["s12/2.png"], points["s12/turned.png"]
    back = np.column_stack([91 - stored[:, 1], stored[:, 0]])
    np.testing.assert_allclose(back, upright, atol=0.02)


@pytest.mark.slow
def test_photos_go_through_the_whole_river(photos: Path, measured: Path, tmp_path: Path, command: Callable) -> None:
    out = tmp_path / "shards"
    done = command(
        *("pipeline.shard", "--dataset", "folder", "--root", photos, "--landmarks", measured),
        *("--size", 64, "--out", out),
    )
    assert done.returncode == 0, done.stderr
    manifest = read_manifest(out)
    assert (manifest.identities, manifest.photos, manifest.rejects) == (3, 17, {"no record": 3})
    assert command("shards.verify", out).returncode == 0


def test_the_same_command_says_that_it_is_finished_and_another_is_refused(
    photos: Path, measured: Path, command: Callable, refused: Callable[..., str]
) -> None:
    before = measured.read_bytes()
    done = command("pipeline.landmarks", "--images", photos, "--out", measured)
    assert "was finished already" in done.stdout, done.stderr
    assert "several central" in refused(
        "pipeline.landmarks", "--images", photos, "--out", measured, "--several", "central"
    )
    assert measured.read_bytes() == before


@pytest.mark.soak
def test_a_killed_run_continues_to_the_same_bytes(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    for person, path, _ in orl_photos([f"s{number}" for number in range(1, 5)]):
        (root / person).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / person / path.name)
    whole, out = tmp_path / "whole.csv", tmp_path / "killed.csv"
    measure_folder(root, whole, several="largest", least_score=0.9, workers=2)
    words = [sys.executable, "-m", "pipeline.landmarks", "--images", str(root), "--out", str(out), "--workers", "1"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    work = tmp_path / ".killed.csv.work"
    deadline = time.monotonic() + 120
    while not list(work.glob("*.json")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = {path: path.stat().st_mtime_ns for path in work.glob("*.json")}
    assert kept
    measure_folder(root, out, several="largest", least_score=0.9, workers=2)
    assert out.read_bytes() == whole.read_bytes()
    assert report_path(out).read_bytes() == report_path(whole).read_bytes()
    assert not work.exists()


@pytest.mark.slow
def test_a_photo_changed_meanwhile_is_measured_again(photos: Path, tmp_path: Path) -> None:
    root, out = tmp_path / "photos", tmp_path / "landmarks.csv"
    shutil.copytree(photos / "s3", root / "s3")
    measure_folder(root, out, several="largest", least_score=0.9, workers=1)
    os.utime(root / "s3" / "1.png", ns=(0, 0))
    with pytest.raises(UserError, match="made with other photos"):
        measure_folder(root, out, several="largest", least_score=0.9, workers=1)
    assert json.loads((tmp_path / "landmarks.json").read_text())["photos"] == 5


@pytest.mark.slow
def test_photos_of_unknown_people_may_lie_in_the_folder_itself(photos: Path, tmp_path: Path) -> None:
    for name in ("3.png", "5.png"):
        (tmp_path / "photos").mkdir(exist_ok=True)
        shutil.copy(photos / "s3" / name, tmp_path / "photos" / name)
    measure_folder(
        tmp_path / "photos",
        out := tmp_path / "list.csv",
        several="largest",
        least_score=0.9,
        workers=1,
        unlabelled=True,
    )
    assert read_landmarks(out)["name"].tolist() == ["3.png", "5.png"]


@pytest.mark.slow
def test_pictures_show_boxes_and_points(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    shutil.copytree(photos / "s11", tmp_path / "photos" / "s11")
    out, pictures = tmp_path / "landmarks.csv", tmp_path / "pictures"
    how: dict[str, Any] = {"several": "largest", "least_score": 0.9, "workers": 1, "smallest": 20}
    measure_folder(tmp_path / "photos", out, **how, pictures=pictures)
    shown = cv2.imread(str(pictures / "s11" / "two, of them.png.jpg")).astype(int)
    assert shown.shape == (448, 800, 3)
    green = (shown[..., 1] - shown[..., 0] > 90) & (shown[..., 1] - shown[..., 2] > 90)
    red = (shown[..., 2] - shown[..., 0] > 90) & (shown[..., 2] - shown[..., 1] > 90)
    # The larger face, on the right, is the one taken.
    assert np.nonzero(green)[1].min() > 400 > np.nonzero(red)[1].max()
    assert len(list(pictures.rglob("*.jpg"))) == 6
    plain = tmp_path / "plain.csv"
    measure_folder(tmp_path / "photos", plain, **how)
    assert plain.read_bytes() == out.read_bytes()
    with pytest.raises(UserError, match="finished without pictures"):
        measure_folder(tmp_path / "photos", plain, **how, pictures=tmp_path / "others")


@pytest.mark.slow
def test_mistakes_end_in_one_line(tmp_path: Path, refused: Callable[..., str]) -> None:
    nowhere = ("--images", tmp_path / "none", "--out", tmp_path / "a.csv")
    assert "one that holds identity folders" in refused("pipeline.landmarks", *nowhere)
    assert "one that holds photos" in refused("pipeline.landmarks", *nowhere, "--unlabelled")
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "photo.jpg").write_bytes(b"x")
    assert "IMAGES/IDENTITY/PHOTO" in refused(
        "pipeline.landmarks", "--images", tmp_path / "flat", "--out", tmp_path / "a.csv"
    )
    (tmp_path / "walls" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "walls" / "a" / "1.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(UserError, match="no face was taken in any of 1 photos"):
        measure_folder(tmp_path / "walls", tmp_path / "a.csv", several="largest", least_score=0.9, workers=1)
    assert "--smallest 2" in refused(
        "pipeline.landmarks", "--images", tmp_path, "--out", tmp_path / "a.csv", "--smallest", 2
    )
    assert ".csv" in refused("pipeline.landmarks", "--images", tmp_path, "--out", tmp_path / "a.txt")
