"""An ONNX recogniser as a torch module: embedded like any other, trained, and written back into its own file.

Node by node, with `training.peers.onnx_operators`; every array of weights is a parameter in the layout of the file, so
that what comes out is the file that came in with other numbers.
"""

from collections.abc import Collection, Mapping
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
from training.peers.onnx_operators import OPERATORS

ONNX = "onnx"
"""Name of the backbones that are read from ONNX files, whose state dict says what they are."""

GRAPH = "graph"
"""The entry of the state dict that holds the graph without its weights."""

_NORM = "BatchNormalization"
_NORM_PARTS = ("weight", "bias", "running_mean", "running_var")


class OnnxNetwork(nn.Module):
    """The network of an ONNX model: (N, 3, S, S) float32 -> (N, D) float32, for any N.

    The graph lies in the state dict beside the weights, as the buffer `graph` (bytes), so that a checkpoint can be
    read without the file. Dropout does nothing, batch norm learns as in torch.

    Args:
        model: with or without the numbers of its weights; without them they are 0.

    Attributes:
        size: side of the pictures in pixels, None where the model leaves it open.
        input_scale: mean and deviation of its pictures' levels: 0 and 1 of a model that scales them itself.
        input_name, output_name: as in the file.

    Raises:
        UserError: more than one input or output, or an operator that recognisers do not use.
    """

    graph: Tensor

    def __init__(self, model: ModelProto) -> None:
        super().__init__()
        arrays = {entry.name: _array(entry) for entry in model.graph.initializer}
        model = _with_constants_as_initializers(model, arrays)
        (given,), (result,) = _ends(model)
        self.input_name, self.output_name = given.name, result.name
        batch, _, side, _ = [one.dim_value or None for one in given.type.tensor_type.shape.dim]
        self.size, self._batch = side, batch
        self.input_scale = _input_scale(model, given.name, arrays)
        opset = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 1)
        self._nodes = [_Node(node, opset) for node in model.graph.node]
        _note_last_uses(self._nodes, self.output_name)
        self._trained = _trained_names(model, arrays)
        self._constants = {name: value for name, value in arrays.items() if name not in self._trained}
        self.weights = nn.ParameterDict()
        self.norms = nn.ModuleDict()
        for number, node in enumerate(self._nodes):
            if node.operator == _NORM:
                norm = _norm(node, arrays)
                self.norms[str(number)] = norm
                self._trained.update(
                    {name: f"norms.{number}.{part}" for name, part in zip(node.inputs[1:5], _NORM_PARTS, strict=True)}
                )
        for name, key in self._trained.items():
            if key.startswith("weights."):
                self.weights[key.removeprefix("weights.")] = nn.Parameter(arrays[name].clone())
        content = _stripped(model, set(self._trained)).SerializeToString()
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
        values: dict[str, Any] = {self.input_name: pictures, "": None}
        batch = None if self._batch is None else (self._batch, len(pictures))
        for number, node in enumerate(self._nodes):
            if node.operator == _NORM:
                found: Any = self.norms[str(number)](values[node.inputs[0]])
            else:
                inputs = [values[name] if name in values else self._stored(name, pictures) for name in node.inputs]
                found = OPERATORS[node.operator]({**node.attributes, "batch": batch}, *inputs)
            values.update(zip(node.outputs, found if isinstance(found, tuple) else (found,), strict=False))
            for name in node.last_uses:
                values.pop(name, None)
        out: Tensor = values[self.output_name]
        return out

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
        if node.op_type not in OPERATORS and node.op_type != _NORM:
            raise UserError(
                f"the ONNX operator {node.op_type} cannot be trained here; name the code that builds the network, "
                "as package.module:callable"
            )
        self.operator, self.inputs, self.outputs = node.op_type, list(node.input), list(node.output)
        self.attributes = {entry.name: _attribute(helper.get_attribute_value(entry)) for entry in node.attribute}
        if node.op_type == "Cast":
            self.attributes["dtype"] = _torch_type(self.attributes["to"])
        self.attributes.update(opset=opset, outputs=len(node.output))
        self.last_uses: list[str] = []


def read_onnx(path: Path) -> OnnxNetwork:
    """Read an ONNX file as a network that can be trained.

    Raises:
        UserError: no ONNX model, or a network that cannot be trained here.
    """
    try:
        return OnnxNetwork(onnx.load(path, load_external_data=False))
    except (DecodeError, ValueError, OSError, IndexError, KeyError) as error:
        raise UserError(f"{path} is damaged or no ONNX model: {first_line(error)}") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def input_of_onnx(path: Path) -> tuple[int | None, tuple[float, float]]:
    """Return the side of an ONNX model's pictures, None where it is open, and the mean and deviation of their levels.

    Raises:
        UserError: no ONNX model.
    """
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, ValueError, OSError) as error:
        raise UserError(f"{path} is damaged or no ONNX model: {first_line(error)}") from error
    constants = {entry.name for entry in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    given = next((one for one in model.graph.input if one.name not in constants), None)
    if given is None or len(given.type.tensor_type.shape.dim) != 4:
        return None, (127.5, 127.5)
    return given.type.tensor_type.shape.dim[2].dim_value or None, _input_scale(model, given.name, constants)


def _array(entry: TensorProto) -> Tensor:
    """Return the numbers of an initializer, zeros where it was written without them."""
    empty = not entry.raw_data and not any(
        len(getattr(entry, field)) for field in ("float_data", "int32_data", "int64_data", "double_data")
    )
    if empty:
        return torch.zeros(list(entry.dims), dtype=_torch_type(entry.data_type))
    array = torch.from_numpy(np.array(numpy_helper.to_array(entry)))
    return array.float() if array.dtype in (torch.float16, torch.float64) else array


def _attribute(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return _array(value)
    return list(value) if not isinstance(value, int | float | str) else value


def _torch_type(number: int) -> torch.dtype:
    name = np.dtype(helper.tensor_dtype_to_np_dtype(number)).name
    kind = torch.float32 if name in ("float16", "float64") else getattr(torch, name, None)
    assert isinstance(kind, torch.dtype)
    return kind


def _with_constants_as_initializers(model: ModelProto, arrays: dict[str, Tensor]) -> ModelProto:
    """Return the model with all its constants as initializers, each used once, and add the new ones to the arrays."""
    made = ModelProto()
    made.CopyFrom(model)
    # Before version 4 of the format an initializer had to be an input as well.
    made.ir_version = max(made.ir_version, 4)
    nodes = list(made.graph.node)
    del made.graph.node[:]
    named_again: dict[str, str] = {}
    for node in nodes:
        node.input[:] = [named_again.get(name, name) for name in node.input]
        if node.op_type == "Identity" and node.input[0] in arrays:
            named_again[node.output[0]] = node.input[0]
            continue
        if node.op_type != "Constant":
            made.graph.node.append(node)
            continue
        value = helper.get_attribute_value(node.attribute[0])
        entry = TensorProto()
        entry.CopyFrom(value if isinstance(value, TensorProto) else numpy_helper.from_array(_plain_array(value)))
        entry.name = node.output[0]
        made.graph.initializer.append(entry)
        arrays[entry.name] = _array(entry)
    _untie(made, arrays)
    return made


def _untie(model: ModelProto, arrays: dict[str, Tensor]) -> None:
    """Give every use of a weight its own: exporters write equal arrays, such as new biases, once for many layers."""
    entries = {entry.name: entry for entry in model.graph.initializer}
    used: set[str] = set()
    for number, node in enumerate(model.graph.node):
        for place, name in enumerate(node.input):
            if name in entries and name in used and arrays[name].is_floating_point() and arrays[name].numel() > 1:
                own = model.graph.initializer.add()
                own.CopyFrom(entries[name])
                own.name = f"{name}.of_node_{number}"
                arrays[own.name] = arrays[name]
                node.input[place] = own.name
            used.add(name)


def _plain_array(value: Any) -> np.ndarray:
    array = np.array(value)
    return array.astype(np.float32) if array.dtype == np.float64 else array


def _ends(model: ModelProto) -> tuple[list[Any], list[Any]]:
    """Return the input and the output, which must be one each and of pictures and embeddings."""
    weights = {entry.name for entry in model.graph.initializer}
    inputs, outputs = [one for one in model.graph.input if one.name not in weights], list(model.graph.output)
    shape = list(inputs[0].type.tensor_type.shape.dim) if len(inputs) == 1 else []
    if len(shape) != 4 or shape[1].dim_value not in (0, 3) or len(outputs) != 1:
        raise UserError(
            f"an ONNX model of {len(inputs)} inputs and {len(outputs)} outputs; expected one input (N, 3, S, S) "
            "and one output (N, D)"
        )
    return inputs, outputs


def _input_scale(model: ModelProto, name: str, constants: Collection[str]) -> tuple[float, float]:
    """Return mean and deviation of the pictures: 0 and 1 where the first operation scales by constants."""
    first = next((node for node in model.graph.node if name in node.input), None)
    scales = first is not None and first.op_type in ("Sub", "Add", "Mul", "Div")
    if scales and any(other in constants for other in first.input):  # type: ignore[union-attr]
        return 0.0, 1.0
    return 127.5, 127.5


def _trained_names(model: ModelProto, arrays: dict[str, Tensor]) -> dict[str, str]:
    """Return the weights that are learnt, by their names in the file: their keys in the state dict.

    Numbers that prepare the pictures, single numbers and the parts of batch norms, which are modules, are no such
    weights.
    """
    given = {one.name for one in model.graph.input}
    names: dict[str, str] = {}
    prepares = {name for node in model.graph.node if given & set(node.input) for name in node.input}
    for node in model.graph.node:
        for name in node.input:
            value = arrays.get(name)
            prepared = name in prepares and node.op_type != "Conv"
            learnt = value is not None and value.is_floating_point() and value.numel() > 1 and not prepared
            if learnt and node.op_type != _NORM and name not in names:
                names[name] = f"weights.{len(names)}"
    return names


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


def _stripped(model: ModelProto, names: set[str]) -> ModelProto:
    """Return the model without the numbers of the weights that are named."""
    made = ModelProto()
    made.CopyFrom(model)
    for entry in made.graph.initializer:
        if entry.name in names:
            kept = TensorProto(name=entry.name, data_type=entry.data_type, dims=entry.dims)
            entry.CopyFrom(kept)
    return made
