"""Lists as they are found, and lists that are none."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from evaluation.lists.text_lists import (
    LfwPair,
    PictureFolder,
    find_list,
    read_landmark_list,
    read_lfw_pairs,
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
        ("1\t" + "9" * 5000, "line 1"),
        ("1\t1\nA\t1\t2\nA\t1\tB\t" + "9" * 5000, "line 3"),
        ("1\t1\nA\t1\t2\nA\x01\t1\tB\t1", "damaged"),
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
    found = read_landmark_list(path).points
    assert list(found) == ["a/b.jpg", "c.jpg"]
    np.testing.assert_array_equal(found["c.jpg"][4], [9, 10.5])
    path.write_text("a.jpg,1,2,3,4,5,6,7,8,9,x\n")
    with pytest.raises(UserError, match="line 1"):
        read_landmark_list(path)


def test_lists_as_other_systems_write_them(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    row = ",1,2,3,4,5,6,7,8,9,10"
    path.write_bytes(f"\ufeff001\\a.jpg{row}\r\n.\\001\\b.jpg{row}\r\n001/a.jpg,0,0,0,0,0,0,0,0,0,0".encode())
    found = read_landmark_list(path)
    assert found.names == ["001/a.jpg", "001/b.jpg"]
    np.testing.assert_array_equal(found.points["001/a.jpg"][0], [1, 2])
    path.write_text(f"NAME_ID,P1X,P1Y,P2X,P2Y,P3X,P3Y,P4X,P4Y,P5X,P5Y\na.jpg{row}\n")
    assert read_landmark_list(path).names == ["a.jpg"]
    pairs = tmp_path / "pairs.txt"
    pairs.write_bytes(b"\xef\xbb\xbf1\t1\r\nA\t1\t2\r\nA\t1\tB\t2")
    assert [pair.right for pair in read_lfw_pairs(pairs)] == ["A/A_0002.jpg", "B/B_0002.jpg"]


def test_rows_that_are_no_landmarks_are_named_and_the_others_kept(tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    good, none, far = "a.jpg,1,2,3,4,5,6,7,8,9,10", "b.jpg,1,2,,4,5,6,7,8,9,x", "c.jpg,1,2,3,4,5,6,7,8,9,1e300"
    path.write_text("\n".join([good, none, far]))
    found = read_landmark_list(path)
    assert list(found.points) == ["a.jpg"]
    assert list(found.faults) == ["b.jpg", "c.jpg"]


def test_pictures_are_found_whatever_the_case_of_their_names(tmp_path: Path) -> None:
    (tmp_path / "images" / "001").mkdir(parents=True)
    for name in ("images/001/A.JPG", "images/b.jpg", "images/B.jpg"):
        (tmp_path / name).touch()
    folder = PictureFolder(tmp_path / "images")
    assert folder.path("001/a.jpg") == tmp_path / "images/001/A.JPG"
    assert folder.path("b.jpg") == tmp_path / "images/b.jpg", "the exact name comes first"
    assert folder.path("images/b.jpg") == tmp_path / "images/b.jpg", "lists may name the folder too"
    assert folder.path("c/none.jpg") == tmp_path / "images/c/none.jpg"
    assert folder.path("x" * 5000).name == "x" * 5000


def test_missing_lists_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"no LFW.csv in {tmp_path}, nowhere"):
        find_list("LFW.csv", [tmp_path, Path("nowhere")])


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
    for read in (read_lfw_pairs, read_landmark_list):
        with contextlib.suppress(UserError):
            read(path)
