"""One vector loop that numba cannot write by itself: products of packed codes with a table held in registers.

A 512-bit register holds 16 table entries, and one instruction looks 16 codes up in it; two registers hold 32. With AVX2
alone a register holds 8, and an entry is picked among two, four or eight of them. The loop is emitted as LLVM code by
numba's own compiler, so nothing has to be built at installation. ``AVAILABLE`` says whether this machine (or the one
that ``NUMBA_CPU_FEATURES`` names) has the instructions; elsewhere ``kernels`` goes its plain way.
"""

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import config
from numba.extending import intrinsic


def _features() -> dict[str, bool]:
    named = getattr(config, "CPU_FEATURES", None)
    if named is not None:
        return {word[1:]: word[0] == "+" for word in named.split(",")}
    return dict(llvmlite.binding.get_host_cpu_features())


_FEATURES = _features()
_WIDE = bool(_FEATURES.get("avx512f"))
AVAILABLE = _WIDE or bool(_FEATURES.get("avx2") and _FEATURES.get("fma"))
WIDEST = 6
"""Bits of the widest code that the loop takes: 64 entries in four registers."""

_I8, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_V16I, _V16F = ir.VectorType(_I32, 16), ir.VectorType(_F32, 16)
_V8I, _V8F = ir.VectorType(_I32, 8), ir.VectorType(_F32, 8)
_EIGHT = "llvm.x86.avx2.permps"
_ONE = "llvm.x86.avx512.permvar.sf.512"
_TWO = "llvm.x86.avx512.vpermi2var.ps.512"


def _row_product(typing: Any, codes: Any, levels: Any, vector: Any, scales: Any, extent: Any, bits: Any) -> Any:
    """The sum over blocks of ``scale * sum(level(code) * x)``, each block a number of whole stretches of 32 codes.

    ``extent`` is ``blocks << 32 | stretches of a block``. All but the last two are addresses: of packed bytes; of 64
    float32, the table; of float32 numbers; of half-precision scales, one a block. ``bits`` is a literal. Negative, it
    asks for the second form: the level is ``code - zero``, without a table, and ``levels`` is the distance in bytes
    from the half-precision zeros, one a block, up to the scales.
    """
    del typing
    if not isinstance(bits, types.IntegerLiteral):
        return None
    width = bits.literal_value
    signature = types.float32(codes, levels, vector, scales, extent, bits)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del context, signature
        return _blocks(builder, arguments[:-1], abs(width), affine=width < 0)

    return signature, emit


row_product: Any = intrinsic(_row_product)


def _hold(typing: Any, arrays: Any) -> Any:
    """Nothing, but a mention: numba frees an array after its last one, and an address taken from it is none.

    So whoever hands addresses of its own arrays to a loop mentions the arrays afterwards.
    """
    del typing

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del builder, signature, arguments
        return context.get_dummy_value()

    return types.void(arrays), emit


hold: Any = intrinsic(_hold)


def by_width(blocks: Any) -> Any:
    """An intrinsic ``product(places, extent, bits)`` in float32 whose code ``blocks(builder, arguments, bits)`` emits.

    ``places`` is a tuple of addresses; ``bits`` must be a literal, since each width has a loop of its own.
    """

    def product(typing: Any, places: Any, extent: Any, bits: Any) -> Any:
        del typing
        if not isinstance(bits, types.IntegerLiteral):
            return None
        width = bits.literal_value

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del context, signature
            return blocks(builder, arguments[:-1], width)

        return types.float32(places, extent, bits), emit

    product.__doc__ = blocks.__doc__
    return intrinsic(product)


def _blocks(builder: Any, arguments: Any, bits: int, *, affine: bool) -> Any:
    """The outer loop, over blocks: the vector of sums goes round, and is added across its lanes once, at the end."""
    codes, levels, vector, scales, extent = arguments
    blocks = builder.ashr(extent, ir.Constant(_I64, 32))
    stretches = builder.and_(extent, ir.Constant(_I64, 0xFFFFFFFF))
    registers = [] if affine else [_load(builder, levels, 64 * i, _V16F, 4) for i in range(max(1 << bits, 16) // 16)]
    entry, head = builder.block, builder.append_basic_block("head")
    body, after = builder.append_basic_block("block"), builder.append_basic_block("after")
    builder.branch(head)
    builder.position_at_end(head)
    index, total = builder.phi(_I64), builder.phi(_V16F)
    index.add_incoming(ir.Constant(_I64, 0), entry)
    total.add_incoming(ir.Constant(_V16F, [0.0] * 16), entry)
    builder.cbranch(builder.icmp_signed("<", index, blocks), body, after)

    builder.position_at_end(body)
    done = builder.mul(index, stretches)
    here = builder.add(codes, builder.mul(done, ir.Constant(_I64, 4 * bits)))
    there = builder.add(vector, builder.mul(done, ir.Constant(_I64, 128)))
    place = builder.add(scales, builder.mul(index, ir.Constant(_I64, 2)))
    scale = _splat(builder, _half(builder, place))
    zero = _splat(builder, _half(builder, builder.sub(place, levels))) if affine else None
    partial = _stretches(builder, (here, there, stretches), bits, registers, zero)
    total.add_incoming(_fma(builder, scale, partial, total), builder.block)
    index.add_incoming(builder.add(index, ir.Constant(_I64, 1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    return _across(builder, total)


def _stretches(builder: Any, places: Any, bits: int, registers: list[Any], zero: Any) -> Any:
    """The inner loop, over the stretches of one block; two sums, for the two halves of a stretch."""
    codes, vector, stretches = places
    entry, head = builder.block, builder.append_basic_block("inner")
    body, after = builder.append_basic_block("stretch"), builder.append_basic_block("summed")
    builder.branch(head)
    builder.position_at_end(head)
    index, sums = builder.phi(_I64), [builder.phi(_V16F) for _ in range(2)]
    index.add_incoming(ir.Constant(_I64, 0), entry)
    for sum_ in sums:
        sum_.add_incoming(ir.Constant(_V16F, [0.0] * 16), entry)
    builder.cbranch(builder.icmp_signed("<", index, stretches), body, after)

    builder.position_at_end(body)
    here = builder.add(codes, builder.mul(index, ir.Constant(_I64, 4 * bits)))
    there = builder.add(vector, builder.mul(index, ir.Constant(_I64, 128)))
    for half, sum_ in enumerate(sums):
        found = _unpack(builder, here, bits, half)
        level = _look_up(builder, registers, found) if zero is None else _level(builder, found, zero)
        x = _load(builder, there, 64 * half, _V16F, 4)
        sum_.add_incoming(_fma(builder, level, x, sum_), builder.block)
    index.add_incoming(builder.add(index, ir.Constant(_I64, 1)), builder.block)
    builder.branch(head)

    builder.position_at_end(after)
    return builder.fadd(*sums)


def _level(builder: Any, codes: Any, zero: Any) -> Any:
    return builder.fsub(builder.sitofp(codes, _V16F), zero)


def _half(builder: Any, address: Any) -> Any:
    """A half-precision number as float32, exact if finite: its bits moved, the exponent's offset multiplied in."""
    bits = builder.zext(_load(builder, address, 0, ir.IntType(16), 2), _I32)
    sign = builder.shl(builder.and_(bits, ir.Constant(_I32, 0x8000)), ir.Constant(_I32, 16))
    rest = builder.shl(builder.and_(bits, ir.Constant(_I32, 0x7FFF)), ir.Constant(_I32, 13))
    return builder.fmul(builder.bitcast(builder.or_(sign, rest), _F32), ir.Constant(_F32, 2.0**112))


def _splat(builder: Any, value: Any) -> Any:
    single = builder.insert_element(ir.Constant(_V16F, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(single, single, ir.Constant(ir.VectorType(_I32, 16), [0] * 16))


def _unpack(builder: Any, address: Any, bits: int, half: int) -> Any:
    """Sixteen codes (of the first or second half of a stretch) in 32-bit lanes; the layout is that of ``bits``."""
    at, done, codes = 0, 0, None
    for piece in (8, 4, 2, 1):
        if bits & piece:
            step, mask = 4 * piece, (1 << piece) - 1
            raw = _load(builder, address, at, ir.VectorType(_I8, step), 1)
            places = [(16 * half + lane) % step for lane in range(16)]
            shifts = [(16 * half + lane) // step * piece for lane in range(16)]
            picked = builder.shuffle_vector(raw, raw, ir.Constant(ir.VectorType(_I32, 16), places))
            wide = builder.zext(picked, _V16I)
            part = builder.and_(builder.lshr(wide, ir.Constant(_V16I, shifts)), ir.Constant(_V16I, [mask] * 16))
            part = builder.shl(part, ir.Constant(_V16I, [done] * 16)) if done else part
            codes = part if codes is None else builder.or_(codes, part)
            at += step
            done += piece
    return codes


def _look_up(builder: Any, registers: list[Any], codes: Any) -> Any:
    """Entries of a table in 1, 2 or 4 registers; the instructions ignore the bits above the ones they need."""
    if not _WIDE:
        halves = [_look_up_8(builder, registers, _part(builder, codes, half)) for half in range(2)]
        return builder.shuffle_vector(*halves, ir.Constant(_V16I, list(range(16))))
    if len(registers) == 1:
        return _call(builder, _ONE, [_V16F, _V16I], [registers[0], codes])
    pairs = [
        _call(builder, _TWO, [_V16F, _V16I, _V16F], [registers[i], codes, registers[i + 1]])
        for i in range(0, len(registers), 2)
    ]
    if len(pairs) == 1:
        return pairs[0]
    upper = builder.icmp_unsigned(">=", codes, ir.Constant(_V16I, [32] * 16))
    return builder.select(upper, pairs[1], pairs[0])


def _look_up_8(builder: Any, registers: list[Any], codes: Any) -> Any:
    """The same for 8 codes with AVX2: looked up in every eighth of the table, then chosen bit by bit of the code."""
    eighths = [_part(builder, register, half) for register in registers for half in range(2)]
    found = [_call(builder, _EIGHT, [_V8F, _V8I], [eighth, codes], _V8F) for eighth in eighths]
    bit = 8
    while len(found) > 1:
        upper = builder.icmp_unsigned(
            "!=", builder.and_(codes, ir.Constant(_V8I, [bit] * 8)), ir.Constant(_V8I, [0] * 8)
        )
        found = [builder.select(upper, found[i + 1], found[i]) for i in range(0, len(found), 2)]
        bit *= 2
    return found[0]


def _part(builder: Any, vector: Any, half: int) -> Any:
    return builder.shuffle_vector(vector, vector, ir.Constant(_V8I, list(range(8 * half, 8 * half + 8))))


def _across(builder: Any, vector: Any) -> Any:
    """The sum of sixteen lanes, by halves."""
    width = 16
    while width > 1:
        width //= 2
        low, high = ([*range(start, start + width)] for start in (0, width))
        parts = [
            builder.shuffle_vector(vector, vector, ir.Constant(ir.VectorType(_I32, width), lanes))
            for lanes in (low, high)
        ]
        vector = builder.fadd(*parts)
    return builder.extract_element(vector, ir.Constant(_I32, 0))


def _load(builder: Any, address: Any, offset: int, kind: Any, align: int) -> Any:
    place = builder.add(address, ir.Constant(_I64, offset))
    return builder.load(builder.inttoptr(place, kind.as_pointer()), align=align)


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    return _call(builder, "llvm.fma.v16f32", [_V16F] * 3, [a, b, c])


def _call(builder: Any, name: str, kinds: list[Any], arguments: list[Any], answer: Any = _V16F) -> Any:
    module = builder.module
    function = module.globals.get(name)
    if function is None:
        function = ir.Function(module, ir.FunctionType(answer, kinds), name=name)
    return builder.call(function, arguments)


def _whole(value: int) -> Any:
    return ir.Constant(_I64, value)
