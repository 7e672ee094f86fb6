"""A model that wants another form of input than it is given: found on a few pairs."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from evaluation.__main__ import parser
from evaluation.checks.input_check import Form, check_input, drawn_pairs, told
from evaluation.protocols.selection import ProtocolOptions, plan
from pipeline.alignment.align import preprocessing
from shards.command import UserError
from tests.evaluation.people import write_people

PEOPLE = [f"person {number}" for number in range(12)]


class OfBlue(nn.Module):
    """Sees the first channel alone, and tells people apart by it."""

    def forward(self, pictures: Tensor) -> Tensor:
        small = nn.functional.avg_pool2d(pictures[:, :1], 4)
        return small.flatten(1)


@pytest.fixture
def people(tmp_path: Path) -> ProtocolOptions:
    """People who differ in blue; in red and green everybody looks the same."""
    import cv2

    write_people(tmp_path / "known", PEOPLE, range(1))
    write_people(tmp_path / "seen", PEOPLE, range(1, 3))
    for path in tmp_path.rglob("*.png"):
        picture = cv2.imread(str(path))
        noise = np.random.default_rng(list(path.as_posix().encode())).integers(0, 255, picture.shape)
        picture[:, :, 1:] = noise[:, :, 1:]
        cv2.imwrite(str(path), picture)
    none = ProtocolOptions(None, None, None, None, False, [], None, False)
    return ProtocolOptions(**{**vars(none), "gallery": tmp_path / "known", "probes": tmp_path / "seen"})


@pytest.mark.slow
def test_the_other_order_of_colours_is_found(people: ProtocolOptions) -> None:
    words = ["--template", "whole", "--size", "32", "--out", "x", "--no-cache"]
    name = f"{__name__}:OfBlue"
    tried = check_input(name, parser().parse_args(words), "cpu", plan(people)[0])
    lines = told(name, tried)
    assert tried[0].form == Form(False, "RGB", 127.5, 127.5)
    assert "(its own)" in lines[1]
    assert lines[-1].startswith("  best: BGR")
    assert "--colour BGR" in lines[-1]
    tried = check_input(name, parser().parse_args([*words, "--colour", "BGR"]), "cpu", plan(people)[0])
    assert told(name, tried)[-1] == "  its own form fits; no other does better by more than chance"


def test_pairs_are_of_who_the_folders_say(people: ProtocolOptions) -> None:
    pairs = drawn_pairs(plan(people)[0], [], preprocessing("paper", 32))
    assert (int(pairs.same.sum()), int((~pairs.same).sum())) == (36, 60)
    for left, right, same in zip(pairs.left, pairs.right, pairs.same, strict=True):
        assert (left.name.split("/")[1] == right.name.split("/")[1]) == same
        assert left.name != right.name


def test_too_few_people(people: ProtocolOptions) -> None:
    with pytest.raises(UserError, match="--check-input found fewer than 10 pairs"):
        drawn_pairs({}, [], preprocessing("paper", 32))
    assert torch.equal(OfBlue()(torch.zeros(1, 3, 8, 8)), torch.zeros(1, 4))
