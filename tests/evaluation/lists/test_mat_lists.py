"""Lists in .mat files: every nesting that programs leave, and files that are none."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from evaluation.lists.mat_lists import read_mat, read_name_pairs, read_named_identities
from shards.command import UserError

NAMES = [("a.jpg", "b.jpg"), ("c.jpg", "d.jpg"), ("a.jpg", "d.jpg")]


def cells(items: list, shape: tuple[int, ...]) -> np.ndarray:
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = item
    return array.reshape(shape)


def nested(text: str) -> np.ndarray:
    return cells([np.array([text])], (1, 1))


LAYOUTS = {
    "N x 2 cell": cells([name for pair in NAMES for name in pair], (3, 2)),
    "2 x N cell": cells([name for pair in NAMES for name in pair], (3, 2)).T,
    "N x 2 cell of cells": cells([nested(name) for pair in NAMES for name in pair], (3, 2)),
    "1 x N cell of pairs": cells([cells(list(pair), (1, 2)) for pair in NAMES], (1, 3)),
    "N x 1 cell of columns of two": cells([cells(list(pair), (2, 1)) for pair in NAMES], (3, 1)),
    "N x 1 cell of character matrices": cells([np.array(pair) for pair in NAMES], (3, 1)),
    "1 x 2 cell of columns": cells([cells([pair[side] for pair in NAMES], (3, 1)) for side in (0, 1)], (1, 2)),
    "1 x 2 cell of character matrices": cells([np.array([p[side] for p in NAMES]) for side in (0, 1)], (1, 2)),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_pairs_in_any_nesting(tmp_path: Path, layout: str) -> None:
    scipy.io.savemat(tmp_path / "p.mat", {"pairs": LAYOUTS[layout]})
    assert read_name_pairs(tmp_path / "p.mat", "pairs") == NAMES


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (cells(["a.jpg", "b.jpg", "c.jpg", 3.0], (2, 2)), "'c.jpg, 3' in row 2"),
        (cells(["a.jpg", "b.jpg", "c.jpg", np.empty((0, 0))], (2, 2)), "'c.jpg' in row 2"),
        (cells(["a.jpg"], (1, 1)), "in row 1"),
        (np.arange(6.0).reshape(3, 2), "found uint8 of shape|found float64 of shape"),
        ({"field": "a.jpg"}, "expected N x 2 file names"),
        (cells([{"field": "a.jpg"}, "b.jpg"], (1, 2)), "expected text or numbers"),
        (np.empty((0, 2), dtype=object), "expected N x 2 file names"),
        (scipy.sparse.eye(3), "expected N x 2|expected text or numbers"),
        (cells(["a\x01.jpg", "b.jpg"], (1, 2)), "damaged"),
    ],
)
def test_what_is_no_list_of_pairs_is_refused(tmp_path: Path, content: object, says: str) -> None:
    scipy.io.savemat(tmp_path / "p.mat", {"pairs": content})
    with pytest.raises(UserError, match=says):
        read_name_pairs(tmp_path / "p.mat", "pairs")


@pytest.mark.parametrize(
    "ids",
    [
        np.array([[7], [8]], dtype=np.uint8),
        np.array([7.0, 8.0]),
        np.array(["0007", "8"]),
        cells(["7", "8"], (2, 1)),
        cells([np.array([[7.0]]), np.array([[8]])], (1, 2)),
    ],
    ids=["whole", "double", "character matrix", "cell of text", "cell of numbers"],
)
def test_a_number_is_one_identity_however_it_is_written(tmp_path: Path, ids: np.ndarray) -> None:
    scipy.io.savemat(tmp_path / "ids.mat", {"names": cells(["x\\a.jpg ", "bb.jpg"], (2, 1)), "ids": ids})
    assert read_named_identities(tmp_path / "ids.mat", "names", "ids") == [("x/a.jpg", "7"), ("bb.jpg", "8")]


def test_identities_that_are_none_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "ids.mat"
    for ids, says in ((np.array([3.0, np.nan]), "entry 2"), (np.array([1.0]), "2 entries, ids 1")):
        scipy.io.savemat(path, {"names": np.array(["a.jpg", "b.jpg"]), "ids": ids})
        with pytest.raises(UserError, match=says):
            read_named_identities(path, "names", "ids")
    scipy.io.savemat(path, {"names": np.empty((0, 0), dtype=object), "ids": np.empty(0)})
    with pytest.raises(UserError, match="names is empty"):
        read_named_identities(path, "names", "ids")


def test_missing_variables_and_other_formats_are_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"other": 1})
    with pytest.raises(UserError, match="holds other; expected the variable pairs"):
        read_mat(tmp_path / "a.mat", "pairs")
    header = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM"
    (tmp_path / "a.mat").write_bytes(header + bytes(400))
    with pytest.raises(UserError, match="save -v7"):
        read_mat(tmp_path / "a.mat", "pairs")


def test_mutated_files_are_read_or_refused(rendered: Path, tmp_path: Path) -> None:
    """Twenty of them; `tests/campaigns/mutate_evaluation.py` runs thousands."""
    found = next((rendered / "QMUL-SurvFace").rglob("gallery_img_ID_pairs.mat"))
    whole, path = found.read_bytes(), tmp_path / "a.mat"
    for seed in range(20):
        rng = np.random.default_rng(seed)
        content = bytearray(whole)
        for _ in range(rng.integers(1, 6)):
            content[rng.integers(len(content))] = rng.integers(256)
        path.write_bytes(content[: rng.integers(1, len(content))] if seed % 3 == 0 else content)
        with contextlib.suppress(UserError):
            read_named_identities(path, "gallery_set", "gallery_ids")
