"""Runs on several shard folders, by photos, with damage in them."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from torch import Tensor

from pipeline.sharding.plan import Plan, Settings
from pipeline.sharding.run import shard
from pipeline.sources.datasets import low_resolution
from shards.index import ShardIndex
from tests.training.worlds import on_world
from training.engine.loop import train
from training.engine.run import Run
from training.ranks.world import World
from training.settings.config import Config
from training.settings.recipes import TINY as RECIPE

TINY = ["training/main.py", "--recipe", "tiny", "--device", "cpu", "--checkpoint_every", 3]
MIXED = ["--mix", 0.7, 0.3, "--sampling", "photo", "--views.sizes", "[32, 8..16]", "--largest_damaged_share", 0.1]


@pytest.fixture(scope="module")
def folders(shards: Path, rendered: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Aligned faces, two of them damaged, and surveillance pictures taken whole."""
    out = tmp_path_factory.mktemp("mixed")
    damaged = Path(shutil.copytree(shards, out / "damaged"))
    index = ShardIndex.open(damaged)
    for photo in (4, 31):
        with (damaged / index.key(photo)[0]).open("r+b") as file:
            file.seek(int(index.records[photo]["offset"]) + 40)
            file.write(b"\0\1\2\3")
    root = rendered / "QMUL-SurvFace" / "QMUL-SurvFace"
    shard(Plan(low_resolution("survface", root), Settings(size=32, template="whole")), out / "survface", workers=1)
    return [damaged, out / "survface"]


def losses(run_dir: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.soak
def test_a_mixed_run_passes_over_damage_and_resumes_bit_identically(
    folders: list[Path], tmp_path: Path, command: Callable, refused: Callable[..., str]
) -> None:
    words = [*TINY, "--shards", *folders, *MIXED]
    for run_dir, steps in (("whole", 12), ("parts", 5), ("parts", 12)):
        done = command(*words, "--run-dir", tmp_path / run_dir, "--resume", "--steps", steps)
        assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "whole") == losses(tmp_path / "parts")
    assert len(losses(tmp_path / "whole")) == 12
    index = ShardIndex.open(folders[0])
    named = {(str(folders[0] / tar), key) for tar, key in map(index.key, (4, 31))}
    for run_dir in ("whole", "parts"):
        lines = (tmp_path / run_dir / "quarantine-0.csv").read_text().splitlines()
        assert {tuple(line.split(",")[:2]) for line in lines} == named
        assert len(lines) == 2
    config = json.loads((tmp_path / "whole" / "config.json").read_text())["config"]
    assert (config["sampling"], config["mix"]) == ("photo", [0.7, 0.3])
    resumed = ["--run-dir", tmp_path / "whole", "--resume", "--steps", 20]
    turned = [*TINY, "--shards", *reversed(folders), *MIXED]
    assert "started on other shards" in refused(*turned, *resumed)


@pytest.mark.soak
def test_too_much_damage_is_told_once_by_two_processes(
    shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture
) -> None:
    damaged = Path(shutil.copytree(shards, tmp_path / "damaged"))
    index = ShardIndex.open(damaged)
    # Every process meets so many of them at once that each could tell it.
    for photo in range(0, index.photos, 2):
        with (damaged / index.key(photo)[0]).open("r+b") as file:
            file.seek(int(index.records[photo]["offset"]) + 40)
            file.write(b"\0\1\2\3")
    for share, newest in ((0.0, 0), (0.3, None)):
        config = replace(RECIPE, largest_damaged_share=share, steps=30)
        run_dir = tmp_path / f"run-{share}"
        on_world(2, refused_by_all, tmp_path, config, damaged, run_dir)
        (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
        assert "are passed over: run `python -m shards.verify" in line
        # What was trained before the damage became too much is kept.
        steps = [int(path.stem.split("-")[1]) for path in (run_dir / "checkpoints").iterdir()]
        assert max(steps) == (newest if newest is not None else len(losses(run_dir))) >= 0


def refused_by_all(world: World, config: Config, shards: Path, run_dir: Path) -> dict[str, Tensor]:
    with pytest.raises(SystemExit) as ended:
        train(Run(config, "tiny", (shards,), run_dir, resume=False), world)
    assert ended.value.code == 2
    return {}


def test_shares_that_do_not_fit_end_in_one_line(
    folders: list[Path], tmp_path: Path, refused: Callable[..., str]
) -> None:
    line = refused(*TINY, "--shards", *folders, "--run-dir", tmp_path / "run", "--mix", 1)
    assert "1 mix shares for 2 shard folders" in line
    assert not (tmp_path / "run").exists()
