"""The loop of ``windowed`` in lanes of bytes, where the processor has AVX-512 VBMI: sixty-four codes at a time.

The 128 bfloat16 levels lie in four registers, two with their lower and two with their upper bytes; one instruction
looks sixty-four windows up in two registers. Interleaved, the bytes are bfloat16 numbers again, and two of those the
halves of a 32-bit lane: so the numbers that they meet come in the order of ``order``.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numpy.typing import NDArray

from backcast.compress.bits import window_bits
from backcast.compress.vectors import (
    _FEATURES,
    _I8,
    _I32,
    _V16F,
    _V16I,
    _across,
    _call,
    _fma,
    _load,
    _splat,
    _whole,
    by_width,
    loop,
    prefetch,
    taken_apart,
)

AVAILABLE = bool(_FEATURES.get("avx512vbmi") and _FEATURES.get("avx512bw"))

STEP = 64
"""Codes at a time: a block must have so many."""

_V64 = ir.VectorType(_I8, 64)
_LOOK_UP = "llvm.x86.avx512.vpermi2var.qi.512"
_SHIFTS = "llvm.x86.avx512.pmultishift.qb.512"

ROWS = 4
"""Rows at a time, which share the numbers they are multiplied with."""

_lanes = np.array(
    [16 * lane + 8 * upper + 2 * i + odd for upper in (0, 1) for odd in (0, 1) for lane in range(4) for i in range(4)]
)
_NIBBLES = np.concatenate([np.arange(start, start + 16) for start in (0, 32, 16, 48)])


def order(bits: int) -> NDArray[np.int64]:
    """Which of sixty-four numbers each lane of the four vectors meets."""
    return _NIBBLES[_lanes] if bits == 4 else _lanes


def _rows(builder: Any, arguments: Any, bits: int) -> None:
    """Writes, for each of ``ROWS`` rows, the sum over blocks of ``scale * sum(level(window) * x)``; blocks of 64 codes.

    ``places`` are addresses: of packed bytes; of the lower, then the upper bytes of 128 levels; of float32 numbers,
    each 64 in ``order``; of float32 scales, one a block; of the sums. ``extent`` is the bytes from a row to the next of
    codes and of scales, and the number of blocks. ``bits`` is a literal below 8. Zeros are before the first code.

    The loop over blocks: sums and what is needed of the block before go round; lanes are added up once, at the end.
    """
    (codes, levels, vector, scales, sums), (*steps, blocks) = (taken_apart(builder, part) for part in arguments)
    ahead = builder.add(codes, builder.mul(steps[0], _whole(ROWS)))
    codes, scales = (
        [builder.add(place, builder.mul(step, _whole(i))) for i in range(ROWS)]
        for place, step in zip((codes, scales), steps, strict=True)
    )
    table = [_load(builder, levels, 64 * i, _V64, 1) for i in range(4)]
    windows = _nibbles if bits == 4 else _windows

    def block(index: Any, values: list[Any]) -> list[Any]:
        there = builder.add(vector, builder.mul(index, _whole(4 * STEP)))
        step, at = builder.mul(index, _whole(8 * bits)), builder.mul(index, _whole(4))
        xs = [_load(builder, there, 64 * quarter, _V16F, 4) for quarter in range(4)]
        prefetch(builder, builder.add(ahead, builder.mul(index, _whole(32 * bits))), bits, 2)
        totals, pasts = [], []
        for i in range(ROWS):
            found, past = windows(builder, builder.add(codes[i], step), values[ROWS + i], bits)
            two = [_call(builder, _LOOK_UP, [_V64] * 3, [table[j], found, table[j + 1]], _V64) for j in (0, 2)]
            partial = None
            for level, x in zip(_floats(builder, *two), xs, strict=True):
                partial = builder.fmul(level, x) if partial is None else _fma(builder, level, x, partial)
            scale = _splat(builder, _load(builder, builder.add(scales[i], at), 0, ir.FloatType(), 4))
            totals.append(_fma(builder, scale, partial, values[i]))
            pasts.append(past)
        return totals + pasts

    ends = loop(builder, blocks, [ir.Constant(_V16F, [0.0] * 16)] * ROWS + [_all(0)] * ROWS, block)
    for i, total in enumerate(ends[:ROWS]):
        place = builder.inttoptr(builder.add(sums, _whole(4 * i)), ir.FloatType().as_pointer())
        builder.store(_across(builder, total), place, align=4)


def _nibbles(builder: Any, address: Any, past: Any, bits: int) -> tuple[Any, Any]:
    """As ``_windows`` for 4 bits, without unpacking: a window is a nibble with half of the one before above it.

    The bytes of two stretches stand twice in a vector, once for the codes in their lower halves, once for those in the
    upper ones. The code before is in the byte before, in the same half, but for the first of every sixteen: it is in
    the last byte of the sixteen, in the other half (of the block before, for the first of all).
    """
    del bits
    raw = _load(builder, address, 0, ir.VectorType(_I8, 32), 1)
    twice = builder.shuffle_vector(raw, raw, ir.Constant(ir.VectorType(_I32, 64), [*range(32)] * 2))
    places, shifts, own = [], [], []
    for lane in range(64):
        byte, at, upper = lane % 32, 8 * (lane % 8), lane >= 32
        first = byte % 16 == 0
        before = byte + 15 if first and upper else byte - 1
        places.append(64 + before if before >= 0 else 31)
        shifts.append(at if upper != first else (at - 4) % 64)  # the code before goes to the upper half
        own.append(at + 4 if upper else at)  # the code to the lower half
    shuffled = builder.shuffle_vector(past, twice, ir.Constant(ir.VectorType(_I32, 64), places))
    above = _call(builder, _SHIFTS, [_V64] * 2, [ir.Constant(_V64, shifts), shuffled], _V64)
    codes = _call(builder, _SHIFTS, [_V64] * 2, [ir.Constant(_V64, own), twice], _V64)
    return builder.or_(builder.and_(codes, _all(15)), builder.and_(above, _all(240))), twice


def _unpack(builder: Any, address: Any, bits: int) -> Any:
    """The codes of two stretches, a byte each: eight bytes that hold eight codes are spread, then shifted at once."""
    done, codes, at = 0, None, 0
    for piece in (4, 2, 1):
        if bits & piece:
            step, mask = 4 * piece, (1 << piece) - 1
            two = [_load(builder, address, at + 4 * bits * s, ir.VectorType(_I8, step), 1) for s in range(2)]
            places, shifts = [], []
            for eight in range(8):  # lanes 8 * eight .. + 7, of stretch eight // 4
                first = 8 * eight % 32
                places += [eight // 4 * step + (first % step + i) % step for i in range(8)]
                lanes = [first + i for i in range(8)]
                shifts += [8 * ((lane % step) - first % step) + lane // step * piece for lane in lanes]
            picked = builder.shuffle_vector(*two, ir.Constant(ir.VectorType(_I32, 64), places))
            part = _call(builder, _SHIFTS, [_V64] * 2, [ir.Constant(_V64, shifts), picked], _V64)
            part = builder.and_(part, _all(mask))
            part = builder.shl(part, _all(done)) if done else part
            codes = part if codes is None else builder.or_(codes, part)
            at += step
            done += piece
    return codes


def _windows(builder: Any, address: Any, past: Any, bits: int) -> tuple[Any, Any]:
    """The window of every lane in its low seven bits, all that the look-up reads; and what the next block needs."""
    found = codes = _unpack(builder, address, bits)
    for back in range(1, -(-window_bits(bits) // bits)):
        lanes = ir.Constant(ir.VectorType(_I32, 64), list(range(64 - back, 128 - back)))
        shifted = builder.shl(builder.shuffle_vector(past, codes, lanes), _all(back * bits))
        found = builder.or_(found, shifted)
    return found, codes


def _floats(builder: Any, lower: Any, upper: Any) -> list[Any]:
    """Four vectors of float32, in ``order``."""
    found = []
    for half in range(2):
        lanes = [16 * lane + 8 * half + i + side for lane in range(4) for i in range(8) for side in (0, 64)]
        words = builder.shuffle_vector(lower, upper, ir.Constant(ir.VectorType(_I32, 64), lanes))
        pairs = builder.bitcast(words, _V16I)
        found.append(builder.shl(pairs, ir.Constant(_V16I, [16] * 16)))
        found.append(builder.and_(pairs, ir.Constant(_V16I, [-65536] * 16)))
    return [builder.bitcast(part, _V16F) for part in found]


def _all(value: int) -> Any:
    return ir.Constant(_V64, [value] * 64)


byte_product = by_width(_rows, types.void)
