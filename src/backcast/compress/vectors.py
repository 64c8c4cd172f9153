"""One vector loop that numba cannot write by itself: products of packed codes with a table held in registers.

A 512-bit register holds 16 table entries, and one instruction looks 16 codes up in it; two registers hold 32. With AVX2
alone a register holds 8, and an entry is picked among two, four or eight of them. The loop is emitted as LLVM code by
numba's own compiler, so nothing has to be built at installation. ``AVAILABLE`` says whether this machine (or the one
that ``NUMBA_CPU_FEATURES`` names) has the instructions; elsewhere ``kernels`` goes its plain way.
"""

from functools import partial
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
_NOTHING = ir.Constant(_V16F, [0.0] * 16)
_V8I, _V8F = ir.VectorType(_I32, 8), ir.VectorType(_F32, 8)
_EIGHT = "llvm.x86.avx2.permps"
_ONE = "llvm.x86.avx512.permvar.sf.512"
_TWO = "llvm.x86.avx512.vpermi2var.ps.512"


ROWS = 4 if _WIDE else 1
"""Rows at a time. What they are multiplied with is loaded once for all of them, and their sums do not wait for each
other. With half as many registers, each half as wide, more than one would not fit."""


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


def by_width(blocks: Any, answer: Any = types.float32) -> Any:
    """An intrinsic ``product(places, extent, bits)`` whose code ``blocks(builder, arguments, bits)`` emits.

    It answers a number, or (``types.void``) writes what it finds. ``places`` is a tuple of addresses; ``bits`` must be
    a literal, since each width has a loop of its own.
    """

    def product(typing: Any, places: Any, extent: Any, bits: Any) -> Any:
        del typing
        if not isinstance(bits, types.IntegerLiteral):
            return None
        width = bits.literal_value

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            del signature
            found = blocks(builder, arguments[:-1], width)
            return context.get_dummy_value() if answer is types.void else found

        return answer(places, extent, bits), emit

    product.__doc__ = blocks.__doc__
    return intrinsic(product)


def taken_apart(builder: Any, values: Any) -> list[Any]:
    """The values of a tuple."""
    return [builder.extract_value(values, i) for i in range(len(values.type.elements))]


def loop(builder: Any, count: Any, starts: list[Any], body: Any) -> list[Any]:
    """Emits a loop: ``body(index, values)`` emits a turn and gives what the values become; back come the last ones."""
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "body", "after"))
    entry = builder.block
    builder.branch(head)
    builder.position_at_end(head)
    index, values = builder.phi(_I64), [builder.phi(start.type) for start in starts]
    for phi, start in zip([index, *values], [_whole(0), *starts], strict=True):
        phi.add_incoming(start, entry)
    builder.cbranch(builder.icmp_signed("<", index, count), inside, after)
    builder.position_at_end(inside)
    grown = body(index, values)
    for phi, value in zip([index, *values], [builder.add(index, _whole(1)), *grown], strict=True):
        phi.add_incoming(value, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return values


def _rows(builder: Any, arguments: Any, bits: int) -> None:
    """Writes, for each of ``ROWS`` rows, the sum over blocks of ``scale * sum(level(code) * x)``.

    ``places`` are addresses: of packed bytes; of 64 float32, the table; of float32 numbers; of float32 scales, one a
    block; of as many zeros; of the sums. ``extent`` is two tuples: the bytes from a row to the next of codes, of
    tables, and of scales and zeros; the number of blocks, and the stretches of 32 codes in each but the last, and in
    the last. ``bits`` is a literal. Negative, it asks for the second form: the level is ``code - zero``, no table.

    The loop over blocks: a vector of sums for each row goes round, and is added across its lanes once, at the end.
    """
    affine, bits = bits < 0, abs(bits)
    (codes, levels, vector, scales, zeros, sums), extent = (taken_apart(builder, part) for part in arguments)
    steps, (blocks, whole, rest) = (taken_apart(builder, part) for part in extent)
    ahead = builder.add(codes, builder.mul(steps[0], _whole(ROWS)))
    codes, levels, scales, zeros = (
        [builder.add(place, builder.mul(step, _whole(i))) for i in range(ROWS)]
        for place, step in zip((codes, levels, scales, zeros), (*steps, steps[2]), strict=True)
    )
    registers = max(1 << bits, 16) // 16
    tables = [] if affine else [[_load(builder, row, 64 * i, _V16F, 4) for i in range(registers)] for row in levels]

    def block(index: Any, totals: list[Any]) -> list[Any]:
        done, at = builder.mul(index, whole), builder.mul(index, _whole(4))
        last = builder.icmp_signed("==", index, builder.sub(blocks, _whole(1)))
        here = [builder.add(row, builder.mul(done, _whole(4 * bits))) for row in codes]
        there = builder.add(vector, builder.mul(done, _whole(128)))
        looks = [partial(_look_up, builder, table) for table in tables]
        if affine:
            offsets = [_splat(builder, _load(builder, builder.add(row, at), 0, _F32, 4)) for row in zeros]
            looks = [_grid(builder, offset, bits) for offset in offsets]
        found = _stretches(
            builder,
            (here, there, builder.select(last, rest, whole), builder.add(ahead, builder.mul(done, _whole(16 * bits)))),
            bits,
            looks,
        )
        each = [_splat(builder, _load(builder, builder.add(row, at), 0, _F32, 4)) for row in scales]
        return [_fma(builder, *three) for three in zip(each, found, totals, strict=True)]

    for i, total in enumerate(loop(builder, blocks, [_NOTHING] * ROWS, block)):
        place = builder.inttoptr(builder.add(sums, _whole(4 * i)), _F32.as_pointer())
        builder.store(_across(builder, total), place, align=4)


def _stretches(builder: Any, places: Any, bits: int, looks: list[Any]) -> list[Any]:
    """The loop over the stretches of one block, with one vector of sums a row."""
    codes, vector, stretches, ahead = places
    # The instructions that look codes up read as many bits as there are, so others may stand above.
    exact = looks[0].func is not _look_up or bits < 4

    def stretch(index: Any, sums: list[Any]) -> list[Any]:
        step, there = builder.mul(index, _whole(4 * bits)), builder.add(vector, builder.mul(index, _whole(128)))
        prefetch(builder, builder.add(ahead, builder.mul(index, _whole(16 * bits))), bits)
        for half in range(2):
            x = _load(builder, there, 64 * half, _V16F, 4)
            found = [_unpack(builder, builder.add(row, step), bits, half, exact=exact) for row in codes]
            levels = [look(one) for look, one in zip(looks, found, strict=True)]
            sums = [_fma(builder, level, x, sum_) for level, sum_ in zip(levels, sums, strict=True)]
        return sums

    return loop(builder, stretches, [_NOTHING] * len(codes), stretch)


def _grid(builder: Any, zero: Any, bits: int) -> Any:
    """How levels are found from codes on an even grid: few enough are a table, made at once."""
    if _WIDE and bits <= 4:
        return partial(_look_up, builder, [builder.fsub(ir.Constant(_V16F, list(map(float, range(16)))), zero)])
    return partial(_level, builder, zero)


def _level(builder: Any, zero: Any, codes: Any) -> Any:
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


def _unpack(builder: Any, address: Any, bits: int, half: int, *, exact: bool = True) -> Any:
    """Sixteen codes (of the first or second half of a stretch) in 32-bit lanes; the layout is that of ``bits``.

    If not ``exact``, anything may stand above the bits of the code.
    """
    at, done, codes = 0, 0, None
    for piece in (8, 4, 2, 1):
        if bits & piece:
            step, mask = 4 * piece, (1 << piece) - 1
            raw = _load(builder, address, at, ir.VectorType(_I8, step), 1)
            places = [(16 * half + lane) % step for lane in range(16)]
            shifts = [(16 * half + lane) // step * piece for lane in range(16)]
            picked = builder.shuffle_vector(raw, raw, ir.Constant(ir.VectorType(_I32, 16), places))
            wide = builder.zext(picked, _V16I)
            part = builder.lshr(wide, ir.Constant(_V16I, shifts))
            if exact or done + piece < bits:
                part = builder.and_(part, ir.Constant(_V16I, [mask] * 16))
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
    upper = builder.icmp_unsigned(
        "!=", builder.and_(codes, ir.Constant(_V16I, [32] * 16)), ir.Constant(_V16I, [0] * 16)
    )
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


def prefetch(builder: Any, address: Any, bits: int, stretches: int = 1) -> None:
    """Asks for what lies at an address, as much as ``ROWS`` rows take for so many stretches, to be in the second cache.

    Rows are too short for the processor to see by itself what comes after them.
    """
    byte, name = ir.IntType(8).as_pointer(), "llvm.prefetch.p0"
    function = builder.module.globals.get(name)
    if function is None:
        kind = ir.FunctionType(ir.VoidType(), [byte, _I32, _I32, _I32])
        function = ir.Function(builder.module, kind, name=name)
    for line in range(0, 16 * bits * stretches, 64):
        place = builder.inttoptr(builder.add(address, _whole(line)), byte)
        builder.call(function, [place, *(ir.Constant(_I32, value) for value in (0, 2, 1))])


def _whole(value: int) -> Any:
    return ir.Constant(_I64, value)


rows_product = by_width(_rows, types.void)
