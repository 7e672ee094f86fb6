"""Small networks: as a checkpoint in the authors' form, and ready to embed; and data sets that may be damaged."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from evaluation.enrolled.measuring import Measuring, measuring
from evaluation.models.embedder import Embedder
from pipeline.alignment.align import preprocessing
from training.networks.backbone_file import LoadedBackbone
from training.networks.backbones import build_backbone

SIZE = 32
"""Side of its pictures in pixels."""


@pytest.fixture(scope="module", autouse=True)
def _without_plots(request: pytest.FixtureRequest) -> Iterator[None]:
    """Leave out the plots of reports, which take longer than their figures, but in modules that look at them."""
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "LOOKS_AT_PLOTS", False):
            patch.setattr("evaluation.reporting.report.draw_plots", lambda report: [])
        yield


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


@pytest.fixture(scope="session")
def how(backbone: object) -> Measuring:
    loaded = LoadedBackbone(backbone, preprocessing("paper", 32), "spherenet4", 1, "x", "0")  # type: ignore[arg-type]
    embedder = Embedder(loaded, device="cpu")
    return measuring("net.pth", embedder, loaded, {"flip": False}, aligned=True, least_score=0.9)


@pytest.fixture(scope="session")
def how_at_sizes(backbone: object) -> Measuring:
    """Photos of people are enrolled in full and at 8 and 16 pixels."""
    loaded = LoadedBackbone(backbone, preprocessing("paper", 32), "spherenet4", 1, "x", "0")  # type: ignore[arg-type]
    embedder = Embedder(loaded, device="cpu")
    return measuring("net.pth", embedder, loaded, {}, aligned=True, least_score=0.9, sizes=(16, 8, 16))


@pytest.fixture
def people(tmp_path: Path) -> Callable[..., Path]:
    """Write people of noise into a folder, so many photos of each; those of one person are alike."""

    def write(folder: str, **photos: int) -> Path:
        for name, count in photos.items():
            (tmp_path / folder / name).mkdir(parents=True, exist_ok=True)
            seed = int.from_bytes(name.encode()[:4], "little")
            base = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
            for number in range(count):
                face = cv2.resize(base, (40, 40), interpolation=cv2.INTER_CUBIC).astype(int)
                noise = np.random.default_rng([seed, number]).integers(-30, 31, face.shape)
                picture = (face + noise).clip(0, 255).astype(np.uint8)
                assert cv2.imwrite(str(tmp_path / folder / name / f"{number}.png"), picture)
        return tmp_path / folder

    return write
