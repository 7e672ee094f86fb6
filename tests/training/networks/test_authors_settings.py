"""The authors' arguments beside a checkpoint: contradictions are told, the weights decide."""

import json
from pathlib import Path

import pytest
import torch

from training.networks.backbone_file import load_backbone
from training.networks.backbones import build_backbone


@pytest.fixture
def released(tmp_path: Path) -> Path:
    path = tmp_path / "0100000_net_backbone.pth"
    state = build_backbone("spherenet10", 32, 16).state_dict()
    torch.save({f"module.{key}": value for key, value in state.items()}, path)
    return path


@pytest.mark.parametrize(
    "settings",
    [
        {"backbone": "sphere10", "emb_dim": 16, "image_size": [32, 32], "lr": 0.1, "lambda": 1.0},
        {"args": {"arch": "SphereNet-10", "feature-dim": 16}, "size": 32, "net": "spherenet", "gpu": [0, 1]},
        {"backbone": None, "embedding_size": True},
    ],
)
def test_settings_that_fit_are_silent(released: Path, settings: dict, capsys: pytest.CaptureFixture[str]) -> None:
    (released.parent / "config.json").write_text(json.dumps(settings))
    assert load_backbone(released).name == "spherenet10"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"backbone": "SphereNet20"}, "says backbone SphereNet20, but the weights are of spherenet10"),
        ({"backbone": "resnet"}, "says backbone resnet, but the weights are of spherenet10"),
        ({"model": {"embedding_size": 512}}, "says model.embedding_size 512, but the weights are of 16"),
        ({"img_size": [112, 96]}, "says img_size [112, 96], but the weights are of 32"),
    ],
)
def test_what_the_weights_contradict_is_told(
    released: Path, settings: dict, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (released.parent / "config.json").write_text(json.dumps(settings))
    loaded = load_backbone(released)
    assert (loaded.name, loaded.preprocessing.size) == ("spherenet10", 32)
    warning = capsys.readouterr().err
    assert told in warning
    assert warning.count("\n") == 1


def test_a_file_that_is_no_json_is_passed_over(released: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (released.parent / "config.json").write_text("{")
    assert load_backbone(released).name == "spherenet10"
    assert "cannot be read" in capsys.readouterr().err
