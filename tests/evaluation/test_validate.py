"""Validation during training: the evaluation's figures on held-out people, from their shards."""

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from evaluation.validate import held_out
from pipeline.pixels.resample import reduce_and_enlarge
from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import folder as folder_of
from pipeline.sources.datasets import vggface2, without_identities
from shards.command import UserError
from shards.index import ShardIndex
from training.engine.validation import HeldOut

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def others(rendered: Path, train_list: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four of the rendered training people."""
    return some_people(rendered, train_list, tmp_path_factory.mktemp("others"), lambda place: place < 4)


@pytest.fixture(scope="module")
def trained(rendered: Path, train_list: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The rest of them."""
    return some_people(rendered, train_list, tmp_path_factory.mktemp("trained"), lambda place: place >= 4)


def some_people(rendered: Path, train_list: Path, folder: Path, chosen: Callable[[int], bool]) -> Path:
    names = sorted(path.name for path in (rendered / "VGGFace2" / "train").iterdir())
    left_out = folder / "left-out.txt"
    left_out.write_text("\n".join(name for place, name in enumerate(names) if not chosen(place)))
    people = without_identities(vggface2(rendered / "VGGFace2", [train_list]), left_out)
    shard(Plan(people, Settings(size=32)), folder / "shards", workers=1)
    return folder / "shards"


class Pixels(nn.Module):
    """An embedding that is the picture itself."""

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return pictures.flatten(1)


def test_its_rank_1_is_that_of_a_slow_loop(others: Path, trained: Path) -> None:
    figures = held_out(HeldOut(others, (trained,), (8, 16), CPU))(Pixels(), 3)
    index = ShardIndex.open(others)

    def seen(photo: int, low: int) -> np.ndarray:
        face = cv2.imdecode(index.read(photo), cv2.IMREAD_COLOR_RGB)
        assert face is not None
        vector = reduce_and_enlarge(face, low).astype(np.float64).ravel() / 127.5 - 1
        return vector / np.linalg.norm(vector)

    people = range(index.identities)
    assert len(people) == 4
    gallery = [seen(int(index.first[label]), 32) for label in people]
    shares = []
    for low in (8, 16):
        hits = [
            int(np.argmax([seen(photo, low) @ face for face in gallery])) == label
            for label in people
            for photo in range(
                int(index.first[label]) + 1, min(int(index.first[label + 1]), int(index.first[label]) + 5)
            )
        ]
        shares.append(np.mean(hits))
        assert figures[f"rank-1/{low}px"] == pytest.approx(shares[-1])
    assert next(iter(figures.values())) == pytest.approx(np.mean(shares))
    assert {"AUC/8px", "TAR at FAR 1 %/16px"} <= figures.keys()
    assert all(0 <= value <= 1 for value in figures.values())


def test_a_number_is_a_person_only_with_a_photo_in_common(rendered: Path, tmp_path: Path) -> None:
    people = sorted((rendered / "VGGFace2" / "train").iterdir())
    for folder, chosen in (("trained", people[:3]), ("others", people[3:6]), ("mixed", [people[5], *people[1:3]])):
        for number, person in enumerate(chosen):
            shutil.copytree(person, tmp_path / folder / str(number))
        shard(
            Plan(folder_of(tmp_path / folder, [], aligned=True), Settings(size=32)),
            tmp_path / f"{folder}-shards",
            workers=1,
        )
    trained = (tmp_path / "trained-shards",)
    assert held_out(HeldOut(tmp_path / "others-shards", trained, (8,), CPU))(Pixels(), 0)
    with pytest.raises(UserError, match=r"2 people of .*mixed-shards, such as folder/1, are trained on"):
        held_out(HeldOut(tmp_path / "mixed-shards", trained, (8,), CPU))


def test_people_who_are_trained_on_are_refused(others: Path, shards: Path, orl_shards: Path) -> None:
    with pytest.raises(UserError, match="are trained on; name a folder of others"):
        held_out(HeldOut(shards, (shards,), (8,), CPU))
    with pytest.raises(UserError, match="differ in size 32 against 64"):
        held_out(HeldOut(orl_shards, (shards,), (8,), CPU))
    with pytest.raises(UserError, match="name sizes below it"):
        held_out(HeldOut(others, (shards,), (32,), CPU))
