"""Weighted sum of RGB pixels in SIMD vectors: the inner loop of resampling on a CPU.

Compilers do not vectorise loops over three channels. Here four pixels x three channels form one vector, which is
several times as fast. The arithmetic is in integers, so the result is the same on every processor.
"""

from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

_Weight = TypeVar("_Weight", np.int16, np.int32)
LANES = 16
"""Bytes read at once: four pixels of three channels, filled up to a power of two."""
GROUP = 4
"""Pixels of a group."""


def lay_out(weights: NDArray[_Weight]) -> NDArray[_Weight]:
    """Return weights (..., 4 G) of pixels as (..., G, 16): of the channels of each group, zero where none is."""
    *shape, taps = weights.shape
    laid_out = np.zeros((*shape, taps // GROUP, LANES), dtype=weights.dtype)
    # (..., 4 G) -> (..., G, 4) -> (..., G, 4 x 3): a weight for each channel of its pixel
    laid_out[..., : 3 * GROUP] = np.repeat(weights.reshape(*shape, taps // GROUP, GROUP), 3, axis=-1)
    return laid_out


def _generate(builder: Any, pixels: Any, start: Any, step: Any, table: Any, first: Any, groups: Any, bits: Any) -> Any:
    """Write the loop over groups, and return the three levels as bytes of one number."""
    byte, word, wide = (ir.IntType(width) for width in (8, 32, 64))
    words, four = ir.VectorType(word, LANES), ir.VectorType(word, 4)
    weight = table.type.pointee
    total = cgutils.alloca_once_value(builder, ir.Constant(words, [0] * LANES))
    with cgutils.for_range(builder, groups) as loop:
        place = builder.add(start, builder.mul(step, loop.index))
        levels = builder.load(_vector_at(builder, pixels, place, byte), align=1)
        entry = builder.mul(builder.add(first, loop.index), wide(LANES))
        factors = builder.load(_vector_at(builder, table, entry, weight), align=weight.width // 8)
        factors = factors if weight.width == word.width else builder.sext(factors, words)
        product = builder.mul(builder.zext(levels, words), factors)
        builder.store(builder.add(builder.load(total), product), total)
    sums = builder.load(total)
    # Halves are rounded upwards.
    half = builder.shl(word(1), builder.sub(builder.trunc(bits, word), word(1)))
    level = _splat(builder, half, four)
    for pixel in range(GROUP):
        lanes = ir.Constant(four, [3 * pixel + channel for channel in range(4)])
        level = builder.add(level, builder.shuffle_vector(sums, sums, lanes))
    level = builder.ashr(level, _splat(builder, builder.trunc(bits, word), four))
    for limit, beyond in ((0, "<"), (255, ">")):
        bound = ir.Constant(four, [limit] * 4)
        level = builder.select(builder.icmp_signed(beyond, level, bound), bound, level)
    together = builder.bitcast(builder.trunc(level, ir.VectorType(byte, 4)), word)
    return builder.zext(together, wide)


def _vector_at(builder: Any, pointer: Any, place: Any, kind: Any) -> Any:
    """Return a pointer to `LANES` numbers."""
    return builder.bitcast(builder.gep(pointer, [place]), ir.VectorType(kind, LANES).as_pointer())


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    """Return a vector of one value."""
    one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.IntType(32)(0))
    return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(ir.IntType(32), kind.count), [0] * kind.count))


def _describe(
    context: Any, pixels: Any, start: Any, step: Any, weights: Any, first: Any, groups: Any, bits: Any
) -> Any:
    """Describe `weighted_pixel` to the compiler."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pixels, start, step, weights, first, groups, bits = arguments
        data = context.make_array(signature.args[0])(context, builder, pixels).data
        table = context.make_array(signature.args[3])(context, builder, weights).data
        return _generate(builder, data, start, step, table, first, groups, bits)

    number = types.int64
    return number(pixels, number, number, weights, number, number, number), generate


weighted_pixel: Any = intrinsic(_describe)
"""In compiled code: `weighted_pixel(pixels, start, step, weights, first, groups, bits)`.

Sums groups of four pixels, group g from byte start + g * step of pixels (contiguous uint8), of which 16 bytes are read,
with the weights (contiguous int16 or int32, as `lay_out` gives them) of group first + g; divides by 2**bits, rounds
halves upwards, and keeps within 0..255. Returns the levels of the three channels as the lowest bytes of one number.
"""
