"""ONNX files as networks that can be trained: equal to onnxruntime, for any batch, and written back as they came."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from shards.command import UserError
from training.networks.exported_file import load_trainable
from training.peers.onnx_graph import input_of_onnx
from training.peers.onnx_network import OnnxNetwork, read_onnx

SIZE = 32
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]


def small_network() -> nn.Module:
    """Convolutions, batch norms, a depthwise part, squeeze and excitation, pooling, a linear end: trained a little."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.PReLU(8),
        nn.Conv2d(8, 8, 3, 1, 1, groups=8),
        nn.Hardswish(),
        nn.MaxPool2d(2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * 4 * 4, 16),
        nn.BatchNorm1d(16),
    )
    for step in range(2):
        network(torch.rand(4, 3, SIZE, SIZE) * 2 - 1 + step)
    return network.eval()


def written(network: nn.Module, path: Path, batch: int | None) -> Path:
    """Export as people do: a fixed batch by the older exporter, an open one by the newer."""
    pictures = torch.zeros(batch or 2, 3, SIZE, SIZE)
    open_batch = {} if batch else {"dynamic_axes": {"data": {0: "N"}, "fc1": {0: "N"}}}
    torch.onnx.export(
        network,
        (pictures,),
        path,
        input_names=["data"],
        output_names=["fc1"],
        dynamo=False,
        **open_batch,
    )  # type: ignore[arg-type]
    return path


def by_onnxruntime(path: Path, pictures: Tensor, batch: int = 1) -> Tensor:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return torch.from_numpy(
        np.concatenate([session.run(None, {name: part.numpy()})[0] for part in pictures.split(batch)])
    )


@pytest.mark.parametrize("batch", [None, 1])
def test_it_equals_onnxruntime_and_goes_out_as_it_came(batch: int | None, tmp_path: Path) -> None:
    path = written(small_network(), tmp_path / "model.onnx", batch)
    pictures = torch.rand(3, 3, SIZE, SIZE) * 2 - 1
    network = read_onnx(path).eval()
    with torch.no_grad():
        torch.testing.assert_close(network(pictures), by_onnxruntime(path, pictures), atol=1e-5, rtol=1e-5)
    again = OnnxNetwork.from_state(network.state_dict()).eval()
    with torch.no_grad():
        for parameter in again.parameters():
            parameter.mul_(1.5)
        expected = again(pictures)
    out = tmp_path / "out.onnx"
    onnx.save(again.to_model(), out)
    onnx.checker.check_model(out)
    torch.testing.assert_close(by_onnxruntime(out, pictures), expected, atol=1e-4, rtol=1e-4)
    first, last = onnx.load(path), onnx.load(out)
    for end in ("input", "output"):
        assert getattr(first.graph, end) == getattr(last.graph, end)


def test_gradients_are_those_of_the_network_that_was_exported(tmp_path: Path) -> None:
    network = small_network()
    # Kept as it is: the exporter folds batch norm into convolutions, whose gradients are others.
    unfolded = nn.Sequential(*(layer for layer in network if not isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)))
    twin = read_onnx(written(unfolded, tmp_path / "model.onnx", None))
    pictures = torch.rand(2, 3, SIZE, SIZE)
    for one in (unfolded, twin):
        one(pictures).square().sum().backward()
    ours = {tuple(p.shape): p.grad for p in unfolded.parameters() if p.ndim > 1}
    theirs = {tuple(p.shape): p.grad for p in twin.parameters() if p.ndim > 1}
    assert ours.keys() <= theirs.keys()
    for shape, gradient in ours.items():
        torch.testing.assert_close(theirs[shape], gradient)


def graph_of(operator: str, constants: list[np.ndarray], *, opset: int = 17, **attributes: object) -> onnx.ModelProto:
    """A model of one operator between a convolution and the flat output."""
    names = [f"c{place}" for place in range(len(constants))]
    weight = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node(operator, ["a", *names], ["b"], **attributes),
        helper.make_node("Flatten", ["b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", None])],
        [
            numpy_helper.from_array(weight, "w"),
            *(numpy_helper.from_array(value, name) for value, name in zip(constants, names, strict=True)),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def floats(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def integers(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.int64)


OPERATIONS: list[Callable[[], onnx.ModelProto]] = [
    lambda: graph_of("AveragePool", [], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
    lambda: graph_of("AveragePool", [], kernel_shape=[3, 3], pads=[1, 1, 1, 1], count_include_pad=1),
    lambda: graph_of("AveragePool", [], kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1),
    lambda: graph_of(
        "AveragePool", [], kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4, ceil_mode=1, count_include_pad=1
    ),
    lambda: graph_of("AveragePool", [], kernel_shape=[3, 3], pads=[2, 2, 2, 2], count_include_pad=1),
    lambda: graph_of("AveragePool", [], kernel_shape=[2, 2], dilations=[2, 2], opset=19),
    lambda: graph_of("MaxPool", [], kernel_shape=[3, 3], pads=[2, 2, 2, 2], dilations=[2, 2]),
    lambda: graph_of("MaxPool", [], kernel_shape=[3, 3], strides=[3, 3], pads=[1, 1, 1, 1], ceil_mode=1),
    lambda: graph_of("MaxPool", [], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER"),
    lambda: graph_of("MaxPool", [], kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER"),
    lambda: graph_of("MaxPool", [], kernel_shape=[2, 2], strides=[3, 3], ceil_mode=1),
    lambda: graph_of("GlobalAveragePool", []),
    lambda: graph_of("PRelu", [np.full((4, 1, 1), 0.3, np.float32)]),
    lambda: graph_of("PRelu", [floats(0.2)]),
    lambda: graph_of("LeakyRelu", [], alpha=0.2),
    lambda: graph_of("Clip", [np.float32(0).reshape(()), np.float32(0.5).reshape(())]),
    lambda: graph_of("HardSigmoid", [], alpha=0.3, beta=0.4),
    lambda: graph_of("Softmax", [], axis=1),
    lambda: graph_of("LpNormalization", [], axis=1, p=2),
    lambda: graph_of("LayerNormalization", [np.ones(8, np.float32), np.zeros(8, np.float32)], axis=-1, epsilon=1e-3),
    lambda: graph_of("ReduceMean", [], axes=[2, 3], keepdims=0),
    lambda: graph_of("ReduceL2", [], axes=[1], keepdims=1),
    lambda: graph_of("Slice", [integers(1), integers(-1), integers(2)]),
    lambda: graph_of("Slice", [integers(6), integers(1), integers(3), integers(-2)]),
    lambda: graph_of("Gather", [integers(0, -1)], axis=1),
    lambda: graph_of("Pad", [integers(0, 0, 1, 2, 0, 0, 0, 1), np.float32(0.5).reshape(())]),
    lambda: graph_of("Pad", [integers(0, 0, 1, 1, 0, 0, 2, 1)], mode="reflect"),
    lambda: graph_of("Transpose", [], perm=[0, 2, 3, 1]),
    lambda: graph_of("Reshape", [integers(0, 2, -1)]),
    lambda: graph_of("Unsqueeze", [integers(1, -1)]),
    lambda: graph_of("MatMul", [np.random.default_rng(2).normal(size=(8, 5)).astype(np.float32)]),
    lambda: graph_of("Pow", [floats(2)]),
    lambda: graph_of("Erf", []),
    lambda: graph_of("BatchNormalization", [floats(1, 2, 3, 4), floats(1, 0, 1, 2)] * 2),
]


@pytest.mark.parametrize("build", OPERATIONS, ids=lambda build: f"{build().graph.node[1].op_type}")
def test_operators_are_those_of_onnx(build: Callable[[], onnx.ModelProto], tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(build(), path)
    pictures = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, 8, 8)).astype(np.float32))
    with torch.no_grad():
        found = read_onnx(path).eval()(pictures)
    torch.testing.assert_close(found, by_onnxruntime(path, pictures, 2), atol=1e-5, rtol=1e-5)


class Transformer(nn.Module):
    """A class token and one layer of attention over 2 x 2 patches, by the batch's own size."""

    def __init__(self, stacked: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(3, 16, SIZE // 2, SIZE // 2)
        self.token = nn.Parameter(torch.randn(1, 1, 16))
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.qkv, self.end = nn.Linear(16, 48), nn.Linear(16, 8)
        self.stacked = stacked

    def forward(self, pictures: Tensor) -> Tensor:
        count = pictures.size(0)
        x = torch.cat([self.token.expand(count, -1, -1), self.patches(pictures).flatten(2).transpose(1, 2)], 1)
        if self.stacked:
            # Its heads are stacked into the batch, whose size the exporter then writes as a number of its own.
            x = x + self.attention(x, x, x, need_weights=False)[0]
        else:
            # (N, T, 48) -> (3, N, 2, T, 8)
            q, k, v = self.qkv(x).reshape(count, x.size(1), 3, 2, 8).permute(2, 0, 3, 1, 4).unbind(0)
            x = x + ((q @ k.transpose(-2, -1)).softmax(-1) @ v).transpose(1, 2).reshape(count, x.size(1), 16)
        found: Tensor = self.end(x[:, 0].view(count, -1))
        return found


@pytest.mark.parametrize("stacked", [False, True])
@pytest.mark.parametrize("batch", [None, 1, 2])
def test_a_transformer_takes_any_batch_and_is_trained(batch: int | None, stacked: bool, tmp_path: Path) -> None:
    original = Transformer(stacked).eval()
    network = load_trainable(written(original, tmp_path / "model.onnx", batch)).backbone
    pictures = torch.rand(5, 3, SIZE, SIZE) * 2 - 1
    for count in (1, 2, 5):
        torch.testing.assert_close(network(pictures[:count]), original(pictures[:count]), atol=1e-5, rtol=1e-4)
    for one in (network, original):
        one(pictures).square().sum().backward()
    (ours,) = [p.grad for p in network.parameters() if p.shape == original.patches.weight.shape]
    torch.testing.assert_close(ours, original.patches.weight.grad, atol=1e-5, rtol=1e-4)


def test_trying_whether_a_batch_fits_leaves_the_modes_of_layers(tmp_path: Path) -> None:
    path = written(nn.Sequential(nn.BatchNorm2d(3), small_network()), tmp_path / "model.onnx", 1)
    network = read_onnx(path).train()
    norms = list(network.norms.values())
    assert norms
    norms[0].eval()
    network(torch.rand(3, 3, SIZE, SIZE))
    assert network.training and not norms[0].training


def test_whether_a_batch_fits_is_tried_without_mixed_precision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = read_onnx(written(Transformer(stacked=False).eval(), tmp_path / "model.onnx", 1)).eval()
    mixed: list[bool] = []
    original = OnnxNetwork._in_batches

    def watched(self: OnnxNetwork, pictures: Tensor) -> Tensor:
        mixed.append(torch.is_autocast_enabled("cpu"))
        return original(self, pictures)

    monkeypatch.setattr(OnnxNetwork, "_in_batches", watched)
    with torch.autocast("cpu", torch.bfloat16):
        network(torch.rand(3, 3, SIZE, SIZE))
    # Once, by the trial: the pictures themselves go at once.
    assert mixed == [False]


def test_a_model_that_scales_pictures_itself_is_given_levels(tmp_path: Path) -> None:
    class Scales(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_network()

        def forward(self, levels: Tensor) -> Tensor:
            found: Tensor = self.network((levels - 127.5) * 0.0078125)
            return found

    path = written(Scales(), tmp_path / "model.onnx", 1)
    assert input_of_onnx(path) == (SIZE, (0.0, 1.0))
    loaded = load_trainable(path)
    pictures = torch.rand(2, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(
            loaded.backbone(pictures), by_onnxruntime(path, pictures * 127.5 + 127.5), atol=1e-4, rtol=1e-4
        )


def test_a_model_of_half_precision_is_trained_in_float32_and_goes_out_in_half(tmp_path: Path) -> None:
    class Half(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = small_network().half()

        def forward(self, pictures: Tensor) -> Tensor:
            found: Tensor = self.network(pictures.half()).float()
            return found

    loaded = load_trainable(written(Half().eval(), tmp_path / "model.onnx", None))
    network = loaded.backbone
    assert isinstance(network, OnnxNetwork)
    pictures = torch.rand(3, 3, SIZE, SIZE) * 2 - 1
    with torch.no_grad():
        found, expected = network(pictures), small_network()(pictures)
    torch.testing.assert_close(found, expected, atol=5e-3, rtol=5e-3)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    out = tmp_path / "out.onnx"
    onnx.save(network.to_model(), out)
    torch.testing.assert_close(by_onnxruntime(out, pictures), found, atol=5e-3, rtol=5e-3)
    kept = [{entry.data_type for entry in onnx.load(path).graph.initializer} for path in (tmp_path / "model.onnx", out)]
    assert kept[0] == kept[1] and TensorProto.FLOAT16 in kept[0]


def test_a_model_with_an_unknown_operator_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    onnx.save(graph_of("Celu", []), path)
    with pytest.raises(UserError, match=r"operator Celu .*package.module:callable"):
        load_trainable(path)


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = written(small_network(), tmp_path / "model.onnx", 1)
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="damaged"):
        load_trainable(path)


def test_a_model_that_torch_cannot_compute_is_refused_with_a_way_out(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    # torch reflects no more than the last three dimensions.
    onnx.save(graph_of("Pad", [integers(1, 0, 0, 0, 1, 0, 0, 0)], mode="reflect"), path)
    with pytest.raises(UserError, match=r"cannot be computed by torch .*package.module:callable"):
        load_trainable(path)
