"""One command at a time holds a lock, which takes no other file's place and follows no link."""

from pathlib import Path

import pytest

from shards.command import UserError
from shards.lock import locked


def test_a_lock_is_held_by_one_and_names_the_holder(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    held = r"is in use by process \d+ on .*; wait for its end or choose another"
    with locked(lock, tmp_path, "choose another"), pytest.raises(UserError, match=held):
        locked(lock, tmp_path, "choose another").__enter__()
    with locked(lock, tmp_path, "choose another"):
        assert lock.read_text().count("process") == 1


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    target, lock = tmp_path / "thesis.txt", tmp_path / ".lock"
    target.write_text("years of work")
    lock.symlink_to(target)
    with pytest.raises(UserError, match="symbolic link"), locked(lock, tmp_path, "go on"):
        pass
    assert target.read_text() == "years of work"


@pytest.mark.parametrize("hard_link", [False, True])
def test_another_file_is_not_emptied(tmp_path: Path, hard_link: bool) -> None:
    lock = tmp_path / ".lock"
    if hard_link:
        (tmp_path / "notes").write_text("process of years")
        lock.hardlink_to(tmp_path / "notes")
    else:
        lock.write_text("years of work")
    with pytest.raises(UserError, match="not written by this program"), locked(lock, tmp_path, "go on"):
        pass
    assert "years" in lock.read_text()
