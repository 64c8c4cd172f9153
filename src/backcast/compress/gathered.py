"""The vector loop of ``windowed`` for processors with AVX2 alone: levels are fetched from the table in memory.

Sixteen codes at a time, in 32-bit lanes. The table of 128 or 256 float32 levels stays in the first-level cache.
"""

from typing import Any

from llvmlite import ir

from backcast.compress.bits import window_bits
from backcast.compress.vectors import (
    _FEATURES,
    _I8,
    _I32,
    _I64,
    _V8F,
    _V8I,
    _V16F,
    _V16I,
    _across,
    _call,
    _fma,
    _load,
    _part,
    _splat,
    _unpack,
    _whole,
    by_width,
)

AVAILABLE = bool(_FEATURES.get("avx2") and _FEATURES.get("fma"))

_F32 = ir.FloatType()
_GATHER = "llvm.x86.avx2.gather.d.ps.256"


def _blocks(builder: Any, arguments: Any, bits: int) -> Any:
    """The sum over blocks of ``scale * sum(level(window) * x)``, each block a number of whole stretches of 32 codes.

    ``extent`` is ``blocks << 32 | stretches of a block``, ``bits`` a literal. The places are addresses: of packed
    bytes; of float32 levels; of float32 numbers; of scales in bytes; of the 16 codes (32 bits each) before these, which
    are left there for the next call.

    The outer loop, over blocks: sums and the codes before go round; lanes are added up once, at the end.
    """
    places, extent = arguments
    codes, levels, vector, scales, before = (builder.extract_value(places, i) for i in range(5))
    blocks, stretches = builder.ashr(extent, _whole(32)), builder.and_(extent, _whole(0xFFFFFFFF))
    first = _load(builder, before, 0, _V16I, 4)
    entry, head = builder.block, builder.append_basic_block("head")
    body, after = builder.append_basic_block("block"), builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    index, total, past = builder.phi(_I64), builder.phi(_V16F), builder.phi(_V16I)
    for phi, value in ((index, _whole(0)), (total, ir.Constant(_V16F, [0.0] * 16)), (past, first)):
        phi.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", index, blocks), body, after)

    builder.position_at_end(body)
    done = builder.mul(index, stretches)
    here = builder.add(codes, builder.mul(done, _whole(4 * bits)))
    there = builder.add(vector, builder.mul(done, _whole(128)))
    byte = builder.uitofp(_load(builder, builder.add(scales, index), 0, _I8, 1), _F32)
    scale = builder.fmul(builder.fmul(byte, byte), ir.Constant(_F32, 2.0**-16))
    sums, last = _stretches(builder, (here, there, stretches, past), bits, levels)
    total.add_incoming(_fma(builder, _splat(builder, scale), sums, total), builder.block)
    past.add_incoming(last, builder.block)
    index.add_incoming(builder.add(index, _whole(1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    builder.store(past, builder.inttoptr(before, _V16I.as_pointer()), align=4)
    return _across(builder, total)


def _stretches(builder: Any, places: Any, bits: int, levels: Any) -> tuple[Any, Any]:
    """The inner loop, over the stretches of one block; two sums, for the two halves of a stretch."""
    codes, vector, stretches, start = places
    entry, head = builder.block, builder.append_basic_block("inner")
    body, after = builder.append_basic_block("stretch"), builder.append_basic_block("summed")
    builder.branch(head)
    builder.position_at_end(head)
    index, sums, past = builder.phi(_I64), [builder.phi(_V16F) for _ in range(2)], builder.phi(_V16I)
    index.add_incoming(_whole(0), entry)
    past.add_incoming(start, entry)
    for sum_ in sums:
        sum_.add_incoming(ir.Constant(_V16F, [0.0] * 16), entry)
    builder.cbranch(builder.icmp_signed("<", index, stretches), body, after)

    builder.position_at_end(body)
    here = builder.add(codes, builder.mul(index, _whole(4 * bits)))
    there = builder.add(vector, builder.mul(index, _whole(128)))
    before = past
    for half, sum_ in enumerate(sums):
        found = _unpack(builder, here, bits, half)
        level = _fetch(builder, levels, _windows(builder, before, found, bits))
        sum_.add_incoming(_fma(builder, level, _load(builder, there, 64 * half, _V16F, 4), sum_), builder.block)
        before = found
    past.add_incoming(before, builder.block)
    index.add_incoming(builder.add(index, _whole(1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    return builder.fadd(*sums), past


def _windows(builder: Any, past: Any, codes: Any, bits: int) -> Any:
    """The window of every lane: its code lowest, above it the codes of the lanes before, in ``past`` at the front."""
    found = codes
    for back in range(1, -(-window_bits(bits) // bits)):
        lanes = ir.Constant(_V16I, list(range(16 - back, 32 - back)))
        shifted = builder.shl(builder.shuffle_vector(past, codes, lanes), ir.Constant(_V16I, [back * bits] * 16))
        found = builder.or_(found, shifted)
    return builder.and_(found, ir.Constant(_V16I, [(1 << window_bits(bits)) - 1] * 16))


def _fetch(builder: Any, levels: Any, windows: Any) -> Any:
    """The level of every lane, from memory."""
    byte = ir.IntType(8)
    base = builder.inttoptr(levels, byte.as_pointer())
    kinds = [_V8F, byte.as_pointer(), _V8I, _V8F, byte]
    nothing = ir.Constant(_V8F, [0.0] * 8)
    all_lanes = builder.bitcast(ir.Constant(_V8I, [-1] * 8), _V8F)
    halves = [
        _call(builder, _GATHER, kinds, [nothing, base, _part(builder, windows, half), all_lanes, byte(4)], _V8F)
        for half in range(2)
    ]
    return builder.shuffle_vector(*halves, ir.Constant(ir.VectorType(_I32, 16), list(range(16))))


gather_product = by_width(_blocks)
