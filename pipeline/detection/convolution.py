"""Small convolutions on a CPU core: the inner loop of the face detector's networks.

The networks have 3 to 128 channels and windows of 1 to 3 pixels. General libraries rearrange memory for each of these
layers, which takes longer than the layers; here each works on rows of pixels with the channels together, (H, W, C), and
keeps the sums of several neighbouring pixels in vector registers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from pipeline.pixels.numba_cache import compiled

BLOCK = 16
"""Channels of the output that are summed together: two vectors of eight."""
_LANES = 8


@dataclass(frozen=True)
class Layer:
    """A convolution of stride 1 without padding, followed by a PReLU, as the kernels read it.

    Attributes:
        weights: (B, height, width x C, 16) float32: of each block of 16 output channels the weights of its window.
        bias: (16 B,) float32, zero for channels that fill up the last block.
        slope: (16 B,) float32, of the PReLU; 1 where there is none.
        height: rows of the window.
        width: columns of the window.
    """

    weights: NDArray[np.float32]
    bias: NDArray[np.float32]
    slope: NDArray[np.float32]
    height: int
    width: int


def lay_out(weights: NDArray[np.float32], bias: NDArray[np.float32], slope: NDArray[np.float32] | None) -> Layer:
    """Arrange the weights (O, C, height, width), the bias (O,) and the slopes (O,) of a layer for the kernels."""
    outputs, channels, height, width = weights.shape
    blocks = -(-outputs // BLOCK)
    padded = np.zeros((blocks * BLOCK, channels, height, width), dtype=np.float32)
    padded[:outputs] = weights
    # (B, 16, C, height, width) -> (B, height, width, C, 16) -> (B, height, width x C, 16)
    arranged = padded.reshape(blocks, BLOCK, channels, height, width).transpose(0, 3, 4, 2, 1)
    fill = (0, blocks * BLOCK - outputs)
    return Layer(
        np.ascontiguousarray(arranged.reshape(blocks, height, width * channels, BLOCK)),
        np.pad(bias.astype(np.float32), fill),
        np.pad(np.ones(outputs) if slope is None else slope, fill).astype(np.float32),
        height,
        width,
    )


def _tile_of(pixels: int) -> Any:
    """Return the kernel that sums a block of channels for so many neighbouring pixels."""
    vector = ir.VectorType(ir.FloatType(), _LANES)

    def at(builder: Any, pointer: Any, place: Any) -> Any:
        return builder.bitcast(builder.gep(pointer, [place]), vector.as_pointer())

    def splat(builder: Any, value: Any) -> Any:
        one = builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.IntType(32)(0))
        return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), _LANES), [0] * _LANES))

    def write(builder: Any, data: list[Any], numbers: list[Any]) -> None:
        x, weights, bias, slope, out = data
        start, row, step, rows, run, first_weight, channel, out_start, out_step = numbers
        wide, zero = ir.IntType(64), ir.Constant(vector, [0.0] * _LANES)
        multiply_add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(vector, [vector] * 3), f"llvm.fmuladd.v{_LANES}f32"
        )
        halves = range(BLOCK // _LANES)
        begin = [builder.load(at(builder, bias, builder.add(channel, wide(half * _LANES))), align=4) for half in halves]
        sums = [[cgutils.alloca_once_value(builder, begin[half]) for half in halves] for _ in range(pixels)]
        with cgutils.for_range(builder, rows) as down, cgutils.for_range(builder, run) as along:
            place = builder.add(builder.add(start, builder.mul(down.index, row)), along.index)
            tap = builder.add(builder.mul(down.index, run), along.index)
            entry = builder.add(first_weight, builder.mul(tap, wide(BLOCK)))
            factors = [
                builder.load(at(builder, weights, builder.add(entry, wide(half * _LANES))), align=4) for half in halves
            ]
            for pixel in range(pixels):
                value = builder.load(builder.gep(x, [builder.add(place, builder.mul(step, wide(pixel)))]), align=4)
                spread = splat(builder, value)
                for half in halves:
                    held = sums[pixel][half]
                    builder.store(builder.call(multiply_add, [spread, factors[half], builder.load(held)]), held)
        for half in halves:
            lanes = builder.add(channel, wide(half * _LANES))
            slopes = builder.load(at(builder, slope, lanes), align=4)
            for pixel in range(pixels):
                total = builder.load(sums[pixel][half])
                positive = builder.fcmp_ordered(">", total, zero)
                active = builder.select(positive, total, builder.fmul(total, slopes))
                target = builder.add(builder.add(out_start, builder.mul(out_step, wide(pixel))), wide(half * _LANES))
                builder.store(active, at(builder, out, target), align=4)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [0, 1, 2, 3, 4]
        data = [context.make_array(signature.args[i])(context, builder, arguments[i]).data for i in arrays]
        write(builder, data, list(arguments[len(arrays) :]))
        return context.get_dummy_value()

    def describe(context: Any, *kinds: Any) -> Any:
        return types.void(*kinds), generate

    return intrinsic(_with_arguments(describe))


def _with_arguments(describe: Callable[..., Any]) -> Callable[..., Any]:
    """Give a description the fixed arguments that the compiler asks for."""

    def described(
        context: Any, x: Any, weights: Any, bias: Any, slope: Any, out: Any, start: Any, row: Any, step: Any,
        rows: Any, run: Any, first_weight: Any, channel: Any, out_start: Any, out_step: Any,
    ) -> Any:  # fmt: skip
        number = types.int64
        return describe(context, x, weights, bias, slope, out, *[number] * 9)

    return described


_six, _three, _one = _tile_of(6), _tile_of(3), _tile_of(1)


@compiled
def convolve_row(
    x: Any, start: int, row: int, step: int, count: int, weights: Any, bias: Any, slope: Any, out: Any, out_start: int,
    out_step: int,
) -> None:  # fmt: skip
    """Write `count` neighbouring pixels of a layer's output.

    Args:
        x: flat float32 pixels, channels together.
        start: place in it of the first window's first number.
        row: numbers from one row of it to the next.
        step: numbers from one window to the next.
        count: of pixels.
        weights: of a `Layer`, as are bias and slope.
        bias: see there.
        slope: see there.
        out: flat float32, written to.
        out_start: place in it of the first pixel.
        out_step: numbers from one of its pixels to the next.
    """
    blocks, rows, run = weights.shape[0], weights.shape[1], weights.shape[2]
    flat = weights.reshape(-1)
    for block in range(blocks):
        first, channel = block * rows * run * BLOCK, block * BLOCK
        at = 0
        while at < count:
            # The last tile of a row begins where it ends with the row: some pixels are summed twice.
            if count >= 6:
                at = min(at, count - 6)
                place, target = start + at * step, out_start + at * out_step + channel
                _six(x, flat, bias, slope, out, place, row, step, rows, run, first, channel, target, out_step)
                at += 6
            elif count >= 3:
                at = min(at, count - 3)
                place, target = start + at * step, out_start + at * out_step + channel
                _three(x, flat, bias, slope, out, place, row, step, rows, run, first, channel, target, out_step)
                at += 3
            else:
                place, target = start + at * step, out_start + at * out_step + channel
                _one(x, flat, bias, slope, out, place, row, step, rows, run, first, channel, target, out_step)
                at += 1


@compiled
def convolve(x: Any, weights: Any, bias: Any, slope: Any, width: int) -> Any:
    """Return a layer's output (N, H - height + 1, W - width + 1, 16 B) for pictures (N, H, W, C) float32."""
    pictures, height, across, channels = x.shape
    rows, columns = height - weights.shape[1] + 1, across - width + 1
    out = np.empty((pictures, rows, columns, bias.size), np.float32)
    flat, out_flat = x.reshape(-1), out.reshape(-1)
    for picture in range(pictures):
        for y in range(rows):
            start = (picture * height + y) * across * channels
            target = (picture * rows + y) * columns * bias.size
            convolve_row(
                flat, start, across * channels, channels, columns, weights, bias, slope, out_flat, target, bias.size
            )
    return out


@compiled
def largest(x: Any, side: int, channels: int, whole: bool) -> Any:
    """Return the largest value of each window of `side` x `side` pixels at a stride of 2, per channel.

    Args:
        x: (N, H, W, C) float32.
        side: 2 or 3.
        channels: the first ones of C that are kept.
        whole: leave out windows that reach beyond the picture; otherwise they count what lies inside.
    """
    pictures, height, across, _ = x.shape
    if whole:
        rows, columns = (height - side) // 2 + 1, (across - side) // 2 + 1
        top, left = 0, 0
    else:
        rows, columns = (height + 1) // 2, (across + 1) // 2
        # What a window lacks is shared out, the odd pixel at the end.
        top = max(0, (rows - 1) * 2 + side - height) // 2
        left = max(0, (columns - 1) * 2 + side - across) // 2
    out = np.empty((pictures, rows, columns, channels), np.float32)
    for picture in range(pictures):
        for row in range(rows):
            for column in range(columns):
                out[picture, row, column] = -np.inf
                for down in range(max(0, 2 * row - top), min(height, 2 * row - top + side)):
                    for along in range(max(0, 2 * column - left), min(across, 2 * column - left + side)):
                        for channel in range(channels):
                            value, held = x[picture, down, along, channel], out[picture, row, column, channel]
                            # Written so that compilers see a vector operation.
                            out[picture, row, column, channel] = value if value > held else held
    return out
