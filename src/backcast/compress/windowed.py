"""The vector loop of ``vectors`` for trellis codes: products of packed codes with a table of levels, by windows.

Thirty-two codes at a time, in 16-bit lanes: a code and its neighbours before it make a window; four 512-bit registers
hold the 128 bfloat16 levels, of which two look-ups and a choice find one for every lane. Two neighbouring levels are
the halves of a 32-bit lane, each a float32 but for 16 bits, so the numbers they meet come with even ones first.
"""

from typing import Any

from llvmlite import ir

from backcast.compress.bits import window_bits
from backcast.compress.vectors import _FEATURES, _across, _fma, _load, _splat, _whole, by_width

AVAILABLE = bool(_FEATURES.get("avx512f") and _FEATURES.get("avx512bw"))

_I8, _I16, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64), ir.FloatType()
_V32, _V16F, _V16I = ir.VectorType(_I16, 32), ir.VectorType(_F32, 16), ir.VectorType(_I32, 16)
_LOOK_UP = "llvm.x86.avx512.vpermi2var.hi.512"


def _blocks(builder: Any, arguments: Any, bits: int) -> Any:
    """The sum over blocks of ``scale * sum(level(window) * x)``, each block a number of whole stretches of 32 codes.

    ``extent`` is ``blocks << 32 | stretches of a block``, ``bits`` a literal. The places are addresses: of packed
    bytes; of bfloat16 levels; of float32 numbers, of every 32 the even ones first; of scales in bytes; of the 32 codes
    (16 bits each) before these, which are left there for the next call.

    The outer loop, over blocks: sums and the codes before go round; lanes are added up once, at the end.
    """
    places, extent = arguments
    codes, levels, vector, scales, before = (builder.extract_value(places, i) for i in range(5))
    blocks, stretches = builder.ashr(extent, _whole(32)), builder.and_(extent, _whole(0xFFFFFFFF))
    table = [_load(builder, levels, 64 * i, _V32, 2) for i in range((1 << window_bits(bits)) // 32)]
    first = _load(builder, before, 0, _V32, 2)
    entry, head = builder.block, builder.append_basic_block("head")
    body, after = builder.append_basic_block("block"), builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    index, total, past = builder.phi(_I64), builder.phi(_V16F), builder.phi(_V32)
    for phi, value in ((index, _whole(0)), (total, ir.Constant(_V16F, [0.0] * 16)), (past, first)):
        phi.add_incoming(value, entry)
    builder.cbranch(builder.icmp_signed("<", index, blocks), body, after)

    builder.position_at_end(body)
    done = builder.mul(index, stretches)
    here = builder.add(codes, builder.mul(done, _whole(4 * bits)))
    there = builder.add(vector, builder.mul(done, _whole(128)))
    byte = builder.uitofp(_load(builder, builder.add(scales, index), 0, _I8, 1), _F32)
    scale = builder.fmul(builder.fmul(byte, byte), ir.Constant(_F32, 2.0**-16))
    sums, last = _stretches(builder, (here, there, stretches, past), bits, table)
    total.add_incoming(_fma(builder, _splat(builder, scale), sums, total), builder.block)
    past.add_incoming(last, builder.block)
    index.add_incoming(builder.add(index, _whole(1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    builder.store(past, builder.inttoptr(before, _V32.as_pointer()), align=2)
    return _across(builder, total)


def _stretches(builder: Any, places: Any, bits: int, table: list[Any]) -> tuple[Any, Any]:
    """The inner loop, over the stretches of one block; two sums, for the even and the odd of a stretch."""
    codes, vector, stretches, start = places
    entry, head = builder.block, builder.append_basic_block("inner")
    body, after = builder.append_basic_block("stretch"), builder.append_basic_block("summed")
    builder.branch(head)
    builder.position_at_end(head)
    index, sums, past = builder.phi(_I64), [builder.phi(_V16F) for _ in range(2)], builder.phi(_V32)
    index.add_incoming(_whole(0), entry)
    past.add_incoming(start, entry)
    for sum_ in sums:
        sum_.add_incoming(ir.Constant(_V16F, [0.0] * 16), entry)
    builder.cbranch(builder.icmp_signed("<", index, stretches), body, after)

    builder.position_at_end(body)
    found = _unpack(builder, builder.add(codes, builder.mul(index, _whole(4 * bits))), bits)
    there = builder.add(vector, builder.mul(index, _whole(128)))
    pairs = builder.bitcast(_look_up(builder, table, _windows(builder, past, found, bits)), _V16I)
    for half, sum_ in enumerate(sums):
        upper = ir.Constant(_V16I, [-65536] * 16)
        part = builder.and_(pairs, upper) if half else builder.shl(pairs, ir.Constant(_V16I, [16] * 16))
        x = _load(builder, there, 64 * half, _V16F, 4)
        sum_.add_incoming(_fma(builder, builder.bitcast(part, _V16F), x, sum_), builder.block)
    past.add_incoming(found, builder.block)
    index.add_incoming(builder.add(index, _whole(1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    return builder.fadd(*sums), past


def _unpack(builder: Any, address: Any, bits: int) -> Any:
    """The thirty-two codes of a stretch in 16-bit lanes; the layout is that of ``bits``."""
    at, done, codes = 0, 0, None
    for piece in (8, 4, 2, 1):
        if bits & piece:
            step, mask = 4 * piece, (1 << piece) - 1
            raw = _load(builder, address, at, ir.VectorType(_I8, step), 1)
            picked = builder.shuffle_vector(
                raw, raw, ir.Constant(ir.VectorType(_I32, 32), [lane % step for lane in range(32)])
            )
            shifts = ir.Constant(_V32, [lane // step * piece for lane in range(32)])
            part = builder.and_(builder.lshr(builder.zext(picked, _V32), shifts), _all(mask))
            part = builder.shl(part, _all(done)) if done else part
            codes = part if codes is None else builder.or_(codes, part)
            at += step
            done += piece
    return codes


def _windows(builder: Any, past: Any, codes: Any, bits: int) -> Any:
    """The window of every lane: its code lowest, above it the codes of the lanes before, in ``past`` at the front."""
    found = codes
    for back in range(1, -(-window_bits(bits) // bits)):
        lanes = ir.Constant(ir.VectorType(_I32, 32), list(range(32 - back, 64 - back)))
        shifted = builder.shl(builder.shuffle_vector(past, codes, lanes), _all(back * bits))
        found = builder.or_(found, shifted)
    return builder.and_(found, _all((1 << window_bits(bits)) - 1))


def _look_up(builder: Any, table: list[Any], windows: Any) -> Any:
    """The level of every lane: the instruction reads six bits of the window, the others choose among its results."""
    function = builder.module.globals.get(_LOOK_UP)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(_V32, [_V32] * 3), name=_LOOK_UP)
    found = [builder.call(function, [table[i], windows, table[i + 1]]) for i in range(0, len(table), 2)]
    for bit in (64, 128)[: len(found) // 2]:
        above = builder.icmp_unsigned("!=", builder.and_(windows, _all(bit)), _all(0))
        found = [builder.select(above, found[i + 1], found[i]) for i in range(0, len(found), 2)]
    return found[0]


def _all(value: int) -> Any:
    return ir.Constant(_V32, [value] * 32)


window_product = by_width(_blocks)
