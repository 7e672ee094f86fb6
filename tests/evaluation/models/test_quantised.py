"""Eight bits for files of every age."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from evaluation.models.quantised import quantise
from pipeline.alignment.align import preprocessing


def network(operator_set: int) -> onnx.ModelProto:
    """A convolution and a product, (N, 3, 32, 32) to (N, 6)."""
    generator = np.random.default_rng(0)
    shapes = {"kernel": (4, 3, 3, 3), "matrix": (6, 4 * 16 * 16), "bias": (6,)}
    weights = [
        numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name) for name, shape in shapes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["pictures", "kernel"], ["maps"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["maps"], ["positive"]),
        helper.make_node("Flatten", ["positive"], ["flat"]),
        helper.make_node("Gemm", ["flat", "matrix", "bias"], ["embeddings"], transB=1),
    ]
    ends = (("pictures", ["N", 3, 32, 32]), ("embeddings", ["N", 6]))
    value, result = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ends)
    graph = helper.make_graph(nodes, "network", [value], [result], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", operator_set)], ir_version=7)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("operator_set", [11, 12, 13, 17])
def test_a_file_of_any_operator_set_loads_in_eight_bits(operator_set: int, tmp_path: Path) -> None:
    onnx.save(network(operator_set), tmp_path / "net.onnx")
    faces = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    quantise(tmp_path / "net.onnx", tmp_path / "eight.onnx", list(faces), preprocessing("paper", 32))
    # (N, 32, 32, 3) uint8 -> (N, 3, 32, 32) float32
    pictures = (faces.transpose(0, 3, 1, 2).astype(np.float32) - 127.5) / 127.5
    found, wanted = (
        onnxruntime.InferenceSession(tmp_path / name, providers=["CPUExecutionProvider"]).run(
            None, {"pictures": pictures}
        )[0]
        for name in ("eight.onnx", "net.onnx")
    )
    cosines = (found * wanted).sum(axis=1) / np.linalg.norm(found, axis=1) / np.linalg.norm(wanted, axis=1)
    assert 0.98 < cosines.min() < 1 - 1e-9
