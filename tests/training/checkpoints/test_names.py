"""`best` and `final` are second names of a checkpoint, not copies."""

import errno
import os
from pathlib import Path

import pytest

from training.checkpoints.checkpoint import copy_checkpoint
from training.engine.saving import late_save


def test_a_second_name_takes_no_room(tmp_path: Path) -> None:
    first, other = tmp_path / "first.pt", tmp_path / "other.pt"
    first.write_bytes(b"one")
    other.write_bytes(b"older")
    for _ in range(2):
        copy_checkpoint(first, other)
        assert other.samefile(first)
    first.unlink()
    assert other.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [other]


def test_where_files_have_one_name_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    (tmp_path / "first.pt").write_bytes(b"one")
    copy_checkpoint(tmp_path / "first.pt", tmp_path / "other.pt")
    assert (tmp_path / "other.pt").read_bytes() == b"one"
    assert len(list(tmp_path.iterdir())) == 2


def test_a_checkpoint_that_takes_long_is_told() -> None:
    assert late_save(14.9) == ""
    assert "took 18 s" in late_save(18)
    assert "--shutdown-timeout 120" in late_save(18)
