"""Pair lists in every form that is read, and what is none."""

from pathlib import Path

import pytest

from evaluation.lists.pair_list import NamedPair, read_pair_list
from shards.command import UserError

EXPECTED = [NamedPair("anna/1.jpg", "anna/2.jpg", same=True), NamedPair("anna/1.jpg", "b c/1.jpg", same=False)]


@pytest.mark.parametrize(
    "text",
    [
        "anna/1.jpg\tanna/2.jpg\t1\nanna/1.jpg\tb c/1.jpg\t0\n",
        "\ufefffirst,second,same\r\nanna/1.jpg,anna/2.jpg,True\r\n\r\nanna/1.jpg,b c/1.jpg,False",
        'anna/1.jpg;anna/2.jpg;same\n"anna/1.jpg";"b c/1.jpg";different',
        "anna\\1.jpg, anna\\2.jpg, 1\n./anna/1.jpg, b c/1.jpg, -1",
    ],
)
def test_two_names_and_a_truth(tmp_path: Path, text: str) -> None:
    (tmp_path / "pairs.txt").write_text(text, encoding="utf-8")
    assert read_pair_list(tmp_path / "pairs.txt") == EXPECTED


def test_a_single_space_may_stand_between(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("a.jpg   b.jpg 1\na.jpg c.jpg 0")
    assert [pair.right for pair in read_pair_list(tmp_path / "pairs.txt")] == ["b.jpg", "c.jpg"]


def test_the_form_of_lfw_has_folds(tmp_path: Path) -> None:
    (tmp_path / "pairs.txt").write_text("2\t1\nanna\t1\t2\nanna\t1\tbert\t1\nbert\t1\t2\nbert\t2\tanna\t1\n")
    assert read_pair_list(tmp_path / "pairs.txt")[-1] == NamedPair(
        "bert/bert_0002.jpg", "anna/anna_0001.jpg", same=False, fold=1
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no pair"),
        ("first second truth\n", "names no pair"),
        ("a.jpg b.jpg 1\na.jpg b.jpg 2\n", "line 2: 'a.jpg b.jpg 2' is no pair"),
        ("a.jpg b.jpg\n", "line 1"),
        ("2\t1\nanna\t1\t2\n", "announces"),
    ],
)
def test_what_is_no_list_of_pairs(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "pairs.txt").write_text(text)
    with pytest.raises(UserError, match=told):
        read_pair_list(tmp_path / "pairs.txt")


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read as text"):
        read_pair_list(tmp_path / "pairs.txt")
