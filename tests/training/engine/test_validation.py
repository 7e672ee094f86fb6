"""Validation by a function that training is only told of."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from shards.command import UserError
from training.engine.validation import HeldOut, Validate, open_validation

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
