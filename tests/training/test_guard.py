"""A loss that is not finite: the first bad step is named, however seldom losses are read, with its photos."""

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.loader import Loader
from shards.command import UserError
from training.config import Config
from training.distributed import ALONE
from training.guard import loss_names
from training.loop import train
from training.recipes import TINY
from training.run import Run


def refusal(config: Config, shards: Path, run_dir: Path) -> str:
    with pytest.raises(UserError) as refused:
        train(Run(config, "tiny", (shards,), run_dir, resume=False), ALONE)
    return str(refused.value)


def test_the_first_bad_step_is_named_with_its_photos(shards: Path, tmp_path: Path) -> None:
    config = replace(TINY, optimizer=replace(TINY.optimizer, learning_rate=1e18, milestones=()), steps=12)
    every_step = refusal(replace(config, log_every=1), shards, tmp_path / "often")
    seldom = refusal(replace(config, log_every=12), shards, tmp_path / "seldom")
    assert seldom == every_step.replace("often", "seldom")
    (table,) = (tmp_path / "seldom").glob("not-finite-step-*.csv")
    step = int(table.stem.rsplit("-", 1)[1])
    assert f"at step {step}; its photos are listed in {table}" in seldom
    assert "classification/8px nan" in seldom
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    loader = Loader(shards, config.views, seed=config.seed, global_batch=config.batch, start_step=step - 1)
    batch = next(loader)
    loader.close()
    assert len(rows) == config.batch * len(config.views.sizes)
    photos = [loader.photo(int(photo)) for photo in batch.photos.flatten()]
    assert [(row["tar"], row["key"], row["identity"]) for row in rows] == photos
    assert [int(row["label"]) for row in rows] == batch.labels.repeat_interleave(4).tolist()


def test_every_loss_has_a_name_of_its_own() -> None:
    twice = replace(TINY, views=replace(TINY.views, sizes=(32, "8..12", 16, 16)))
    for config in (TINY, twice):
        names = loss_names(config)
        assert len(set(names)) == len(names) == 9
    assert loss_names(replace(TINY, views=replace(TINY.views, sizes=(32, "8..12"))))[-1] == "classification/8..12px"
