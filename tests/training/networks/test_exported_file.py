"""Exported files read back: the same embeddings, the same preparation, and every fault in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from pipeline.alignment.align import preprocessing
from shards.command import UserError
from tests.training.test_export import write_checkpoint
from training.networks.backbone_file import TRUSTED, load_backbone
from training.networks.export_formats import FORMATS, METADATA_KEY
from training.networks.exported_file import exported_format, load_exported, read_metadata


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("exported") / "spherenet4.pt"
    write_checkpoint(path, "spherenet4")
    return path


@pytest.fixture(scope="module")
def exported(checkpoint: Path) -> dict[str, Path]:
    """One file per format, under names that say nothing of it."""
    files = {}
    for kind, export in FORMATS.items():
        files[kind] = checkpoint.with_name(f"exported-{kind}")
        files[kind].write_bytes(export(load_backbone(checkpoint)))
    return files


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_the_loaded_network_embeds_as_the_checkpoint_does(
    kind: str, checkpoint: Path, exported: dict[str, Path]
) -> None:
    loaded, original = load_exported(exported[kind]), load_backbone(checkpoint)
    assert (loaded.name, loaded.step, loaded.recipe) == ("spherenet4", 3, "tiny")
    assert loaded.preprocessing == original.preprocessing == preprocessing("paper", 32)
    assert len(loaded.sha256) == 64
    pictures = (torch.rand(5, 3, 32, 32) * 2 - 1).to(memory_format=torch.channels_last)
    with torch.inference_mode():
        found, expected = loaded.backbone(pictures), original.backbone(pictures)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=0 if kind == "safetensors" else 1e-4, rtol=0)


@pytest.mark.slow
def test_every_format_is_recognised_by_its_content(exported: dict[str, Path], checkpoint: Path) -> None:
    for kind, path in exported.items():
        assert exported_format(path) == kind
        about = read_metadata(path)
        assert (about.backbone, about.embedding_size, about.preprocessing.size) == ("spherenet4", 24, 32)
    assert exported_format(checkpoint) is None
    assert exported_format(checkpoint.parent) is None


def test_an_archive_that_seems_to_span_disks_is_told_as_damaged(exported: dict[str, Path], tmp_path: Path) -> None:
    path, data = tmp_path / "file", bytearray(exported["torchscript"].read_bytes())
    # The number of disks stands in the locator of the archive's end, after a disk's number and an offset.
    data[data.rindex(b"PK\x06\x07") + 16] = 2
    path.write_bytes(data)
    assert exported_format(path) is None
    with pytest.raises(UserError, match="is damaged or no checkpoint: zipfiles that span multiple disks"):
        load_backbone(path)


def test_mistakes_are_one_line(exported: dict[str, Path], checkpoint: Path, tmp_path: Path) -> None:
    def refused(path: Path) -> str:
        with pytest.raises(UserError) as mistake:
            load_exported(path)
        assert "\n" not in str(mistake.value)
        return str(mistake.value)

    assert "export the checkpoint as safetensors or onnx" in refused(exported["torchscript"])
    assert "no exported network" in refused(checkpoint)
    assert "no exported network" in refused(tmp_path / "missing.onnx")
    bare, other = tmp_path / "bare.safetensors", tmp_path / "other.safetensors"
    state = load_file(exported["safetensors"])
    save_file(state, bare)
    assert f"no entry {METADATA_KEY}" in refused(bare)
    save_file(state, other, {METADATA_KEY: '{"version": 2}'})
    assert "metadata of version 2, this program reads 1" in refused(other)
    save_file(state, other, {METADATA_KEY: '{"version": 1}'})
    assert "cannot be read" in refused(other)
    for kind in ("safetensors", "onnx"):
        cut = tmp_path / f"cut.{kind}"
        whole = exported[kind].read_bytes()
        cut.write_bytes(whole[: len(whole) // 2])
        assert "damaged" in refused(cut), kind
    save_file({**state, "more": torch.zeros(1)}, other, _metadata(exported["safetensors"]))
    assert "does not fit the backbone spherenet4" in refused(other)


def test_a_backbone_by_import_path_needs_trust(
    exported: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.safetensors"
    name = "tests.training.networks.test_exported_file:linear_backbone"
    text = _metadata(exported["safetensors"])[METADATA_KEY].replace("spherenet4", name)
    network = linear_backbone(size=32, embedding_size=24)
    save_file(dict(network.state_dict()), path, {METADATA_KEY: text})
    with pytest.raises(UserError, match="if you trust it"):
        load_exported(path)
    monkeypatch.setenv(TRUSTED, name)
    assert load_exported(path).backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 24)


def linear_backbone(size: int, embedding_size: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, embedding_size))


def _metadata(path: Path) -> dict[str, str]:
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        found: dict[str, str] = file.metadata()
    return found
