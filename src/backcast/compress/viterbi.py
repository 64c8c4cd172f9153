"""The cheapest path through a trellis of windows, for sixteen rows at a time.

At every weight the window of the last few bits of codes chooses the level, so the window before leaves
``2 ** bits`` windows to choose from. The path with the least squared error is found by dynamic programming over the
windows' upper parts. The inner step is written as vector instructions, one row a lane, which LLVM turns into whatever
the machine has.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from backcast.compress.layout import Floats

LANES = 16

_I8, _I32, _I64, _F32 = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.FloatType()
_V8, _VI, _VF = (ir.VectorType(kind, LANES) for kind in (_I8, _I32, _F32))


def cheapest(rest: Floats, scale: Floats, table: Floats, bits: int, places: tuple[int, int]) -> NDArray[np.uint8]:
    """The codes (rows, columns) with the least ``sum (rest - scale * table[window])^2`` in every row.

    The table has one level a window. ``scale`` is one a scope, ``places`` are ``affine.steps`` of the layout. At a
    weight that is NaN anything will do.
    """
    codes = np.zeros(rest.shape, dtype=np.uint8)
    _cheapest(rest, scale, np.ascontiguousarray(table, dtype=np.float32), bits, places, codes)
    return codes


@njit(cache=True)
def _cheapest(
    rest: Floats, scale: Floats, table: Floats, bits: int, places: tuple[int, int], codes: NDArray[np.uint8]
) -> None:
    rows, columns = rest.shape
    states = len(table) >> bits
    costs = np.empty((2, states, LANES), dtype=np.float32)
    back = np.empty((columns, states, LANES), dtype=np.uint8)
    value, step = np.zeros(LANES, dtype=np.float32), np.zeros(LANES, dtype=np.float32)
    cost, came = np.int64(costs.ctypes.data), np.int64(back.ctypes.data)
    levels, x, s = np.int64(table.ctypes.data), np.int64(value.ctypes.data), np.int64(step.ctypes.data)
    for first in range(0, rows, LANES):
        lanes = min(LANES, rows - first)
        costs[0] = np.float32(1e30)
        costs[0, 0] = 0  # before a row stand zeros
        for c in range(columns):
            for i in range(lanes):
                weight = rest[first + i, c]
                anything = np.isnan(weight)
                value[i] = 0 if anything else weight
                step[i] = 0 if anything else scale[(first + i) * places[0] + c // places[1]]
            old = cost + np.int64(c & 1) * states * LANES * 4
            new = cost + np.int64(1 - (c & 1)) * states * LANES * 4
            for state in range(np.int64(states)):
                _relax((old, levels, new, came + np.int64(c) * states * LANES), (x, s), (state, states), np.int64(bits))
        for i in range(lanes):
            state = int(np.argmin(costs[columns & 1, :, i]))
            for c in range(columns - 1, -1, -1):
                window = int(back[c, state, i]) * states + state
                codes[first + i, c] = window & ((1 << bits) - 1)
                state = window >> bits


def _relaxed(typing: Any, places: Any, lanes: Any, state: Any, bits: Any) -> Any:
    """One state (and of how many) of one weight: the cheapest of the windows that end in it, and which it was.

    ``places`` are addresses: of (states, 16) costs before, of the table, of (states, 16) costs after and of as many
    bytes that say which; ``lanes`` those of the sixteen weights and of their scales. Windows that end in a state differ
    in their upper ``bits`` bits.
    """
    del typing
    signature = types.void(places, lanes, state, bits)

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        del signature
        _emit(builder, arguments)
        return context.get_dummy_value()

    return signature, emit


_relax: Any = intrinsic(_relaxed)


def _emit(builder: Any, arguments: Any) -> None:
    places, lanes, which_of, bits = arguments
    old, levels, new, came = (builder.extract_value(places, i) for i in range(4))
    state, states = (builder.extract_value(which_of, i) for i in range(2))
    x, s = (_load(builder, builder.extract_value(lanes, i), _VF) for i in range(2))
    entry, head = builder.block, builder.append_basic_block("windows")
    body, after = builder.append_basic_block("window"), builder.append_basic_block("found")
    builder.branch(head)
    builder.position_at_end(head)
    upper, best, which = builder.phi(_I64), builder.phi(_VF), builder.phi(_VI)
    upper.add_incoming(_number(0), entry)
    best.add_incoming(ir.Constant(_VF, [3e38] * LANES), entry)
    which.add_incoming(ir.Constant(_VI, [0] * LANES), entry)
    builder.cbranch(builder.icmp_signed("<", upper, builder.shl(_number(1), bits)), body, after)

    builder.position_at_end(body)
    window = builder.add(builder.mul(upper, states), state)
    before = _load(builder, _at(builder, old, builder.lshr(window, bits), LANES * 4), _VF)
    level = _splat(builder, _load(builder, _at(builder, levels, window, 4), _F32), _VF)
    wrong = _fma(builder, builder.fsub(ir.Constant(_VF, [-0.0] * LANES), level), s, x)
    cost = _fma(builder, wrong, wrong, before)
    less = builder.fcmp_ordered("<", cost, best)
    best.add_incoming(builder.select(less, cost, best), body)
    number = _splat(builder, builder.trunc(upper, _I32), _VI)
    which.add_incoming(builder.select(less, number, which), body)
    upper.add_incoming(builder.add(upper, _number(1)), body)
    builder.branch(head)

    builder.position_at_end(after)
    _store(builder, best, _at(builder, new, state, LANES * 4))
    _store(builder, builder.trunc(which, _V8), _at(builder, came, state, LANES))


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


def _at(builder: Any, base: Any, index: Any, size: int) -> Any:
    return builder.add(base, builder.mul(index, _number(size)))


def _load(builder: Any, address: Any, kind: Any) -> Any:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _store(builder: Any, value: Any, address: Any) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def _splat(builder: Any, value: Any, kind: Any) -> Any:
    single = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_I32, 0))
    return builder.shuffle_vector(single, single, ir.Constant(_VI, [0] * LANES))


def _fma(builder: Any, a: Any, b: Any, c: Any) -> Any:
    name = f"llvm.fma.v{LANES}f32"
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(_VF, [_VF] * 3), name=name)
    return builder.call(function, [a, b, c])
