"""An ONNX recogniser as a torch module: embedded like any other, trained, and written back into its own file.

Node by node, with `training.peers.onnx_operators`; every array of weights is a parameter in the layout of the file, so
that what comes out is the file that came in with other numbers.
"""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shards.command import UserError, first_line
from training.peers.onnx_file import read_onnx_file
from training.peers.onnx_graph import (
    NORM,
    array_of,
    attribute_of,
    ends,
    input_scale_of,
    stripped,
    torch_type,
    trained_names,
    with_constants_as_initializers,
)
from training.peers.onnx_operators import OPERATORS

ONNX = "onnx"
"""Name of the backbones that are read from ONNX files, whose state dict says what they are."""

GRAPH = "graph"
"""The entry of the state dict that holds the graph without its weights."""

_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


class OnnxNetwork(nn.Module):
    """The network of an ONNX model: (N, 3, S, S) float32 -> (N, D) float32, for any N.

    The graph lies in the state dict beside the weights, as the buffer `graph` (bytes), so that a checkpoint can be
    read without the file. Dropout does nothing, batch norm learns as in torch.

    A model for batches of one fixed size is given a batch of any size at once, or, where its graph holds that size in
    more than its first axis (attention over stacked heads), in batches of that size, which takes longer.

    Args:
        model: with or without the numbers of its weights; without them they are 0.

    Attributes:
        size: side of the pictures in pixels, None where the model leaves it open.
        half_precision: whether the file holds weights of float16; here all are float32.
        input_scale: mean and deviation of its pictures' levels: 0 and 1 of a model that scales them itself.
        input_name, output_name: as in the file.

    Raises:
        UserError: more than one input or output, or an operator that recognisers do not use.
    """

    graph: Tensor

    def __init__(self, model: ModelProto) -> None:
        super().__init__()
        arrays = {entry.name: array_of(entry) for entry in model.graph.initializer}
        model = with_constants_as_initializers(model, arrays)
        (given,), (result,) = ends(model)
        self.input_name, self.output_name = given.name, result.name
        batch, _, side, _ = [one.dim_value or None for one in given.type.tensor_type.shape.dim]
        self.size, self._batch = side, batch
        self._takes_any_batch: bool | None = None
        self.half_precision = any(entry.data_type == TensorProto.FLOAT16 for entry in model.graph.initializer)
        self.input_scale = input_scale_of(model, given.name, arrays)
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
        self._nodes = [_Node(node, opset) for node in model.graph.node]
        _note_last_uses(self._nodes, self.output_name)
        self._trained = trained_names(model, arrays)
        self._constants = {name: value for name, value in arrays.items() if name not in self._trained}
        self.weights = nn.ParameterDict()
        self.norms = nn.ModuleDict()
        for number, node in enumerate(self._nodes):
            if node.operator == NORM:
                norm = _norm(node, arrays)
                self.norms[str(number)] = norm
                self._trained.update(
                    {name: f"norms.{number}.{part}" for name, part in zip(node.inputs[1:5], _NORM_PARTS, strict=True)}
                )
        for name, key in self._trained.items():
            if key.startswith("weights."):
                self.weights[key.removeprefix("weights.")] = nn.Parameter(arrays[name].clone())
        content = stripped(model, set(self._trained)).SerializeToString()
        self.register_buffer(GRAPH, torch.frombuffer(bytearray(content), dtype=torch.uint8))

    @staticmethod
    def from_state(state: Mapping[str, Tensor]) -> "OnnxNetwork":
        """Rebuild a network from its state dict alone.

        Raises:
            ValueError: the state dict holds no graph, or one that cannot be read.
        """
        if GRAPH not in state:
            raise ValueError(f"no entry {GRAPH!r}")
        try:
            network = OnnxNetwork(onnx.load_from_string(state[GRAPH].numpy().tobytes()))
            network.load_state_dict(dict(state))
        except (DecodeError, RuntimeError, UserError) as error:
            raise ValueError(str(error)) from error
        return network

    def forward(self, pictures: Tensor) -> Tensor:
        """(N, 3, S, S) -> (N, D), not normalised unless the model does."""
        if self._batch is None or len(pictures) == self._batch:
            return self._computed(pictures)
        if self._takes_any_batch is None:
            self._takes_any_batch = self._is_lifted(pictures.shape[-1])
        return self._computed(pictures) if self._takes_any_batch else self._in_batches(pictures)

    def _computed(self, pictures: Tensor) -> Tensor:
        values: dict[str, Any] = {self.input_name: pictures, "": None}
        batch = None if self._batch is None else (self._batch, len(pictures))
        for number, node in enumerate(self._nodes):
            if node.operator == NORM:
                found: Any = self.norms[str(number)](values[node.inputs[0]])
            else:
                inputs = [values[name] if name in values else self._stored(name, pictures) for name in node.inputs]
                found = OPERATORS[node.operator]({**node.attributes, "batch": batch}, *inputs)
            values.update(zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=False))
            for name in node.last_uses:
                values.pop(name, None)
        out: Tensor = values[self.output_name]
        return out

    def _in_batches(self, pictures: Tensor) -> Tensor:
        """Compute batches of the size that the file names, the last filled up with its last picture."""
        assert self._batch is not None
        parts = []
        for part in pictures.split(self._batch):
            filled = torch.cat([part, part[-1:].expand(self._batch - len(part), *part.shape[1:])])
            parts.append(self._computed(filled)[: len(part)])
        return torch.cat(parts)

    @torch.no_grad()
    def _is_lifted(self, side: int) -> bool:
        """Tell whether a batch of another size than the file's gives what batches of its size give."""
        assert self._batch is not None
        # On the CPU in float32: a GPU and mixed precision round batches of two sizes differently.
        twin = copy.deepcopy(self).cpu().eval()
        tried = torch.rand((self._batch + 1, 3, side, side), generator=torch.Generator().manual_seed(0)) * 2 - 1
        try:
            with torch.autocast("cpu", enabled=False):
                expected, found = twin._in_batches(tried), twin._computed(tried)
        except (RuntimeError, IndexError):
            return False
        return found.shape == expected.shape and torch.allclose(found, expected, rtol=1e-3, atol=1e-4)

    def to_model(self) -> ModelProto:
        """Return the ONNX model with the present weights: the names, shapes and operators of the file that came in."""
        model = onnx.load_from_string(self.graph.cpu().numpy().tobytes())
        state = self.state_dict()
        for entry in model.graph.initializer:
            if entry.name in self._trained:
                array = state[self._trained[entry.name]].detach().float().cpu().numpy()
                kept = numpy_helper.to_array(TensorProto(dims=[0], data_type=entry.data_type)).dtype
                entry.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(array, dtype=kept), entry.name))
        return model

    def _stored(self, name: str, pictures: Tensor) -> Tensor:
        key = self._trained.get(name)
        if key is not None:
            return self.weights[key.removeprefix("weights.")]
        value = self._constants[name]
        return value.to(pictures.device) if value.is_floating_point() else value


class _Node:
    """One operation of the graph.

    Attributes:
        operator: its name in ONNX.
        inputs, outputs: names of values.
        attributes: by name.
        last_uses: names of values that no later node needs.
    """

    def __init__(self, node: NodeProto, opset: int) -> None:
        if node.op_type not in OPERATORS and node.op_type != NORM:
            raise UserError(
                f"the ONNX operator {node.op_type} cannot be trained here; name the code that builds the network, "
                "as package.module:callable"
            )
        self.operator, self.inputs, self.outputs = node.op_type, list(node.input), list(node.output)
        self.attributes = {entry.name: attribute_of(helper.get_attribute_value(entry)) for entry in node.attribute}
        if node.op_type == "Cast":
            self.attributes["dtype"] = torch_type(self.attributes["to"])
        self.attributes.update(opset=opset, outputs=len(node.output))
        self.last_uses: list[str] = []


def read_onnx(path: Path) -> OnnxNetwork:
    """Read an ONNX file as a network that can be trained.

    Raises:
        UserError: no ONNX model, or a network that cannot be trained here.
    """
    model, _ = read_onnx_file(path)
    try:
        return OnnxNetwork(model)
    except (DecodeError, ValueError, OSError, IndexError, KeyError) as error:
        raise UserError(f"{path} is damaged or no ONNX model: {first_line(error)}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def _norm(node: _Node, arrays: dict[str, Tensor]) -> _BatchNorm:
    scale, bias, mean, variance = (arrays[name] for name in node.inputs[1:5])
    norm = _AnyBatchNorm(len(scale), eps=node.attributes.get("epsilon", 1e-5))
    norm.load_state_dict({"weight": scale, "bias": bias, "running_mean": mean, "running_var": variance}, strict=False)
    return norm


class _AnyBatchNorm(_BatchNorm):
    """Batch norm of (N, C, ...)."""

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim >= 2


def _note_last_uses(nodes: list[_Node], output: str) -> None:
    seen = {"", output}
    for node in reversed(nodes):
        node.last_uses = [name for name in {*node.inputs, *node.outputs} if name not in seen]
        seen.update(node.inputs, node.outputs)
