"""The graph of an ONNX model before it becomes a network: its ends, its constants, and which of them are learnt."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import ModelProto, TensorProto, helper, numpy_helper
from torch import Tensor

from shards.command import UserError, first_line

NORM = "BatchNormalization"


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
    return given.type.tensor_type.shape.dim[2].dim_value or None, input_scale_of(model, given.name, constants)


def ends(model: ModelProto) -> tuple[list[Any], list[Any]]:
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


def input_scale_of(model: ModelProto, name: str, constants: Collection[str]) -> tuple[float, float]:
    """Return mean and deviation of the pictures: 0 and 1 where the first operation scales by constants."""
    first = next((node for node in model.graph.node if name in node.input), None)
    scales = first is not None and first.op_type in ("Sub", "Add", "Mul", "Div")
    if scales and any(other in constants for other in first.input):  # type: ignore[union-attr]
        return 0.0, 1.0
    return 127.5, 127.5


def trained_names(model: ModelProto, arrays: dict[str, Tensor]) -> dict[str, str]:
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
            if learnt and node.op_type != NORM and name not in names:
                names[name] = f"weights.{len(names)}"
    return names


def with_constants_as_initializers(model: ModelProto, arrays: dict[str, Tensor]) -> ModelProto:
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
        arrays[entry.name] = array_of(entry)
    _untie(made, arrays)
    return made


def stripped(model: ModelProto, names: set[str]) -> ModelProto:
    """Return the model without the numbers of the weights that are named."""
    made = ModelProto()
    made.CopyFrom(model)
    for entry in made.graph.initializer:
        if entry.name in names:
            kept = TensorProto(name=entry.name, data_type=entry.data_type, dims=entry.dims)
            entry.CopyFrom(kept)
    return made


def array_of(entry: TensorProto) -> Tensor:
    """Return the numbers of an initializer, zeros where it was written without them."""
    empty = not entry.raw_data and not any(
        len(getattr(entry, field)) for field in ("float_data", "int32_data", "int64_data", "double_data")
    )
    if empty:
        return torch.zeros(list(entry.dims), dtype=torch_type(entry.data_type))
    array = torch.from_numpy(np.array(numpy_helper.to_array(entry)))
    return array.float() if array.dtype in (torch.float16, torch.float64) else array


def attribute_of(value: Any) -> Any:
    """Return a node's attribute as a number, a text, a list or a tensor."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return array_of(value)
    return list(value) if not isinstance(value, int | float | str) else value


def torch_type(number: int) -> torch.dtype:
    """Return the type that a number of ONNX names; every real one is computed as float32."""
    name = np.dtype(helper.tensor_dtype_to_np_dtype(number)).name
    kind = torch.float32 if name in ("float16", "float64") else getattr(torch, name, None)
    assert isinstance(kind, torch.dtype)
    return kind


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
