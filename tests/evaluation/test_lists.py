"""Lists as they are found, and lists that are none."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.lists import (
    LfwPair,
    find_list,
    landmarks_by_name,
    read_lfw_pairs,
    read_mat,
    read_name_pairs,
    read_named_identities,
)
from shards.command import UserError

FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def test_lfw_pairs(tmp_path: Path) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text("2\t1\nA_B\t1\t20\nA_B\t3\tC\t4\r\nC\t1\t2\nC 1 D 2")
    assert read_lfw_pairs(path) == [
        LfwPair("A_B/A_B_0001.jpg", "A_B/A_B_0020.jpg", True, 0),
        LfwPair("A_B/A_B_0003.jpg", "C/C_0004.jpg", False, 0),
        LfwPair("C/C_0001.jpg", "C/C_0002.jpg", True, 1),
        LfwPair("C/C_0001.jpg", "D/D_0002.jpg", False, 1),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1"),
        ("ten\t300\n", "line 1"),
        ("1\t1\nA\t1\t2\n", "1 pairs; its first line announces 1 x 2 x 1 = 2"),
        ("1\t1\nA\t1\t2\nA\tone\tB\t2\n", "line 3"),
        ("1\t1\nA\t1\t2\nA B\n", "line 3"),
    ],
)
def test_other_pairs_are_refused_by_line(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "pairs.txt"
    path.write_text(text)
    with pytest.raises(UserError, match=says):
        read_lfw_pairs(path)


def test_landmark_lists_without_a_last_newline(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(b"a/b.jpg,1,2,3,4,5,6,7,8,9,10\r\n\r\nc.jpg,1,2,3,4,5,6,7,8,9,10.5")
    found = landmarks_by_name(path)
    assert list(found) == ["a/b.jpg", "c.jpg"]
    np.testing.assert_array_equal(found["c.jpg"][4], [9, 10.5])
    path.write_text("a.jpg,1,2,3,4,5,6,7,8,9,x\n")
    with pytest.raises(UserError, match="line 1"):
        landmarks_by_name(path)


def cells(names: list[tuple[str, str]], nesting: str) -> np.ndarray:
    """An N x 2 cell array, its text nested as different programs leave it."""
    array = np.empty((len(names), 2), dtype=object)
    for row, pair in enumerate(names):
        for column, name in enumerate(pair):
            inner: object = name
            if nesting == "cell":
                inner = np.empty((1, 1), dtype=object)
                inner[0, 0] = np.array([name])  # type: ignore[index]
            array[row, column] = inner
    return array


@pytest.mark.parametrize("nesting", ["text", "cell"])
@pytest.mark.parametrize("transposed", [False, True])
def test_name_pairs_in_cells(tmp_path: Path, nesting: str, transposed: bool) -> None:
    names = [("a.jpg", "b.jpg"), ("c.jpg", "d.jpg"), ("a.jpg", "d.jpg")]
    array = cells(names, nesting)
    scipy.io.savemat(tmp_path / "p.mat", {"pairs": array.T if transposed else array})
    assert read_name_pairs(tmp_path / "p.mat", "pairs") == names


def test_names_and_identities(tmp_path: Path) -> None:
    path = tmp_path / "ids.mat"
    scipy.io.savemat(path, {"names": np.array(["a.jpg ", "bb.jpg"]), "ids": np.array([[3], [4]])})
    assert read_named_identities(path, "names", "ids") == [("a.jpg", "3"), ("bb.jpg", "4")]
    scipy.io.savemat(path, {"names": np.array(["a.jpg"]), "ids": np.array([[3], [4]])})
    with pytest.raises(UserError, match="1 entries"):
        read_named_identities(path, "names", "ids")


def test_missing_variables_and_lists_are_named(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "a.mat", {"other": 1})
    with pytest.raises(UserError, match="holds other; expected the variable pairs"):
        read_mat(tmp_path / "a.mat", "pairs")
    with pytest.raises(UserError, match=f"no LFW.csv in {tmp_path}, nowhere"):
        find_list("LFW.csv", [tmp_path, Path("nowhere")])


@FUZZ
@given(data=st.data())
def test_mutated_mat_files_are_read_or_refused(rendered: Path, tmp_path: Path, data: st.DataObject) -> None:
    found = next((rendered / "QMUL-SurvFace").rglob("positive_pairs_names.mat"))
    content = bytearray(found.read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a.mat"
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    with contextlib.suppress(UserError):
        read_name_pairs(path, "positive_pairs_names")


@FUZZ
@given(data=st.data())
def test_mutated_pairs_are_read_or_refused(rendered: Path, tmp_path: Path, data: st.DataObject) -> None:
    content = bytearray((rendered / "lists" / "lfw_pairs.txt").read_bytes())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "pairs.txt"
    path.write_bytes(content)
    try:
        read_lfw_pairs(path)
    except UserError as error:
        assert "pairs.txt" in str(error)


@FUZZ
@given(content=st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "any"
    path.write_bytes(content)
    for read in (read_lfw_pairs, landmarks_by_name, lambda p: read_mat(p, "x")):
        with contextlib.suppress(UserError):
            read(path)
