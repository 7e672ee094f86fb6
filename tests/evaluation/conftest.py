"""Small networks: as a checkpoint in the authors' form, and ready to embed; and data sets that may be damaged."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from evaluation.models.embedder import Embedder
from pipeline.alignment.align import preprocessing
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import build_backbone

SIZE = 32
"""Side of its pictures in pixels."""


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "net.pth"
    torch.manual_seed(0)
    torch.save(build_backbone("spherenet4", SIZE, 16).state_dict(), path)
    return path


@pytest.fixture(scope="session")
def backbone() -> nn.Module:
    torch.manual_seed(0)
    return build_backbone("spherenet4", SIZE, 64).eval()


@pytest.fixture(scope="session")
def embedder(backbone: nn.Module) -> Embedder:
    return Embedder(LoadedBackbone(backbone, preprocessing("paper", SIZE), "spherenet4", 1, "x", "0"), device="cpu")


@pytest.fixture
def copy(rendered: Path, tmp_path: Path) -> Path:
    """The rendered data sets, to be damaged."""
    for name in ("LFW", "SCface", "QMUL-SurvFace", "TinyFace", "lists"):
        shutil.copytree(rendered / name, tmp_path / name)
    return tmp_path
