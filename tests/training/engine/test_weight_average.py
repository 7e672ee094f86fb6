"""The average of weights over a run: that of PyTorch, resumed to the bit, and what is validated and exported."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from shards.command import UserError
from training.checkpoints.checkpoint import load_checkpoint
from training.engine.loop import train
from training.engine.run import Run
from training.engine.weight_average import WeightAverage
from training.export import main as export
from training.networks.backbone_file import load_backbone
from training.ranks.world import ALONE
from training.settings.config import Head, Optimizer
from training.settings.recipes import TINY


def test_the_average_is_that_of_pytorch() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    theirs = AveragedModel(network, multi_avg_fn=get_ema_multi_avg_fn(0.9), use_buffers=True)
    theirs.update_parameters(network)  # its first call copies
    ours = WeightAverage(network, 0.9)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.5)
    for _ in range(5):
        network(torch.randn(8, 3)).square().sum().backward()
        optimizer.step()
        theirs.update_parameters(network)
        ours.follow(network)
    for name, value in theirs.module.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(ours.values[name], value)
    assert ours.values["1.num_batches_tracked"] == 5
    own = {name: value.clone() for name, value in network.state_dict().items()}
    with ours.lent_to(network):
        assert all(torch.equal(value, ours.values[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())


class LostMachineError(Exception):
    """Stands for a lost machine."""


def crash_at(step: int) -> Callable[[nn.Module, int], dict[str, float]]:
    """Validation that ends the run at a step."""

    def validate(backbone: nn.Module, at: int) -> dict[str, float]:
        if at == step:
            raise LostMachineError
        return {"weight": backbone.get_parameter("0.weight").sum().item()}

    return validate


FULL = replace(
    TINY,
    steps=4,
    checkpoint_every=1,
    validate_every=1,
    keep_checkpoints=9,
    optimizer=Optimizer(
        name="adamw",
        learning_rate=1e-3,
        schedule="cosine",
        milestones=(),
        warmup_steps=1,
        undecayed="norms-and-biases",
        largest_norm=1.0,
        average=0.5,
    ),
    head=Head(name="adaface", margin=0.4, norm_rate=0.3),
)


@pytest.fixture(scope="module")
def whole(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run_dir = tmp_path_factory.mktemp("average") / "whole"
    assert train(Run(FULL, "tiny", (shards,), run_dir, False), ALONE, crash_at(0)) == 4
    return run_dir


@pytest.mark.soak
def test_average_clipping_and_head_resume_bit_by_bit(whole: Path, shards: Path, tmp_path: Path) -> None:
    run = Run(FULL, "tiny", (shards,), tmp_path / "parted", True)
    with pytest.raises(LostMachineError):
        train(run, ALONE, crash_at(3))
    assert train(run, ALONE, crash_at(0)) == 4
    one, other = (load_checkpoint(path / "final.pt") for path in (whole, run.run_dir))
    assert one.averaged is not None and other.averaged is not None
    for mine, theirs in ((one.backbone, other.backbone), (one.averaged, other.averaged), (one.head, other.head)):
        assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    weights = [load_checkpoint(path).backbone for path in sorted((whole / "checkpoints").iterdir())]
    assert one.head["rule.norm_mean"] != 20
    mean = weights[0]
    for later in weights[1:]:
        mean = {name: torch.lerp(value, later[name], 0.5) for name, value in mean.items()}
    for name, value in one.averaged.items():
        torch.testing.assert_close(value, mean[name])
    assert any(not torch.equal(value, one.backbone[name]) for name, value in one.averaged.items())


def test_the_average_is_what_is_validated_evaluated_and_exported(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = load_checkpoint(whole / "final.pt")
    assert saved.averaged is not None
    lines = [json.loads(line) for line in (whole / "metrics.jsonl").read_text().splitlines()]
    told = [line["validation/weight"] for line in lines if "validation/weight" in line]
    assert told[-1] == saved.averaged["0.weight"].sum().item()
    plain, averaged = (load_backbone(whole / "final.pt", one) for one in (False, True))
    assert torch.equal(averaged.backbone.get_parameter("0.weight"), saved.averaged["0.weight"])
    assert plain.sha256 != averaged.sha256
    monkeypatch.setattr(
        "sys.argv",
        ["export", "--checkpoint", str(whole / "final.pt"), "--format", "safetensors", "--averaged"]
        + ["--out", str(tmp_path / "a.safetensors")],
    )
    export()
    from safetensors.torch import load_file

    assert torch.equal(load_file(tmp_path / "a.safetensors")["0.weight"], saved.averaged["0.weight"])


def test_a_file_without_an_average_is_refused(shards: Path, tmp_path: Path) -> None:
    train(Run(replace(TINY, steps=1), "tiny", (shards,), tmp_path / "run", False), ALONE)
    with pytest.raises(UserError, match="holds no average of weights; train with"):
        load_backbone(tmp_path / "run" / "final.pt", averaged=True)
