"""A loss, gradient or weight that is not finite: the first bad step is named, however seldom anything is read."""

import csv
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pipeline.loading.loader import Loader
from shards.command import UserError
from tests.training.worlds import on_world
from training.checkpoints.checkpoint import load_checkpoint, save_checkpoint
from training.checkpoints.run_folder import checkpoint_path
from training.engine.finite_checks import gradient_norms, not_finite
from training.engine.finite_guard import loss_names
from training.engine.loop import train
from training.engine.run import Run
from training.engine.validation import Validate
from training.networks.backbones import build_backbone
from training.ranks.world import ALONE, World
from training.settings.config import Config, Model
from training.settings.recipes import TINY

SPRINGS_AT = 5


def refusal(config: Config, shards: Path, run_dir: Path, validate: Validate | None = None) -> str:
    with pytest.raises(UserError) as refused:
        train(Run(config, "tiny", (shards,), run_dir, resume=False), ALONE, validate)
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


class Trap(nn.Module):
    """A small backbone that springs a trap in one of its steps: every loss stays finite in it."""

    def __init__(self, size: int, embedding_size: int, springs: Callable[["Trap", Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(3 * size * size, embedding_size)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.register_buffer("mean", torch.zeros(embedding_size))
        self._springs = springs

    def forward(self, pictures: Tensor) -> Tensor:
        embeddings = self.linear(pictures.flatten(1))
        if not self.training:
            return embeddings
        self.steps += 1
        return self._springs(self, embeddings) if self.steps == SPRINGS_AT else embeddings


def gradient_trap(size: int, embedding_size: int) -> Trap:
    """The gradient of a root at 0 is not finite, and 0 times it is not either; the loss does not notice."""
    return Trap(size, embedding_size, lambda _, embeddings: embeddings + (0 * embeddings).sqrt())


def infinite_trap(size: int, embedding_size: int) -> Trap:
    """Every gradient is finite but that of the bias, which is infinite and no NaN."""

    def spring(trap: Trap, embeddings: Tensor) -> Tensor:
        trap.linear.bias.register_hook(lambda gradient: torch.full_like(gradient, math.inf))
        return embeddings

    return Trap(size, embedding_size, spring)


def statistics_trap(size: int, embedding_size: int) -> Trap:
    """Running statistics overflow, which a step in training never reads."""

    def spring(trap: Trap, embeddings: Tensor) -> Tensor:
        trap.mean += math.inf
        return embeddings

    return Trap(size, embedding_size, spring)


def finite(path: Path) -> bool:
    saved = load_checkpoint(path)
    moments = [one["momentum_buffer"] for one in saved.optimizer["state"].values()]
    tensors = [*saved.backbone.values(), *saved.head.values(), *moments]
    return all(bool(torch.isfinite(tensor).all()) for tensor in tensors)


@pytest.mark.parametrize("every", [1, 12])
def test_a_gradient_that_is_not_finite_stops_the_run_at_its_step(shards: Path, tmp_path: Path, every: int) -> None:
    config = replace(
        TINY, model=Model(f"{__name__}:gradient_trap", 16), log_every=every, checkpoint_every=3, steps=12, batch=4
    )
    line = refusal(config, shards, tmp_path)
    assert line.startswith(
        f"gradient not finite of backbone.linear.weight, backbone.linear.bias at step {SPRINGS_AT}; its photos"
    )
    assert "head" not in line
    (table,) = tmp_path.glob("not-finite-step-*.csv")
    assert table.name == f"not-finite-step-{SPRINGS_AT:07d}.csv"
    assert len(table.read_text().splitlines()) == 1 + 4 * 4
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.stem for path in kept] == ["step-0000000", "step-0000003"]
    assert all(map(finite, kept))


def test_an_infinite_gradient_stops_the_run_as_well(shards: Path, tmp_path: Path) -> None:
    config = replace(TINY, model=Model(f"{__name__}:infinite_trap", 16), log_every=1, steps=12, batch=4)
    line = refusal(config, shards, tmp_path)
    assert line.startswith(f"gradient not finite of backbone.linear.bias at step {SPRINGS_AT}; its photos")


def test_no_checkpoint_is_made_of_statistics_that_are_not_finite(shards: Path, tmp_path: Path) -> None:
    config = replace(
        TINY, model=Model(f"{__name__}:statistics_trap", 16), checkpoint_every=4, validate_every=4, steps=12, batch=4
    )
    validated: list[int] = []

    def validate(backbone: nn.Module, step: int) -> dict[str, float]:
        validated.append(step)
        return {"rank-1": step / 100}

    line = refusal(config, shards, tmp_path, validate)
    assert line.startswith("backbone.mean not finite at step 8; its photos")
    assert validated == [4]
    assert load_checkpoint(tmp_path / "best.pt").step == 4
    kept = sorted((tmp_path / "checkpoints").iterdir())
    assert [path.stem for path in kept] == ["step-0000000", "step-0000004"]
    assert all(map(finite, [*kept, tmp_path / "best.pt"]))


def spoilt(world: World, config: Config, shards: Path, run_dir: Path) -> dict[str, Tensor]:
    with pytest.raises(UserError if world.size == 1 else SystemExit):
        train(Run(config, "tiny", (shards,), run_dir, resume=False), world)
    return {}


@pytest.mark.slow
def test_two_processes_stop_at_the_step_of_one(shards: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    head = replace(TINY.head, sharded=True)
    config = replace(TINY, model=Model(f"{__name__}:gradient_trap", 16), head=head, log_every=12, steps=12, batch=4)
    on_world(2, spoilt, tmp_path, config, shards, tmp_path / "run")
    (line,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"backbone.linear.bias at step {SPRINGS_AT}; its photos" in line
    (table,) = (tmp_path / "run").glob("not-finite-step-*.csv")
    assert len(table.read_text().splitlines()) == 1 + 4 * 4


def test_weights_that_are_not_finite_are_not_begun_with(shards: Path, tmp_path: Path) -> None:
    network = build_backbone("spherenet4", 32, 16)
    with torch.no_grad():
        network.get_parameter("0.bias")[2] = math.nan
    torch.save(network.state_dict(), tmp_path / "net_backbone.pth")
    small = replace(TINY, model=Model("spherenet4", 16), steps=2, batch=4, checkpoint_every=1)
    begin = Run(small, "tiny", (shards,), tmp_path / "run", False, tmp_path / "net_backbone.pth")
    with pytest.raises(UserError, match=r"net_backbone.pth holds numbers that are not finite, in backbone.0.bias"):
        train(begin, ALONE)
    assert not begin.run_dir.exists()
    train(replace(begin, init_from=None), ALONE)
    newest = checkpoint_path(begin.run_dir, 2)
    saved = load_checkpoint(newest)
    saved.optimizer["state"][1]["momentum_buffer"].fill_(math.inf)
    save_checkpoint(newest, saved)
    longer = replace(begin, config=replace(small, steps=3), init_from=None, resume=True)
    with pytest.raises(UserError, match=r"checkpoint of step 2 holds .* in momentum_buffer of backbone.0.bias"):
        train(longer, ALONE)


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
        ),
    ],
)
def test_which_tensors_are_not_finite(device: str) -> None:
    counts, none = torch.tensor([1], device=device), torch.zeros(0, device=device)
    sound = {"a": torch.full((3,), 3e38, device=device), "counts": counts, "none": none}
    assert not_finite(sound) == []
    for value in (math.nan, math.inf, -math.inf):
        for place in (0, 500, 1000):
            bad = torch.zeros(1001, device=device)
            bad[place] = value
            assert not_finite({**sound, "bad": bad, "half": bad.bfloat16()}) == ["bad", "half"]
            parameter = nn.Parameter(torch.zeros(1001, device=device))
            parameter.grad = bad
            norms = gradient_norms([parameter, nn.Parameter(torch.ones(2, device=device))])
            assert torch.isfinite(norms).tolist() == [False, True]
