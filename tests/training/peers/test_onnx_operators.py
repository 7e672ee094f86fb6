"""Operators of ONNX against the cases that its own specification computes."""

import functools
import importlib
import pkgutil
from typing import Any

import numpy as np
import pytest
import torch
from onnx import helper
from onnx.backend.test.case import node as specification

from training.peers.onnx_graph import attribute_of, torch_type
from training.peers.onnx_operators import OPERATORS

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

# Making the cases of pooling takes seconds (see `test_onnx_network`), and those of Cast are of types that torch lacks.
ELSEWHERE = {"AveragePool", "MaxPool", "Cast"}
KINDS = (np.bool_, np.int8, np.int32, np.int64, np.float32, np.float64)


@functools.cache
def all_cases() -> dict[str, list[Any]]:
    """The specification's cases by operator: those of one operator alone, of types that torch computes with."""
    wanted = {operator.lower() for operator in set(OPERATORS) - ELSEWHERE}
    for module in pkgutil.iter_modules(specification.__path__):
        if module.name.replace("_", "").removesuffix("op") in wanted:
            importlib.import_module(f"{specification.__name__}.{module.name}")
    found: dict[str, list[Any]] = {}
    # The public way to them makes the cases of all operators, which takes 20 seconds.
    for case in specification._NodeTestCases:
        operators = [node.op_type for node in case.model.graph.node]
        is_random = "training_dropout" in case.name and "zero_ratio" not in case.name
        inputs, outputs = case.data_sets[0]
        plain = all(
            not isinstance(one, list) and np.asarray(one).dtype in KINDS and np.size(one) for one in (*inputs, *outputs)
        )
        if len(operators) == 1 and plain and not is_random:
            found.setdefault(operators[0], []).append(case)
    return found


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - ELSEWHERE))
def test_an_operator_gives_what_the_specification_gives(operator: str) -> None:
    assert all_cases()[operator]
    for case in all_cases()[operator]:
        (node,) = case.model.graph.node
        attributes = {entry.name: attribute_of(helper.get_attribute_value(entry)) for entry in node.attribute}
        attributes.update(opset=case.model.opset_import[0].version, outputs=len(node.output))
        inputs, outputs = case.data_sets[0]
        given = dict(zip((one.name for one in case.model.graph.input), map(tensor_of, inputs), strict=True))
        found = OPERATORS[operator](attributes, *(given.get(name) for name in node.input))
        # Of what training alone uses, such as a mask, there is no second output.
        for ours, expected in zip(found if isinstance(found, tuple) else (found,), outputs, strict=False):
            torch.testing.assert_close(
                ours,
                tensor_of(expected),
                rtol=1e-4,
                atol=1e-5,
                equal_nan=True,
                msg=lambda told, name=case.name: f"{name}: {told}",
            )


def test_cast_cuts_fractions_off_and_makes_booleans_numbers() -> None:
    cut = OPERATORS["Cast"]({"dtype": torch.int64}, torch.tensor([-1.7, -0.5, 2.9]))
    assert isinstance(cut, torch.Tensor) and cut.tolist() == [-1, 0, 2]
    numbers = OPERATORS["Cast"]({"dtype": torch.float32}, torch.tensor([True, False]))
    assert isinstance(numbers, torch.Tensor) and numbers.dtype == torch.float32 and numbers.tolist() == [1.0, 0.0]


def tensor_of(value: Any) -> torch.Tensor:
    array = np.asarray(value)
    return torch.from_numpy(np.array(array)).to(torch_type(helper.np_dtype_to_tensor_dtype(array.dtype)))
