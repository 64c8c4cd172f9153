"""The vector loop of ``vectors`` for weights split in clusters: each has an id that chooses its grid among three.

The three scales and zeros of a block lie in a register each, so an id is looked up as a code of a table is.
"""

from typing import Any

from llvmlite import ir

from backcast.compress.vectors import (
    _EIGHT,
    _I8,
    _I32,
    _I64,
    _ONE,
    _V8F,
    _V8I,
    _V16F,
    _V16I,
    _WIDE,
    _across,
    _call,
    _fma,
    _half,
    _load,
    _part,
    _unpack,
    _whole,
    by_width,
)


def _blocks(builder: Any, arguments: Any, bits: int) -> Any:
    """The sum over blocks of ``sum((code - zero[id]) * scale[id] * x)``, each of whole stretches of 32 codes.

    ``extent`` is ``blocks << 32 | stretches of a block``, ``bits`` a literal. The places are addresses: of packed
    bytes; of ids, a byte each; of float32 numbers; of half-precision scales, three a block; of as many zeros.

    The outer loop, over blocks: two vectors of sums go round, and are added across their lanes once, at the end.
    """
    places, extent = arguments
    codes, ids, vector, scales, zeros = (builder.extract_value(places, i) for i in range(5))
    blocks, stretches = builder.ashr(extent, _whole(32)), builder.and_(extent, _whole(0xFFFFFFFF))
    head, body, after = (builder.append_basic_block(name) for name in ("head", "block", "after"))
    entry = builder.block
    builder.branch(head)
    builder.position_at_end(head)
    index, sums = builder.phi(_I64), [builder.phi(_V16F) for _ in range(2)]
    index.add_incoming(_whole(0), entry)
    for sum_ in sums:
        sum_.add_incoming(ir.Constant(_V16F, [0.0] * 16), entry)
    builder.cbranch(builder.icmp_signed("<", index, blocks), body, after)

    builder.position_at_end(body)
    done = builder.mul(index, stretches)
    here = [builder.add(place, builder.mul(done, _whole(step))) for place, step in _steps(codes, ids, vector, bits)]
    grids = [_three(builder, builder.add(place, builder.mul(index, _whole(6)))) for place in (scales, zeros)]
    grown = _stretches(builder, (here, stretches, sums), bits, grids)
    for sum_, more in zip(sums, grown, strict=True):
        sum_.add_incoming(more, builder.block)
    index.add_incoming(builder.add(index, _whole(1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    return _across(builder, builder.fadd(*sums))


def _stretches(builder: Any, places: Any, bits: int, grids: list[Any]) -> list[Any]:
    """The inner loop, over the stretches of one block; one sum for each half of a stretch."""
    (codes, ids, vector), stretches, starts = places
    head, body, after = (builder.append_basic_block(name) for name in ("inner", "stretch", "summed"))
    entry = builder.block
    builder.branch(head)
    builder.position_at_end(head)
    index, sums = builder.phi(_I64), [builder.phi(_V16F) for _ in range(2)]
    index.add_incoming(_whole(0), entry)
    for sum_, start in zip(sums, starts, strict=True):
        sum_.add_incoming(start, entry)
    builder.cbranch(builder.icmp_signed("<", index, stretches), body, after)

    builder.position_at_end(body)
    here = [builder.add(place, builder.mul(index, _whole(step))) for place, step in _steps(codes, ids, vector, bits)]
    for half, sum_ in enumerate(sums):
        code = builder.sitofp(_unpack(builder, here[0], bits, half), _V16F)
        which = builder.zext(_load(builder, here[1], 16 * half, ir.VectorType(_I8, 16), 1), _V16I)
        scale, zero = (_pick(builder, grid, which) for grid in grids)
        level = builder.fmul(builder.fsub(code, zero), scale)
        sum_.add_incoming(_fma(builder, level, _load(builder, here[2], 64 * half, _V16F, 4), sum_), builder.block)
    index.add_incoming(builder.add(index, _whole(1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    return sums


def _steps(codes: Any, ids: Any, vector: Any, bits: int) -> list[tuple[Any, int]]:
    """The places with the bytes that a stretch takes there."""
    return [(codes, 4 * bits), (ids, 32), (vector, 128)]


def _three(builder: Any, address: Any) -> Any:
    """Three half-precision numbers in the first lanes of a vector."""
    found = ir.Constant(_V16F, [0.0] * 16)
    for lane in range(3):
        value = _half(builder, builder.add(address, _whole(2 * lane)))
        found = builder.insert_element(found, value, ir.Constant(_I32, lane))
    return found


def _pick(builder: Any, grid: Any, which: Any) -> Any:
    """The grid's value of every id (0, 1 or 2)."""
    if _WIDE:
        return _call(builder, _ONE, [_V16F, _V16I], [grid, which])
    low = _part(builder, grid, 0)
    halves = [_call(builder, _EIGHT, [_V8F, _V8I], [low, _part(builder, which, half)], _V8F) for half in range(2)]
    return builder.shuffle_vector(*halves, ir.Constant(_V16I, list(range(16))))


split_product = by_width(_blocks)
