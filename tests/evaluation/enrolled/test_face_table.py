"""Enrolled faces come back as they were, from a file that only its owner reads."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from evaluation.enrolled.face_table import FaceTable, read_faces, require_same, write_faces
from evaluation.enrolled.measuring import Measuring, measure, photo_state
from shards.command import UserError


@pytest.fixture
def table(people: Callable[..., Path], how: Measuring, tmp_path: Path) -> FaceTable:
    folder = people("gallery", Zoë=2, Anna=1)
    photos = [(path.parent.name, path) for path in sorted(folder.glob("*/*.png"))]
    return measure(photos, how, tmp_path / "work", enrolled=True)[0]


def test_round_trip_and_the_librarys_own_reader(table: FaceTable, tmp_path: Path) -> None:
    path = tmp_path / "faces.safetensors"
    write_faces(path, table)
    assert path.stat().st_mode & 0o777 == 0o600
    read = read_faces(path)
    assert (read.made, read.people, read.photos, read.sha256, read.states) == (
        table.made,
        table.people,
        table.photos,
        table.sha256,
        table.states,
    )
    np.testing.assert_array_equal(read.vectors, table.vectors)
    np.testing.assert_array_equal(read.measures, table.measures)
    np.testing.assert_array_equal(read.landmarks, table.landmarks)
    np.testing.assert_array_equal(load_file(path)["vectors"], table.vectors)
    assert json.loads(load_file(path)["texts"].tobytes())["person"] == ["Anna", "Zoë", "Zoë"]


@pytest.mark.parametrize("place", [0, 3, 9, 40, 200, 800, -3])
def test_a_damaged_file_ends_in_one_line(table: FaceTable, tmp_path: Path, place: int) -> None:
    path = tmp_path / "faces.safetensors"
    write_faces(path, table)
    path.write_bytes(path.read_bytes()[:place])
    with pytest.raises(UserError, match="cannot be read as enrolled faces"):
        read_faces(path)


def test_a_file_of_another_form_is_named(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"\x10" + bytes(7) + b'{"a": [1, 2, 3]}')
    with pytest.raises(UserError, match="its format is None"):
        read_faces(tmp_path / "x")
    with pytest.raises(UserError, match="no file"):
        read_faces(tmp_path / "y")


def test_another_making_is_refused_with_both_values(table: FaceTable) -> None:
    require_same(Path("f"), table.made, table.made, "")
    other = replace(table, made={**table.made, "model": "abc"})
    with pytest.raises(UserError, match=r"f was made with model abc, this is 0; do it"):
        require_same(Path("f"), other.made, table.made, "do it")


def test_a_killed_measurement_goes_on_where_it_was(people: Callable[..., Path], how: Measuring, tmp_path: Path) -> None:
    folder = people("gallery", **{f"p{number:02d}": 1 for number in range(20)})
    photos = [(path.parent.name, path) for path in sorted(folder.glob("*/*.png"))]
    whole, _ = measure(photos, how, tmp_path / "a", enrolled=True)
    measure(photos[:16], how, tmp_path / "b", enrolled=True)
    before = how.embedder.computed
    again, _ = measure(photos, how, tmp_path / "b", enrolled=True)
    assert how.embedder.computed - before == 4
    np.testing.assert_array_equal(again.vectors, whole.vectors)
    assert again.photos == whole.photos
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "b").iterdir())
    assert photo_state(tmp_path / "nothing") == "gone"
