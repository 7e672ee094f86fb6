"""Stages: commands of this program one after the other, and how long a training will take."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from shards.command import UserError
from training.adaptation.stages import Stages, seconds_of_training
from training.settings.recipes import ADAPT_FRESH


@pytest.mark.slow
def test_a_stage_that_fails_ends_the_command(capfd: pytest.CaptureFixture[str]) -> None:
    stages = Stages(count=2)
    stages.begin("as given")
    with pytest.raises(UserError, match="stage 2 of 2 ended with status 2, for the reason above"):
        stages.run("a folder", "shards.info", "no such folder")
    told = capfd.readouterr().err
    assert "1/2 as given" in told
    assert "python -m shards.info 'no such folder'" in told
    assert "error: " in told


def test_time_grows_with_steps_and_leaves_the_network_as_it_was() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.Flatten(), nn.LazyLinear(8))
    network(torch.zeros(1, 3, 112, 112))
    short, long = (
        seconds_of_training(network, 112, replace(ADAPT_FRESH, steps=steps), threads=1) for steps in (1, 1000)
    )
    assert 0 < short < long
    assert all(parameter.grad is None for parameter in network.parameters())
