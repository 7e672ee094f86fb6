"""Pictures shared among two processes: the same bits as of one, faults and mistakes of any of them."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from evaluation.models.embedder import Embedder
from evaluation.models.load import load_model
from evaluation.models.preparation import whole
from shards.command import UserError
from tests.conftest import Command
from tests.evaluation.people import write_people, write_photo
from tests.training.worlds import on_world
from training.ranks.world import World

COUNT = 11


def embed(
    folder: Path, checkpoint: Path, world: World | None, cache: Path | None = None
) -> tuple[Embedder, np.ndarray]:
    loaded = load_model(str(checkpoint))
    embedder = Embedder(loaded, device="cpu", batch=2, cache=cache)
    if world is not None:
        embedder.share_with(world)
    names = [f"{number}.png" for number in [*range(COUNT), 3, 99]]
    found = embedder.embed([whole(name, folder / name, loaded.preprocessing) for name in names])
    assert found.faults == {"99.png": "missing"}
    return embedder, found.vectors


def shared(world: World, folder: Path, checkpoint: Path, cache: Path) -> dict[str, torch.Tensor]:
    embedder, vectors = embed(folder, checkpoint, world, cache)
    counts = [embedder.computed, embedder.reused]
    again, second = embed(folder, checkpoint, world, cache)
    np.testing.assert_array_equal(vectors, second)
    counts += [again.computed, again.reused]
    nothing = embedder.embed([])
    return {
        "vectors": torch.from_numpy(vectors),
        "counts": torch.tensor(counts),
        "none": torch.from_numpy(nothing.vectors),
    }


def diverged(world: World, folder: Path, checkpoint: Path) -> dict[str, torch.Tensor]:
    loaded = load_model(str(checkpoint))
    embedder = Embedder(loaded, device="cpu", batch=1)
    embedder.share_with(world)
    if world.rank == 1:
        with torch.no_grad():
            next(loaded.backbone.parameters()).fill_(float("nan"))
    try:
        embedder.embed([whole(f"{n}.png", folder / f"{n}.png", loaded.preprocessing) for n in range(4)])
    except UserError as mistake:
        return {"told": torch.tensor(list(str(mistake).encode()))}
    return {"told": torch.tensor([0])}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(COUNT):
        write_photo(tmp_path / "photos" / f"{number}.png", "anna", number)
    return tmp_path / "photos"


@pytest.mark.slow
def test_two_processes_embed_what_one_does(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    _, alone = embed(folder, checkpoint, None)
    for found in on_world(2, shared, tmp_path, folder, checkpoint, tmp_path / "cache"):
        np.testing.assert_array_equal(found["vectors"].numpy(), alone)
        assert found["counts"].tolist() == [COUNT, 0, 0, COUNT]
        assert found["none"].shape == (0, alone.shape[1])


@pytest.mark.slow
def test_a_mistake_of_one_is_told_by_all(folder: Path, checkpoint: Path, tmp_path: Path) -> None:
    for found in on_world(2, diverged, tmp_path, folder, checkpoint):
        assert "not finite, first for 1.png" in bytes(found["told"].tolist()).decode()


@pytest.mark.soak
def test_torchrun_gives_the_report_of_one_process(
    checkpoint: Path, tmp_path: Path, start: Command, command: Command
) -> None:
    write_people(tmp_path / "known", ["anna", "bert", "carl"], range(1))
    write_people(tmp_path / "seen", ["anna", "bert", "carl"], range(1, 4))
    words = ["--checkpoint", checkpoint, "--gallery", tmp_path / "known", "--probes", tmp_path / "seen", "--no-cache"]
    words += ["--device", "cpu"]
    one = command("evaluation", *words, "--out", tmp_path / "one", OMP_NUM_THREADS="1")
    assert one.returncode == 0, one.stderr
    launcher = ["torch.distributed.run", "--nproc-per-node", 2, "-m", "evaluation"]
    two = start(*launcher, *words, "--out", tmp_path / "two")
    assert two.returncode == 0, two.stderr
    assert two.stdout.count("report      ") == 1
    results = [json.loads((tmp_path / name / "results.json").read_text()) for name in ("one", "two")]
    assert results[0] == results[1]


@pytest.mark.soak
def test_torchrun_tells_a_mistake_once(checkpoint: Path, tmp_path: Path, start: Command) -> None:
    launcher = ["torch.distributed.run", "--nproc-per-node", 2, "-m", "evaluation", "--checkpoint", checkpoint]
    refused = start(*launcher, "--gallery", tmp_path / "none", "--probes", tmp_path, "--out", tmp_path / "x")
    assert refused.returncode != 0
    assert refused.stderr.count("error: --gallery: no folder") == 1
