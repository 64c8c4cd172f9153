"""Decoding rows of packed weights, compiled by numba: the numbers of ``layout.decode``, weights kept exactly aside.

A row is unpacked and decoded into a buffer that stays in the first-level cache.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from backcast.compress import deposit
from backcast.compress.affine import steps
from backcast.compress.bits import unpack_row
from backcast.compress.layout import Floats, Layout, Tensors

KINDS = {"signed": 0, "affine": 1, "split": 2, "planes": 3, "scaled": 4, "trellis": 5, "sparse": 6}

_TRITS = np.zeros((256, 8), dtype=np.uint8)
_TRITS[:, :5] = np.stack([np.arange(256) // power % 3 for power in (1, 3, 9, 27, 81)], axis=1)
_TRITS_AT_ONCE = _TRITS.view("<u8")[:, 0].astype(np.uint64)
"""The five ids of each byte, a byte each, the lowest first."""
_EACH = np.uint64(0x0101010101010101)
_FAST = deposit.AVAILABLE


class Stored(NamedTuple):
    """A stored matrix as the kernels take it: views of its tensors (empty where a kind has none) and plain numbers."""

    packed: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    """Of clusters, packed by threes (``split``), or a bit a weight (``sparse``)."""
    upper: NDArray[np.uint8]
    starts: NDArray[np.int64]
    """``sparse`` only: the second part of the ids, and where each row begins in it."""
    table: NDArray[np.int16]
    fine: NDArray[np.uint8]
    """Magnitudes in 8 bits (``signed``), or scales in 8 bits (``trellis``)."""
    scale: NDArray[np.int16]
    zero: NDArray[np.int16]
    """Scales and zeros as stored, but those of ``planes`` plane by plane."""
    kind: int
    bits: int
    rows: int
    columns: int
    span: int
    row_step: int
    width: int
    entries: int
    unit: np.float32


def stored(layout: Layout, tensors: Tensors) -> Stored:
    """Views of the tensors of one layout; only the scales of planes are copied."""
    planes = 3 if layout.kind == "planes" else 1
    nothing = np.zeros(0, dtype=np.int16)
    table = tensors.get("table", nothing)
    in_bytes = np.zeros(0, dtype=np.uint8)
    if layout.fine:
        in_bytes = table.reshape(-1)
    elif layout.kind == "trellis":
        in_bytes = tensors["scale"]
    empty = np.zeros(0, dtype=np.uint8)
    ids = tensors.get("ids", tensors.get("outer", empty))
    starts = np.zeros(0, dtype=np.int64)
    if layout.kind == "sparse":
        each = np.unpackbits(ids.reshape(layout.rows, -1), axis=1).sum(axis=1, dtype=np.int64)
        starts = np.cumsum(each) - each
    scale, zero = (nothing if layout.kind == "trellis" else tensors.get(key, nothing) for key in ("scale", "zero"))
    if planes == 3:
        scale, zero = (np.ascontiguousarray(part.T) for part in (scale, zero))
    return Stored(
        tensors["weight"].reshape(planes * layout.rows, -1),
        ids.reshape(layout.rows, -1) if len(ids) else np.zeros((0, 0), dtype=np.uint8),
        tensors.get("upper", empty),
        starts,
        nothing if layout.fine else table.reshape(-1),
        in_bytes,
        scale.reshape(-1),
        zero.reshape(-1),
        KINDS[layout.kind],
        layout.bits,
        layout.rows,
        layout.columns,
        layout.span,
        *steps(layout),
        layout.entries,
        np.float32(tensors["unit"].view(np.float32)[0]),
    )


@njit(cache=True, nogil=True)
def decode_rows(m: Stored, first: int, last: int, out: Floats) -> None:
    """``kernels.decode_rows``, compiled."""
    codes = np.zeros(room(m.columns), dtype=np.uint8)
    ids = ids_room(m)
    row, table = np.zeros(room(m.columns), dtype=np.float32), shared_table(m)
    for r in range(first, last):
        decode_row(m, r, codes, ids, table, row)
        out[r - first, :] = row[: m.columns]


@njit(cache=True, nogil=True)
def decode_chosen(m: Stored, chosen: NDArray[np.int64], out: Floats) -> int:
    """``kernels.decode_chosen``, compiled; comes back with the place of the first row that is none, or -1."""
    codes = np.zeros(room(m.columns), dtype=np.uint8)
    ids = ids_room(m)
    row, table = np.zeros(room(m.columns), dtype=np.float32), shared_table(m)
    for i in range(len(chosen)):
        if not 0 <= chosen[i] < m.rows:
            return i
        decode_row(m, chosen[i], codes, ids, table, row)
        out[i, :] = row[: m.columns]
    return -1


@njit(cache=True, inline="always")
def half(bits: int) -> np.float32:
    """A half-precision number from its bits; exact for all finite ones, subnormal ones too."""
    sign = np.uint32(bits & 0x8000) << np.uint32(16)
    rest = np.uint32(bits & 0x7FFF) << np.uint32(13)
    return np.uint32(sign | rest).view(np.float32) * np.float32(2.0**112)


@njit(cache=True)
def room(columns: int) -> int:
    """Columns up to whole stretches."""
    return -(-columns // 32) * 32


@njit(cache=True)
def signed_table(m: Stored, scope: int, table: Floats) -> None:
    """Writes the levels of a scope of a ``signed`` layout, by code."""
    top = 1 << (m.bits - 1)
    for g in range(m.entries):
        if len(m.fine):
            value = np.float32(m.fine[scope * m.entries + g]) * half(m.scale[scope])
        else:
            value = half(m.table[scope * m.entries + g])
        table[g], table[top + g] = value, -value


@njit(cache=True)
def decode_row(m: Stored, r: int, codes: NDArray[np.uint8], ids: NDArray[np.uint8], table: Floats, row: Floats) -> None:
    """Decodes row ``r`` into ``row``; the other arrays are room, but for the table, which is ``shared_table``."""
    unpack_row(m.packed[r], m.bits, codes)
    if m.kind == 3:
        _planes(m, r, codes, row)
        return
    if m.kind in (2, 6):
        row_ids(m, r, ids)
    elif m.kind == 5:
        _windows(codes, m.bits, m.entries, ids)
    for start in range(0, m.columns, m.width):
        scope, end = r // m.span * m.row_step + start // m.width, min(start + m.width, m.columns)
        if m.kind == 4:
            _scaled(table, half(m.scale[scope]), m.unit, codes[start:end], row[start:end])
        elif m.kind == 5:
            _scaled(table, square(m.fine[scope]), m.unit, ids[start:end], row[start:end])
        elif m.kind == 1:
            _affine(half(m.scale[scope]), half(m.zero[scope]), m.unit, codes[start:end], row[start:end])
        elif m.kind == 0:
            _signed(m, scope, codes[start:end], row[start:end])
        else:
            _split(m, scope, codes[start:end], ids[start:end], row[start:end])


@njit(cache=True)
def _affine(scale: np.float32, zero: np.float32, unit: np.float32, codes: NDArray[np.uint8], row: Floats) -> None:
    for c in range(len(row)):
        row[c] = (np.float32(codes[c]) - zero) * scale * unit


@njit(cache=True)
def shared_table(m: Stored) -> Floats:
    """The one table of a ``scaled`` or ``trellis`` layout; zeros for the other kinds."""
    table = np.zeros(256, dtype=np.float32)
    if m.kind >= 4:
        for level in range(m.entries):
            table[level] = half(m.table[level]) if m.kind == 4 else _brief(m.table[level])
    return table


@njit(cache=True)
def _windows(codes: NDArray[np.uint8], bits: int, entries: int, found: NDArray[np.uint8]) -> None:
    """``bits.windows`` of one row. One loop for each code back: the compiler makes vectors of bytes of it."""
    n, last = len(codes), np.uint8(entries - 1)
    found[:n] = codes
    for back in range(1, -(-7 // bits)):
        shift = np.uint8(back * bits)
        for c in range(back, n):
            found[c] |= codes[c - back] << shift
    for c in range(n):
        found[c] &= last


@njit(cache=True, inline="always")
def _brief(bits: int) -> np.float32:
    """A bfloat16 number from its bits."""
    return np.uint32(np.uint32(bits & 0xFFFF) << np.uint32(16)).view(np.float32)


@njit(cache=True, inline="always")
def square(byte: int) -> np.float32:
    """The scale that a byte stands for, as ``layout.squares``."""
    wide = np.float32(byte)
    return wide * wide * np.float32(2.0**-16)


@njit(cache=True)
def _scaled(table: Floats, scale: np.float32, unit: np.float32, codes: NDArray[np.uint8], row: Floats) -> None:
    for c in range(len(row)):
        row[c] = table[codes[c]] * scale * unit


@njit(cache=True)
def _signed(m: Stored, scope: int, codes: NDArray[np.uint8], row: Floats) -> None:
    table = np.empty(256, dtype=np.float32)
    signed_table(m, scope, table)
    for c in range(len(row)):
        row[c] = table[codes[c]] * m.unit


@njit(cache=True)
def _split(m: Stored, scope: int, codes: NDArray[np.uint8], ids: NDArray[np.uint8], row: Floats) -> None:
    scale, zero = np.empty(3, dtype=np.float32), np.empty(3, dtype=np.float32)
    for p in range(3):
        scale[p], zero[p] = half(m.scale[scope * 3 + p]), half(m.zero[scope * 3 + p])
    for c in range(len(row)):
        row[c] = (np.float32(codes[c]) - zero[ids[c]]) * scale[ids[c]] * m.unit


@njit(cache=True)
def _planes(m: Stored, r: int, codes: NDArray[np.uint8], row: Floats) -> None:
    row[:] = 0
    scopes = len(m.scale) // 3
    for p in range(3):
        unpack_row(m.packed[p * m.rows + r], m.bits, codes)
        for start in range(0, m.columns, m.width):
            scope = p * scopes + r // m.span * m.row_step + start // m.width
            scale, zero = half(m.scale[scope]), half(m.zero[scope])
            for c in range(start, min(start + m.width, m.columns)):
                row[c] += (np.float32(codes[c]) - zero) * scale
    for c in range(m.columns):
        row[c] *= m.unit


@njit(cache=True)
def ids_room(m: Stored) -> NDArray[np.uint8]:
    """Room for the ids (or windows) of one row, in whole bytes of each form and whole stretches."""
    return np.zeros(room(m.columns) + 8, dtype=np.uint8)


@njit(cache=True)
def row_ids(m: Stored, r: int, ids: NDArray[np.uint8]) -> None:
    """Writes the cluster 0, 1 or 2 of every weight of row ``r``."""
    packed, place = m.ids[r], np.int64(ids.ctypes.data)
    if m.kind == 2:
        for j in range(len(packed)):
            deposit.put(place + 5 * j, _TRITS_AT_ONCE[packed[j]])
    elif len(m.upper) == 0:
        ids[:] = 1
    elif _FAST:
        _sparse_at_once(m, r, place)
    else:
        _sparse(m, r, ids)


@njit(cache=True)
def _sparse(m: Stored, r: int, ids: NDArray[np.uint8]) -> None:
    packed, at, last = m.ids[r], m.starts[r], len(m.upper) - 1
    for j in range(len(packed)):
        for i in range(8):
            outer = np.int64(packed[j] >> i & 1)
            upper = m.upper[min(at >> 3, last)] >> (at & 7) & 1
            ids[8 * j + i] = 1 + outer * (2 * np.int64(upper) - 1)
            at += outer


@njit(cache=True)
def _sparse_at_once(m: Stored, r: int, place: Any) -> None:
    """The same, eight weights a step."""
    packed, at, last = m.ids[r], m.starts[r], len(m.upper) - 1
    for j in range(len(packed)):
        outer = deposit.deposit(np.uint64(packed[j]), _EACH)
        byte = min(at >> 3, last)
        two = np.uint64(m.upper[byte]) | np.uint64(m.upper[min(byte + 1, last)]) << np.uint64(8)
        upper = deposit.deposit(two >> np.uint64(at & 7), outer)
        deposit.put(place + 8 * j, _EACH - outer + upper + upper)
        at += np.int64(deposit.ones(np.uint64(packed[j])))
