"""The operators of ONNX that face recognisers use, as functions of torch tensors.

Each takes the node's inputs, None for one that is left out, and its attributes by name; the attribute `opset` is the
version of the operator set. After the operators' definitions in the ONNX specification.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from training.peers.onnx_windows import average_pool, conv, max_pool

Attributes = dict[str, Any]
Operator = Callable[..., Tensor | tuple[Tensor, ...]]

_SELU = (1.67326319217681884765625, 1.05070102214813232421875)


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = (x.mT if a.get("transA") else x) @ (weight.mT if a.get("transB") else weight)
    out = out * a["alpha"] if a.get("alpha", 1.0) != 1 else out
    return out if bias is None else out + bias * a.get("beta", 1.0)


def _prelu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() == 1 or (x.ndim > 1 and slope.ndim == x.ndim - 1 and slope.numel() == x.shape[1] == len(slope)):
        return functional.prelu(x, slope.flatten())
    return torch.where(x >= 0, x, slope * x)


def _reshape(a: Attributes, x: Tensor, shape: Tensor | None = None) -> Tensor:
    wanted = a["shape"] if shape is None else shape.tolist()
    if not a.get("allowzero"):
        wanted = [x.shape[place] if side == 0 else side for place, side in enumerate(wanted)]
    # A network for batches of one fixed size names it; any other size takes its place.
    batch = a.get("batch")
    if batch is not None and len(wanted) > 1 and x.is_floating_point() and wanted[0] == batch[0]:
        wanted = [batch[1], *wanted[1:]]
    return x.reshape(wanted)


def _concat(a: Attributes, *parts: Tensor) -> Tensor:
    batch = a.get("batch")
    if batch is not None and a["axis"] % parts[0].ndim != 0:
        # What is the same for every picture, such as a class token, was written once for each of the fixed batch.
        parts = tuple(part.expand(batch[1], *part.shape[1:]) if len(part) == batch[0] == 1 else part for part in parts)
    return torch.cat(parts, a["axis"])


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1)
    # An axis counted from the end never means the place behind the last.
    return x.reshape(math.prod(x.shape[: axis if axis >= 0 else axis + x.ndim]), -1)


def _axes(a: Attributes, axes: Tensor | None) -> list[int] | None:
    return a.get("axes") if axes is None else axes.flatten().tolist()


def _squeeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    places = _axes(a, axes)
    return x.squeeze() if places is None else x.squeeze(tuple(places))


def _unsqueeze(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
    places = _axes(a, axes) or []
    for place in sorted(place % (x.ndim + len(places)) for place in places):
        x = x.unsqueeze(place)
    return x


def _reduced(reduce: Callable[..., Tensor]) -> Operator:
    def operator(a: Attributes, x: Tensor, axes: Tensor | None = None) -> Tensor:
        places = _axes(a, axes)
        if not places and a.get("noop_with_empty_axes"):
            return x
        return reduce(x, tuple(places or range(x.ndim)), keepdim=bool(a.get("keepdims", 1)))

    return operator


def _slice(a: Attributes, x: Tensor, *given: Tensor | None) -> Tensor:
    starts, ends, axes, steps = [None if one is None else one.tolist() for one in (*given, *[None] * (4 - len(given)))]
    starts, ends, axes = starts or a["starts"], ends or a["ends"], axes or a.get("axes")
    for number, (start, end) in enumerate(zip(starts, ends, strict=True)):
        axis, step = (axes[number] if axes else number), (steps[number] if steps else 1)
        places = range(x.shape[axis])[start:end:step]
        x = x.index_select(axis, torch.tensor(list(places), dtype=torch.long, device=x.device))
    return x


def _gather(a: Attributes, x: Tensor, places: Tensor) -> Tensor:
    axis = a.get("axis", 0) % x.ndim
    places = places.to(x.device)
    found = x.index_select(axis, torch.where(places < 0, places + x.shape[axis], places).flatten())
    return found.reshape((*x.shape[:axis], *places.shape, *x.shape[axis + 1 :]))


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    parts = a.get("split") if sizes is None else sizes.tolist()
    if parts is None:
        # Equal parts; the last one is smaller where they do not divide the side.
        return tuple(x.split(-(-x.shape[axis] // a["outputs"]), axis))
    return tuple(x.split(parts, axis))


def _along_axis(function: Callable[..., Tensor]) -> Operator:
    def operator(a: Attributes, x: Tensor) -> Tensor:
        if a["opset"] >= 13:
            return function(x, a.get("axis", -1))
        # Before, over all dimensions from the axis on.
        return function(x.flatten(a.get("axis", 1)), -1).reshape(x.shape)

    return operator


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least, most = a.get("min") if low is None else low.item(), a.get("max") if high is None else high.item()
    return x if least is None and most is None else x.clamp(least, most)


def _pad(
    a: Attributes, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, axes: Tensor | None = None
) -> Tensor:
    given = a["pads"] if pads is None else pads.tolist()
    padded = list(range(x.ndim)) if axes is None else [place % x.ndim for place in axes.tolist()]
    sides = {place: (given[number], given[number + len(padded)]) for number, place in enumerate(padded)}
    pairs = [side for place in reversed(range(x.ndim)) for side in sides.get(place, (0, 0))]
    fill = a.get("value", 0.0) if value is None else value.item()
    if a.get("mode", "constant") == "constant":
        return functional.pad(x, pairs, value=fill)
    # torch repeats and reflects the last dimensions alone.
    while pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]
    return functional.pad(x, pairs, {"edge": "replicate", "reflect": "reflect", "wrap": "circular"}[a["mode"]])


def _layer_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    sides = x.shape[a.get("axis", -1) % x.ndim :]
    return functional.layer_norm(x, sides, scale.expand(sides), bias, a.get("epsilon", 1e-5))


def _lp_normalize(a: Attributes, x: Tensor) -> Tensor:
    length = x.norm(a.get("p", 2), dim=a.get("axis", -1), keepdim=True)
    return torch.where(length == 0, torch.zeros_like(x), x / length)


def _cast(a: Attributes, x: Tensor) -> Tensor:
    return x.to(a["dtype"])


def _local_response(a: Attributes, x: Tensor) -> Tensor:
    size = a["size"]
    # (N, C, ...) -> (N, 1, C, L): a window over the channels, shorter at both ends, divided by its full size.
    squares = x.square().flatten(2).unsqueeze(1) if x.ndim > 2 else x.square()[:, None, :, None]
    squares = functional.pad(squares, (0, 0, (size - 1) // 2, size // 2))
    mean = functional.avg_pool2d(squares, (size, 1), 1).reshape(x.shape)
    return x / (a.get("bias", 1.0) + a.get("alpha", 1e-4) * mean) ** a.get("beta", 0.75)


def _hard_sigmoid(a: Attributes, x: Tensor) -> Tensor:
    return (x * a.get("alpha", 0.2) + a.get("beta", 0.5)).clamp(0, 1)


def _divide(a: Attributes, x: Tensor, y: Tensor) -> Tensor:
    return x / y if x.is_floating_point() else torch.div(x, y, rounding_mode="trunc")


def _simple(function: Callable[..., Tensor]) -> Operator:
    return lambda a, *inputs: function(*inputs)


OPERATORS: dict[str, Operator] = {
    "Abs": _simple(torch.abs),
    "Add": _simple(torch.add),
    "And": _simple(torch.logical_and),
    "AveragePool": average_pool,
    "Cast": _cast,
    "Ceil": _simple(torch.ceil),
    "Clip": _clip,
    "Concat": _concat,
    "ConstantOfShape": lambda a, shape: torch.full(shape.tolist(), a["value"].item() if "value" in a else 0.0).to(
        a["value"].dtype if "value" in a else torch.float32
    ),
    "Conv": conv,
    "Cos": _simple(torch.cos),
    "Div": _divide,
    "Dropout": lambda a, x, *_: x,
    "Einsum": lambda a, *parts: torch.einsum(a["equation"], *parts),
    "Elu": lambda a, x: functional.elu(x, a.get("alpha", 1.0)),
    "Equal": _simple(torch.eq),
    "Erf": _simple(torch.erf),
    "Exp": _simple(torch.exp),
    "Expand": lambda a, x, shape: x.expand(torch.broadcast_shapes(x.shape, shape.tolist())),
    "Flatten": _flatten,
    "Floor": _simple(torch.floor),
    "Gather": _gather,
    "Gelu": lambda a, x: functional.gelu(x, approximate=a.get("approximate", "none")),
    "Gemm": _gemm,
    "GlobalAveragePool": lambda a, x: x.mean(tuple(range(2, x.ndim)), keepdim=True),
    "GlobalMaxPool": lambda a, x: x.amax(tuple(range(2, x.ndim)), keepdim=True),
    "Greater": _simple(torch.gt),
    "GreaterOrEqual": _simple(torch.ge),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _simple(functional.hardswish),
    "Identity": _simple(lambda x: x),
    "InstanceNormalization": lambda a, x, scale, bias: functional.instance_norm(
        x, weight=scale, bias=bias, eps=a.get("epsilon", 1e-5)
    ),
    "LRN": _local_response,
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "Less": _simple(torch.lt),
    "LessOrEqual": _simple(torch.le),
    "Log": _simple(torch.log),
    "LogSoftmax": _along_axis(torch.log_softmax),
    "LpNormalization": _lp_normalize,
    "MatMul": _simple(torch.matmul),
    "Max": _simple(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amax(0)),
    "MaxPool": max_pool,
    "Mean": _simple(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).mean(0)),
    "Min": _simple(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amin(0)),
    "Mish": _simple(functional.mish),
    "Mod": lambda a, x, y: torch.fmod(x, y) if a.get("fmod") else torch.remainder(x, y),
    "Mul": _simple(torch.mul),
    "Neg": _simple(torch.neg),
    "Not": _simple(torch.logical_not),
    "Or": _simple(torch.logical_or),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": lambda a, x, y: torch.pow(x, y).to(x.dtype),
    "Range": lambda a, start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype),
    "Reciprocal": _simple(torch.reciprocal),
    "ReduceL1": _reduced(lambda x, places, keepdim: x.abs().sum(places, keepdim)),
    "ReduceL2": _reduced(lambda x, places, keepdim: torch.linalg.vector_norm(x, 2, places, keepdim)),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "ReduceSumSquare": _reduced(lambda x, places, keepdim: x.square().sum(places, keepdim)),
    "Relu": _simple(torch.relu),
    "Reshape": _reshape,
    "Round": _simple(torch.round),
    "Selu": lambda a, x: a.get("gamma", _SELU[1]) * functional.elu(x, a.get("alpha", _SELU[0])),
    "Shape": lambda a, x: torch.tensor(x.shape)[a.get("start") : a.get("end")],
    "Sigmoid": _simple(torch.sigmoid),
    "Sign": _simple(torch.sign),
    "Sin": _simple(torch.sin),
    "Slice": _slice,
    "Softmax": _along_axis(torch.softmax),
    "Softplus": _simple(functional.softplus),
    "Split": _split,
    "Sqrt": _simple(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _simple(torch.sub),
    "Sum": _simple(lambda *xs: sum(xs[1:], xs[0])),
    "Tanh": _simple(torch.tanh),
    "Tile": lambda a, x, repeats: x.tile(repeats.tolist()),
    "Transpose": lambda a, x: x.permute(a.get("perm", list(reversed(range(x.ndim))))),
    "Unsqueeze": _unsqueeze,
    "Where": _simple(torch.where),
}
"""The operators by their names in ONNX; batch normalisation is a module of its own (`training.peers.onnx_network`)."""
