"""The loop of ``windowed`` in lanes of bytes, where the processor has AVX-512 VBMI: sixty-four codes at a time.

The 128 bfloat16 levels lie in four registers, two with their lower and two with their upper bytes; one instruction
looks sixty-four windows up in two registers. Interleaved, the bytes are bfloat16 numbers again, and two of those the
halves of a 32-bit lane: so the numbers that they meet come in the order of ``order``.
"""

from typing import Any

import numpy as np
from llvmlite import ir

from backcast.compress.bits import window_bits
from backcast.compress.vectors import (
    _FEATURES,
    _I8,
    _I32,
    _I64,
    _V16F,
    _V16I,
    _across,
    _call,
    _fma,
    _load,
    _splat,
    _whole,
    by_width,
)

AVAILABLE = bool(_FEATURES.get("avx512vbmi") and _FEATURES.get("avx512bw"))

STEP = 64
"""Codes at a time: a block must have so many."""

_V64 = ir.VectorType(_I8, 64)
_LOOK_UP = "llvm.x86.avx512.vpermi2var.qi.512"
_SHIFTS = "llvm.x86.avx512.pmultishift.qb.512"

order = np.array(
    [16 * lane + 8 * upper + 2 * i + odd for upper in (0, 1) for odd in (0, 1) for lane in range(4) for i in range(4)]
)
"""Which of sixty-four numbers each lane of the four vectors meets."""


def _blocks(builder: Any, arguments: Any, bits: int) -> Any:
    """The sum over blocks of ``scale * sum(level(window) * x)``, each block of 64 codes; zeros are before the first.

    ``bits`` is a literal below 8. The places are addresses: of packed bytes; of the lower, then the upper bytes of 128
    levels; of float32 numbers, each 64 in ``order``; of float32 scales.

    The loop over blocks: the sums and the codes before go round; lanes are added up once, at the end.
    """
    places, blocks = arguments
    codes, levels, vector, scales = (builder.extract_value(places, i) for i in range(4))
    table = [_load(builder, levels, 64 * i, _V64, 1) for i in range(4)]
    entry, head = builder.block, builder.append_basic_block("head")
    body, after = builder.append_basic_block("block"), builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    index, total, past = builder.phi(_I64), builder.phi(_V16F), builder.phi(_V64)
    for phi, value in ((index, _whole(0)), (total, ir.Constant(_V16F, [0.0] * 16)), (past, _all(0))):
        phi.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", index, blocks), body, after)

    builder.position_at_end(body)
    found = _unpack(builder, builder.add(codes, builder.mul(index, _whole(8 * bits))), bits)
    windows = _windows(builder, past, found, bits)
    lower, upper = (_call(builder, _LOOK_UP, [_V64] * 3, [table[i], windows, table[i + 1]], _V64) for i in (0, 2))
    there = builder.add(vector, builder.mul(index, _whole(4 * STEP)))
    partial = None
    for quarter, level in enumerate(_floats(builder, lower, upper)):
        x = _load(builder, there, 64 * quarter, _V16F, 4)
        partial = builder.fmul(level, x) if partial is None else _fma(builder, level, x, partial)
    scale = _load(builder, builder.add(scales, builder.mul(index, _whole(4))), 0, ir.FloatType(), 4)
    total.add_incoming(_fma(builder, _splat(builder, scale), partial, total), body)
    past.add_incoming(found, body)
    index.add_incoming(builder.add(index, _whole(1)), body)
    builder.branch(head)

    builder.position_at_end(after)
    return _across(builder, total)


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


def _windows(builder: Any, past: Any, codes: Any, bits: int) -> Any:
    """The window of every lane in its low seven bits, all that the look-up reads."""
    found = codes
    for back in range(1, -(-window_bits(bits) // bits)):
        lanes = ir.Constant(ir.VectorType(_I32, 64), list(range(64 - back, 128 - back)))
        shifted = builder.shl(builder.shuffle_vector(past, codes, lanes), _all(back * bits))
        found = builder.or_(found, shifted)
    return found


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


byte_product = by_width(_blocks)
