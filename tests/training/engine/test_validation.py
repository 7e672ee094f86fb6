"""Validation by a function that training is only told of."""

import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from shards.command import UserError
from training.engine.loop import train
from training.engine.run import Run
from training.engine.validation import HeldOut, Validate, open_validation
from training.ranks.world import ALONE
from training.settings.recipes import TINY

REQUEST = HeldOut(Path("held-out"), (Path("trained"),), (8,), torch.device("cpu"))


def restless(request: HeldOut) -> Validate:
    """A validation that draws from every generator."""
    assert request is REQUEST

    def validate(backbone: nn.Module, step: int) -> dict[str, float]:
        return {"drawn": float(torch.rand(())) + random.random() + np.random.random() + step}

    return validate


def test_what_it_draws_changes_nothing() -> None:
    validate = open_validation("tests.training.engine.test_validation:restless", REQUEST)
    found = []
    for validating in (True, False):
        torch.manual_seed(1)
        random.seed(1)
        np.random.seed(1)
        if validating:
            assert validate(nn.Identity(), 3)["drawn"] > 3
        found.append((float(torch.rand(())), random.random(), np.random.random()))
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nothing", "looks like package.module:callable"),
        ("no_such_module:f", "No module named"),
        ("json:no_such_function", "has no callable no_such_function"),
    ],
)
def test_a_wrong_path_is_one_line(path: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        open_validation(path, REQUEST)


@pytest.mark.slow
@pytest.mark.parametrize("frozen_statistics", [False, True])
def test_after_a_validation_every_module_is_in_its_mode_again(
    shards: Path, tmp_path: Path, frozen_statistics: bool
) -> None:
    """Batch norm with frozen statistics stays in evaluation mode; all else goes back to training."""
    seen: list[nn.Module] = []

    def validate(backbone: nn.Module, step: int) -> dict[str, float]:
        assert not any(module.training for module in backbone.modules())
        seen.append(backbone)
        return {"figure": float(step)}

    optimizer = replace(TINY.optimizer, frozen_statistics=frozen_statistics)
    model = replace(TINY.model, backbone="mbf", embedding_size=16)
    config = replace(TINY, model=model, optimizer=optimizer, batch=4, steps=1, validate_every=1)
    train(Run(config, "tiny", (shards,), tmp_path / "run", False), ALONE, validate)
    (backbone,) = seen
    for module in backbone.modules():
        assert module.training is not (frozen_statistics and isinstance(module, _BatchNorm))
