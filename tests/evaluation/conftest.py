"""A small network in the authors' form, for what takes a checkpoint."""

from pathlib import Path

import pytest
import torch

from training.model import build_backbone

SIZE = 32
"""Side of its pictures in pixels."""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "net.pth"
    torch.manual_seed(0)
    torch.save(build_backbone("spherenet4", SIZE, 16).state_dict(), path)
    return path
