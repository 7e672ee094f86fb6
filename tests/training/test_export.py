"""Exported files: the same embeddings elsewhere, and all that is needed to prepare the pictures."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from pipeline.alignment.align import preprocessing
from shards.format import Preprocessing
from training.checkpoints.checkpoint import Checkpoint, save_checkpoint
from training.engine.step import build_learner
from training.networks.backbone_file import load_backbone
from training.networks.backbones import build_backbone
from training.networks.export_formats import FORMATS, METADATA_KEY, onnx_bytes
from training.settings.recipes import TINY

# The smallest of each kind; an IR-SE network has all that the residual networks have.
BACKBONES = ["spherenet4", "adaface-irse18"]


def write_checkpoint(path: Path, name: str) -> None:
    torch.manual_seed(0)
    config = replace(TINY, model=replace(TINY.model, backbone=name, embedding_size=24))
    learner = build_learner(config, 5).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    learner.backbone(torch.randn(8, 3, 32, 32))  # so that the statistics of batch norms are not 0 and 1
    saved = Checkpoint(
        step=3,
        config=config.to_dict(),
        recipe="tiny",
        preprocessing=preprocessing("paper", 32),
        identities=5,
        shards_sha256="0" * 64,
        backbone=learner.backbone.state_dict(),
        head=learner.head.state_dict(),
        optimizer={},
    )
    save_checkpoint(path, saved)


@pytest.fixture(
    scope="module", params=[BACKBONES[0], *(pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES[1:])]
)
def checkpoint(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / f"{request.param}.pt"
    write_checkpoint(path, request.param)
    return path


def check_metadata(text: str, name: str) -> None:
    found = json.loads(text)
    assert Preprocessing.from_dict(found.pop("preprocessing")) == preprocessing("paper", 32)
    assert found == {
        "version": 1,
        "backbone": name,
        "embedding_size": 24,
        "step": 3,
        "recipe": "tiny",
        "input": "(N, 3, 32, 32) float32 RGB in [-1, 1]",
    }


def embeddings_of(checkpoint: Path, pictures: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        embeddings: torch.Tensor = load_backbone(checkpoint).backbone(pictures)
    return embeddings


@pytest.mark.slow
def test_onnx_agrees_in_onnxruntime(checkpoint: Path) -> None:
    content = onnx_bytes(load_backbone(checkpoint))
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for number in (1, 5):
        pictures = torch.rand(number, 3, 32, 32) * 2 - 1
        (found,) = session.run(["embeddings"], {"pictures": pictures.numpy()})
        np.testing.assert_allclose(found, embeddings_of(checkpoint, pictures).numpy(), atol=1e-4, rtol=0)
    check_metadata(session.get_modelmeta().custom_metadata_map[METADATA_KEY], checkpoint.stem)
    model = onnx.load_from_string(content)
    onnx.checker.check_model(model)
    assert b"site-packages" not in content
    assert str(Path(__file__).parents[2]).encode() not in content


def test_safetensors_hold_the_state_dict(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(FORMATS["safetensors"](load_backbone(checkpoint)))
    network = build_backbone(checkpoint.stem, 32, 24).eval()
    network.load_state_dict(load_file(path))
    pictures = torch.rand(3, 3, 32, 32)
    # The same weights; with or without a graph, and where tensors lie in memory, moves a last digit.
    torch.testing.assert_close(network(pictures), embeddings_of(checkpoint, pictures), atol=1e-6, rtol=1e-5)
    with safe_open(path, "pt") as file:
        assert list(file.metadata()) == [METADATA_KEY]
        check_metadata(file.metadata()[METADATA_KEY], checkpoint.stem)


@pytest.mark.slow
def test_torchscript_agrees(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.torchscript"
    path.write_bytes(FORMATS["torchscript"](load_backbone(checkpoint)))
    extra = {METADATA_KEY: ""}
    network = torch.jit.load(path, _extra_files=extra)
    for number in (1, 4):
        pictures = torch.rand(number, 3, 32, 32)
        torch.testing.assert_close(network(pictures), embeddings_of(checkpoint, pictures))
    text = extra[METADATA_KEY]
    check_metadata(text.decode() if isinstance(text, bytes) else text, checkpoint.stem)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "safetensors", "torchscript"])
def test_the_command_exports_the_authors_weights(
    kind: str, tmp_path: Path, command: Callable, capfd: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "0100000_net_backbone.pth"
    torch.save(build_backbone("spherenet10", 48).state_dict(), weights)
    out = tmp_path / f"a.{kind}"
    done = command("training.export", "--checkpoint", weights, "--format", kind, "--out", out)
    assert (done.returncode, done.stderr, capfd.readouterr().err) == (0, "", "")
    assert f"spherenet10 as {kind}" in done.stdout
    assert {path.name for path in tmp_path.iterdir()} == {weights.name, out.name}
    if kind == "onnx":
        session = onnxruntime.InferenceSession(out, providers=["CPUExecutionProvider"])
        pictures = torch.rand(2, 3, 48, 48)
        (found,) = session.run(None, {"pictures": pictures.numpy()})
        np.testing.assert_allclose(found, embeddings_of(weights, pictures).numpy(), atol=1e-4, rtol=0)
        about = json.loads(session.get_modelmeta().custom_metadata_map[METADATA_KEY])
        assert (about["step"], about["recipe"], about["embedding_size"]) == (None, None, 512)


def test_mistakes_end_in_one_line(tmp_path: Path, command: Callable) -> None:
    weights = tmp_path / "a.pth"
    torch.save(build_backbone("spherenet4", 32, 8).state_dict(), weights)
    cases = [
        ([weights, "onnx", tmp_path / "no" / "a.onnx"], "name a file in a folder that is there"),
        ([tmp_path / "missing.pt", "onnx", tmp_path / "a.onnx"], "no checkpoint"),
        ([weights, "tflite", tmp_path / "a"], "format"),
    ]
    for (checkpoint, kind, out), message in cases:
        done = command("training.export", "--checkpoint", checkpoint, "--format", kind, "--out", out)
        assert done.returncode == 2
        assert message in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
