"""Which device a run takes, by what the machine has."""

import pytest
import torch

from shards.command import UserError
from training.ranks.machine import chosen_device


@pytest.mark.parametrize(
    ("asked", "gpus", "processes", "chosen"),
    [
        ("auto", 0, 1, "cpu"),
        ("auto", 1, 1, "gpu"),
        ("auto", 1, 2, "cpu"),
        ("auto", 8, 8, "gpu"),
        ("cpu", 8, 1, "cpu"),
        ("gpu", 2, 2, "gpu"),
    ],
)
def test_a_gpu_is_taken_where_each_process_has_one(
    asked: str,
    gpus: int,
    processes: int,
    chosen: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert chosen_device(asked, processes) == chosen
    left_idle = asked == "auto" and gpus > 0 and chosen == "cpu"
    assert ("note: " in capsys.readouterr().err) == left_idle


@pytest.mark.parametrize(
    ("gpus", "says"), [(0, "finds no GPU"), (1, "machine with 1 GPU, .*start 1,"), (2, "with 2 GPUs, .*start 2,")]
)
def test_too_few_gpus_are_refused(gpus: int, says: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    with pytest.raises(UserError, match=says):
        chosen_device("gpu", processes=3)
