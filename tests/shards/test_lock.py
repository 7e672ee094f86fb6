"""One command at a time holds a lock."""

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
