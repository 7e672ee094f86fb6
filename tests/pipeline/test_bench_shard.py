"""The benchmark of alignment: its ways do the same work, and its larger photos show the same faces."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.alignment.align import align
from pipeline.benchmarks.shard import OURS, WAYS, repeat_photos, surround_photos


def landmarks_of(listed: pd.DataFrame, row: int) -> np.ndarray:
    return listed.iloc[row, 1:].to_numpy(dtype=np.float64).reshape(5, 2)


@pytest.mark.soak
def test_every_way_of_aligning_is_measured(
    rendered: Path, train_list: Path, tmp_path: Path, command: Callable, forked_runs: None
) -> None:
    photos = ["--root", rendered / "VGGFace2", "--landmarks", train_list]
    done = command("pipeline.bench", "shard", *photos, "--size", 32, "--workers", 1, "--rounds", 1, "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "shard.json").read_text())
    assert list(figures["photos_per_second"]) == list(WAYS)
    assert all(rate > 0 for (rate,) in figures["photos_per_second"].values())
    parts = figures["microseconds_by_part"]
    assert list(parts) == ["read", "fit", "decode", "warp", "encode", "checksums, tar, index, sync"]
    assert all(cost > 0 for part, cost in parts.items() if not part.startswith("checksums"))
    assert f"{OURS} / this" in done.stdout


@pytest.mark.slow
def test_a_photo_among_its_mirror_images_shows_the_same_face(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    listed = pd.read_csv(train_list).head(2)
    for name in listed.iloc[:, 0]:
        place = tmp_path / f"{name}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(rendered / "VGGFace2" / "train" / f"{name}.jpg", place)
    listed.to_csv(tmp_path / "list.csv", index=False)
    surround_photos(tmp_path, tmp_path / "list.csv", 3)
    moved = pd.read_csv(tmp_path / "list.csv")
    for row, name in enumerate(listed.iloc[:, 0]):
        before = cv2.imread(str(rendered / "VGGFace2" / "train" / f"{name}.jpg"))
        after = cv2.imread(str(tmp_path / f"{name}.jpg"))
        assert before is not None and after is not None
        assert after.shape[:2] == (3 * before.shape[0], 3 * before.shape[1])
        faces = [
            align(picture.astype(np.uint8), landmarks_of(table, row), 64)
            for picture, table in ((before, listed), (after, moved))
        ]
        # Borders differ: black beside a photo, a mirror image here. The middle of a face stands within the photo.
        difference = np.abs(faces[0][24:40, 24:40].astype(int) - faces[1][24:40, 24:40])
        assert difference.mean() < 4, "JPEG, twice"


def test_photos_are_repeated_as_people_of_their_own(rendered: Path, train_list: Path, tmp_path: Path) -> None:
    photos = len(train_list.read_text().splitlines()) - 1
    root, landmarks = repeat_photos(rendered / "VGGFace2", train_list, 2 * photos + 3, tmp_path / "repeated")
    listed = pd.read_csv(landmarks)
    assert len(set(listed.iloc[:, 0])) == 2 * photos + 3
    assert all((root / "train" / f"{name}.jpg").is_file() for name in listed.iloc[:, 0])
    np.testing.assert_array_equal(landmarks_of(listed, 0), landmarks_of(listed, photos))


def test_half_of_a_data_set_is_refused(rendered: Path, train_list: Path, refused: Callable[..., str]) -> None:
    assert "give both --root and --landmarks" in refused("pipeline.bench", "shard", "--root", rendered)
    photos = ["--root", rendered / "VGGFace2", "--landmarks", train_list]
    assert "--around is for rendered photos" in refused("pipeline.bench", "shard", *photos, "--around", 2)
