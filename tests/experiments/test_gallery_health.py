"""The experiment on galleries plants what it says, and runs on rendered people."""

import sys
from pathlib import Path

import numpy as np
import pytest

from experiments import gallery_health
from experiments.trials.planted_gallery import KINDS, split, write_gallery


def test_splits_keep_people_and_photos_apart() -> None:
    people = [name for name in "abcdefgh" for _ in range(8)]
    parts = split(people, 3)
    used = [row for rows in (parts.gallery, parts.spare, parts.mated, parts.foreign, parts.strangers) for row in rows]
    assert sorted(used) == list(range(64))
    enrolled = {people[row] for row in parts.gallery}
    assert len(enrolled) == 4 and not enrolled & {people[row] for row in parts.strangers}


def test_planted_photos_are_what_they_are_called(tmp_path: Path) -> None:
    people = [name for name in "abcdefgh" for _ in range(8)]
    faces = list(np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3)).astype(np.uint8))
    planted, originals = write_gallery(tmp_path, faces, people, split(people, 0), 0, each=4)
    kinds = list(planted.values())
    assert {kind: kinds.count(kind) for kind in KINDS} == dict.fromkeys(KINDS, 4)
    assert all((tmp_path / name).is_file() for name in [*planted, *originals, *originals.values()])
    small = [name.split("/")[0] for name, kind in planted.items() if kind == "small"]
    assert max(small.count(person) for person in small) >= 3


@pytest.mark.slow
def test_the_command_prints_both_tables(
    checkpoint_32: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["--model", checkpoint_32, "--trials", 1, "--each", 2, "--sizes", 12, "--cache", tmp_path]
    monkeypatch.setattr(sys, "argv", ["gallery_health", *map(str, words)])
    gallery_health.main()
    told = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in told[2:7]] == [*KINDS, "good"]
    assert told[-1].startswith("clean") and told[-1].count("%") == 3


@pytest.fixture
def checkpoint_32(tmp_path: Path) -> Path:
    import torch

    from training.networks.backbones import build_backbone

    torch.manual_seed(0)
    torch.save(build_backbone("spherenet4", 32, 16).state_dict(), tmp_path / "net.pth")
    return tmp_path / "net.pth"
