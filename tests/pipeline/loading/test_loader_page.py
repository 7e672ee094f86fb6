"""The code that docs/loader.md shows runs as it stands."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.entry_points import ROOT


@pytest.fixture(scope="module")
def page() -> dict[str, Any]:
    names: dict[str, Any] = {}
    for code in re.findall(r"^```python\n(.*?)^```", (ROOT / "docs" / "loader.md").read_text("utf-8"), re.M | re.S):
        exec(code, names)
    return names


def networks() -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 16)), nn.Linear(16, 12)


def test_the_plain_loop_learns_and_resumes_at_any_step(shards: Path, page: dict[str, Any]) -> None:
    whole = page["train"](str(shards), *networks(), steps=30)
    assert sum(whole[-5:]) < sum(whole[:5])
    parts = networks()
    first = page["train"](str(shards), *parts, steps=4)
    assert first + page["train"](str(shards), *parts, steps=3, start_step=4) == whole[:7]


def test_pictures_with_labels_are_the_same_for_any_number_of_processes(shards: Path, page: dict[str, Any]) -> None:
    pictures, labels = next(page["pictures"](str(shards), 32, 6, 0, 1))
    assert pictures.shape == (6, 3, 32, 32)
    assert -1 <= pictures.min() < pictures.max() <= 1
    halves = [next(page["pictures"](str(shards), 32, 6, rank, 2)) for rank in range(2)]
    assert torch.equal(torch.cat([half for half, _ in halves]), pictures)
    assert torch.equal(torch.cat([of_half for _, of_half in halves]), labels)
