"""Weights beside an ONNX file are read from its folder alone, and its SHA-256 tells them apart."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from shards.command import UserError
from shards.digest import file_sha256
from training.networks.onnx_backbone import OnnxBackbone
from training.peers.onnx_file import read_onnx_file


@pytest.fixture
def model() -> onnx.ModelProto:
    """A network from (N, 3, 4, 4) to (N, 5), one of its weights in the attribute of a node."""
    matrix = np.random.default_rng(0).standard_normal((48, 5)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["in"], ["flat"]),
        helper.make_node("Constant", [], ["bias"], value=numpy_helper.from_array(np.arange(5, dtype=np.float32))),
        helper.make_node("MatMul", ["flat", "matrix"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["out"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("in", ("N", 3, 4, 4)), ("out", ("N", 5)))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], [numpy_helper.from_array(matrix, "matrix")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def split(model: onnx.ModelProto, path: Path, location: str = "weights.bin") -> Path:
    """Save a model with all weights in a file beside it."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    onnx.save(copy, path, save_as_external_data=True, location=location, size_threshold=0, convert_attribute=True)
    return path


def embedded(path: Path) -> np.ndarray:
    faces = torch.from_numpy(np.random.default_rng(1).standard_normal((3, 3, 4, 4)).astype(np.float32))
    return OnnxBackbone(path, 4)(faces).numpy()


def test_the_weights_of_its_own_folder_are_read(
    model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(model, tmp_path / "whole.onnx")
    path = split(model, tmp_path / "split.onnx")
    assert path.stat().st_size < (tmp_path / "whole.onnx").stat().st_size
    # Other weights of the same name lie in the current folder.
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "weights.bin").write_bytes(bytes((tmp_path / "weights.bin").stat().st_size))
    monkeypatch.chdir(elsewhere)
    assert (embedded(path) == embedded(tmp_path / "whole.onnx")).all()
    assert read_onnx_file(tmp_path / "whole.onnx").sha256 == file_sha256(tmp_path / "whole.onnx")


def test_other_weights_have_another_digest(model: onnx.ModelProto, tmp_path: Path) -> None:
    path = split(model, tmp_path / "split.onnx")
    before, figures = OnnxBackbone(path, 4).sha256, embedded(path)
    data = np.fromfile(tmp_path / "weights.bin", dtype=np.float32)
    (data * 2).tofile(tmp_path / "weights.bin")
    assert OnnxBackbone(path, 4).sha256 != before
    assert not np.allclose(embedded(path), figures)


def to(location: str) -> Callable[[onnx.ModelProto], None]:
    def change(model: onnx.ModelProto) -> None:
        for entry in model.graph.initializer[0].external_data:
            if entry.key == "location":
                entry.value = location

    return change


def beyond(model: onnx.ModelProto) -> None:
    for entry in model.graph.initializer[0].external_data:
        if entry.key == "length":
            entry.value = "999999"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (to("../weights.bin"), "own folder"),
        (to("/etc/hostname"), "own folder"),
        (to("link.bin"), "own folder"),
        (to(""), "own folder"),
        (to("absent.bin"), "not beside it"),
        (beyond, "cannot be read"),
    ],
    ids=["above", "absolute", "link", "none", "absent", "too long"],
)
def test_weights_elsewhere_are_refused(
    model: onnx.ModelProto, tmp_path: Path, change: Callable[[onnx.ModelProto], None], says: str
) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    path = split(model, folder / "split.onnx")
    (tmp_path / "weights.bin").write_bytes((folder / "weights.bin").read_bytes())
    os.symlink(tmp_path / "weights.bin", folder / "link.bin")  # noqa: PTH211
    stored = onnx.load(path, load_external_data=False)
    change(stored)
    path.write_bytes(stored.SerializeToString())
    with pytest.raises(UserError, match=says):
        read_onnx_file(path)
