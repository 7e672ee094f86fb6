"""The operators of ONNX that face recognisers use, as functions of torch tensors.

Each takes the node's inputs, None for one that is left out, and its attributes by name; the attribute `opset` is the
version of the operator set. After the operators' definitions in the ONNX specification.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

Attributes = dict[str, Any]
Operator = Callable[..., Tensor | tuple[Tensor, ...]]


def _symmetric_padding(x: Tensor, a: Attributes, kernel: Sequence[int], fill: float = 0.0) -> tuple[Tensor, list[int]]:
    """Return the input, padded where its two sides differ, and the padding that is left to do on both sides."""
    places = len(kernel)
    strides, dilations = a.get("strides", [1] * places), a.get("dilations", [1] * places)
    pads = list(a.get("pads", [0] * 2 * places))
    if a.get("auto_pad", "NOTSET").startswith("SAME"):
        total = [
            max((-(-side // stride) - 1) * stride + (one - 1) * dilation + 1 - side, 0)
            for side, stride, one, dilation in zip(x.shape[2:], strides, kernel, dilations, strict=True)
        ]
        small, large = [one // 2 for one in total], [one - one // 2 for one in total]
        pads = small + large if a["auto_pad"] == "SAME_UPPER" else large + small
    if pads[:places] == pads[places:]:
        return x, pads[:places]
    # torch names the last dimension first, and both sides of each.
    pairs = [pads[place + side * places] for place in reversed(range(places)) for side in (0, 1)]
    return functional.pad(x, pairs, value=fill), [0] * places


def _conv(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    x, padding = _symmetric_padding(x, a, weight.shape[2:])
    places = weight.ndim - 2
    convolve = {1: functional.conv1d, 2: functional.conv2d, 3: functional.conv3d}[places]
    strides, dilations = a.get("strides", [1] * places), a.get("dilations", [1] * places)
    out: Tensor = convolve(x, weight, bias, strides, padding, dilations, a.get("group", 1))
    return out


def _gemm(a: Attributes, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    out = (x.mT if a.get("transA") else x) @ (weight.mT if a.get("transB") else weight)
    out = out * a["alpha"] if a.get("alpha", 1.0) != 1 else out
    return out if bias is None else out + bias * a.get("beta", 1.0)


def _prelu(a: Attributes, x: Tensor, slope: Tensor) -> Tensor:
    if slope.numel() == 1 or (x.ndim > 1 and slope.ndim == x.ndim - 1 and slope.numel() == x.shape[1] == len(slope)):
        return functional.prelu(x, slope.flatten())
    return torch.where(x >= 0, x, slope * x)


def _max_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel = a["kernel_shape"]
    x, padding = _symmetric_padding(x, a, kernel, fill=-torch.inf)
    strides = a.get("strides", [1] * len(kernel))
    pool = functional.max_pool1d if len(kernel) == 1 else functional.max_pool2d
    out: Tensor = pool(x, kernel, strides, padding, a.get("dilations", 1), ceil_mode=bool(a.get("ceil_mode")))
    return out


def _average_pool(a: Attributes, x: Tensor) -> Tensor:
    kernel, counts_padding = a["kernel_shape"], bool(a.get("count_include_pad"))
    padded, padding = _symmetric_padding(x, a, kernel)
    strides, ceil = a.get("strides", [1] * len(kernel)), bool(a.get("ceil_mode"))
    pooled = functional.avg_pool2d(padded, kernel, strides, padding, ceil, counts_padding)
    if padded is x or counts_padding:
        return pooled
    # Padded by hand on one side: divide by the places that were there.
    there, _ = _symmetric_padding(torch.ones_like(x[:1, :1]), a, kernel)
    return pooled / functional.avg_pool2d(there, kernel, strides, 0, ceil)


def _reshape(a: Attributes, x: Tensor, shape: Tensor | None = None) -> Tensor:
    wanted = a["shape"] if shape is None else shape.tolist()
    if not a.get("allowzero"):
        wanted = [x.shape[place] if side == 0 else side for place, side in enumerate(wanted)]
    # A network for batches of one fixed size names it; any other size takes its place.
    batch = a.get("batch")
    if batch is not None and len(wanted) > 1 and x.is_floating_point() and wanted[0] == batch[0]:
        wanted = [batch[1], *wanted[1:]]
    return x.reshape(wanted)


def _flatten(a: Attributes, x: Tensor) -> Tensor:
    axis = a.get("axis", 1) % (x.ndim + 1)
    rows = 1
    for side in x.shape[:axis]:
        rows *= side
    return x.reshape(rows, -1)


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
    return found.reshape(*x.shape[:axis], *places.shape, *x.shape[axis + 1 :])


def _split(a: Attributes, x: Tensor, sizes: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = a.get("axis", 0)
    parts = a.get("split") if sizes is None else sizes.tolist()
    if parts is None:
        # Equal parts; the last one is smaller where they do not divide the side.
        return tuple(x.split(-(-x.shape[axis] // a["outputs"]), axis))
    return tuple(x.split(parts, axis))


def _softmax(a: Attributes, x: Tensor) -> Tensor:
    if a["opset"] >= 13:
        return x.softmax(a.get("axis", -1))
    axis = a.get("axis", 1)
    return x.flatten(axis).softmax(-1).reshape(x.shape)


def _clip(a: Attributes, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    least, most = a.get("min") if low is None else low.item(), a.get("max") if high is None else high.item()
    return x if least is None and most is None else x.clamp(least, most)


def _pad(a: Attributes, x: Tensor, pads: Tensor | None = None, value: Tensor | None = None, *_: Any) -> Tensor:
    given = a["pads"] if pads is None else pads.tolist()
    pairs = [given[place + side * x.ndim] for place in reversed(range(x.ndim)) for side in (0, 1)]
    fill = a.get("value", 0.0) if value is None else value.item()
    if a.get("mode", "constant") == "constant":
        return functional.pad(x, pairs, value=fill)
    # torch repeats and reflects the last dimensions alone.
    while pairs[-2:] == [0, 0]:
        pairs = pairs[:-2]
    return functional.pad(x, pairs, {"edge": "replicate", "reflect": "reflect"}[a["mode"]])


def _layer_norm(a: Attributes, x: Tensor, scale: Tensor, bias: Tensor | None = None) -> Tensor:
    sides = x.shape[a.get("axis", -1) % x.ndim :]
    return functional.layer_norm(x, sides, scale.expand(sides), bias, a.get("epsilon", 1e-5))


def _lp_normalize(a: Attributes, x: Tensor) -> Tensor:
    length = x.norm(a.get("p", 2), dim=a.get("axis", -1), keepdim=True)
    return torch.where(length == 0, torch.zeros_like(x), x / length)


def _cast(a: Attributes, x: Tensor) -> Tensor:
    return x.to(a["dtype"])


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
    "AveragePool": _average_pool,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda a, *parts: torch.cat(parts, a["axis"]),
    "ConstantOfShape": lambda a, shape: torch.full(shape.tolist(), a["value"].item() if "value" in a else 0.0).to(
        a["value"].dtype if "value" in a else torch.float32
    ),
    "Conv": _conv,
    "Div": _divide,
    "Dropout": lambda a, x, *_: x,
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
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _simple(functional.hardswish),
    "Identity": _simple(lambda x: x),
    "LayerNormalization": _layer_norm,
    "LeakyRelu": lambda a, x: functional.leaky_relu(x, a.get("alpha", 0.01)),
    "Less": _simple(torch.lt),
    "Log": _simple(torch.log),
    "LpNormalization": _lp_normalize,
    "MatMul": _simple(torch.matmul),
    "Max": _simple(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amax(0)),
    "MaxPool": _max_pool,
    "Mean": _simple(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).mean(0)),
    "Min": _simple(lambda *xs: torch.stack(torch.broadcast_tensors(*xs)).amin(0)),
    "Mod": lambda a, x, y: torch.fmod(x, y) if a.get("fmod") else torch.remainder(x, y),
    "Mul": _simple(torch.mul),
    "Neg": _simple(torch.neg),
    "Not": _simple(torch.logical_not),
    "Or": _simple(torch.logical_or),
    "PRelu": _prelu,
    "Pad": _pad,
    "Pow": _simple(torch.pow),
    "Range": lambda a, start, end, step: torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype),
    "Reciprocal": _simple(torch.reciprocal),
    "ReduceL2": _reduced(lambda x, places, keepdim: torch.linalg.vector_norm(x, 2, places, keepdim)),
    "ReduceMax": _reduced(torch.amax),
    "ReduceMean": _reduced(torch.mean),
    "ReduceMin": _reduced(torch.amin),
    "ReduceSum": _reduced(torch.sum),
    "Relu": _simple(torch.relu),
    "Reshape": _reshape,
    "Shape": lambda a, x: torch.tensor(x.shape)[a.get("start") : a.get("end")],
    "Sigmoid": _simple(torch.sigmoid),
    "Slice": _slice,
    "Softmax": _softmax,
    "Softplus": _simple(functional.softplus),
    "Split": _split,
    "Sqrt": _simple(torch.sqrt),
    "Squeeze": _squeeze,
    "Sub": _simple(torch.sub),
    "Sum": _simple(lambda *xs: sum(xs[1:], xs[0])),
    "Tanh": _simple(torch.tanh),
    "Transpose": lambda a, x: x.permute(a.get("perm", list(reversed(range(x.ndim))))),
    "Unsqueeze": _unsqueeze,
    "Where": _simple(torch.where),
}
"""The operators by their names in ONNX; batch normalisation is a module of its own (`training.peers.onnx_network`)."""
