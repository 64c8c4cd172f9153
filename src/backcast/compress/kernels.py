"""Kernels on packed weights for one CPU core each, compiled by numba: decode rows, or multiply with a few vectors.

A row is unpacked and decoded into a buffer that stays in the first-level cache, then multiplied: the weights are read
from memory once, packed. ``decode_rows`` gives the very numbers of ``layout.decode``.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from backcast.compress import vectors, windowed
from backcast.compress.affine import steps
from backcast.compress.bits import STRETCH, unpack_row
from backcast.compress.layout import Floats, Layout, Tensors

KINDS = {"signed": 0, "affine": 1, "split": 2, "planes": 3, "scaled": 4, "trellis": 5}


class Stored(NamedTuple):
    """A stored matrix as the kernels take it: views of its tensors (empty where a kind has none) and plain numbers."""

    packed: NDArray[np.uint8]
    ids: NDArray[np.uint8]
    table: NDArray[np.int16]
    fine: NDArray[np.uint8]
    """Magnitudes in 8 bits (``signed``), or scales in 8 bits (``trellis``)."""
    scale: NDArray[np.int16]
    zero: NDArray[np.int16]
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
    """Views of the tensors of one layout; nothing is copied."""
    planes = 3 if layout.kind == "planes" else 1
    nothing = np.zeros(0, dtype=np.int16)
    table = tensors.get("table", nothing)
    in_bytes = np.zeros(0, dtype=np.uint8)
    if layout.fine:
        in_bytes = table.reshape(-1)
    elif layout.kind == "trellis":
        in_bytes = tensors["scale"]
    ids = tensors["ids"] if "ids" in tensors else np.zeros(0, dtype=np.uint8)
    return Stored(
        tensors["weight"].reshape(planes * layout.rows, -1),
        ids.reshape(layout.rows, -1) if len(ids) else np.zeros((0, 0), dtype=np.uint8),
        nothing if layout.fine else table.reshape(-1),
        in_bytes,
        nothing if layout.kind == "trellis" else tensors.get("scale", nothing).reshape(-1),
        tensors.get("zero", nothing).reshape(-1),
        KINDS[layout.kind],
        layout.bits,
        layout.rows,
        layout.columns,
        layout.span,
        *steps(layout),
        layout.entries,
        np.float32(tensors["unit"].view(np.float32)[0]),
    )


def decode_rows(matrix: Stored, first: int, last: int, out: Floats) -> None:
    """Writes rows ``first .. last - 1`` to ``out`` (at least so many rows, columns); weights kept exactly excepted."""
    _decode_rows(matrix, first, last, out)


def multiply(matrix: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """``out[:, r] = rows @ row r`` for rows ``first .. last - 1`` of the matrix.

    ``rows`` is (n, columns), ``out`` (n, rows of the matrix). Releases the interpreter's lock, so that threads
    can share the rows. Weights kept exactly excepted.
    """
    if not in_registers(matrix):
        _multiply(matrix, rows, first, last, out)
        return
    room = -(-matrix.columns // STRETCH) * STRETCH
    work = _multiply_windows if matrix.kind == KINDS["trellis"] else _multiply_table
    if room != matrix.columns:
        rows = np.pad(rows, ((0, 0), (0, room - matrix.columns)))
    work(matrix, rows, first, last, out)


def add_kept(vectors: Floats, rows: Any, columns: Any, difference: Floats, out: Floats) -> None:
    """Adds to ``out`` (n, rows) what the kernels lack at the weights that are kept exactly."""
    _add_kept(vectors, rows, columns, difference, out)


@njit(cache=True, nogil=True)
def _add_kept(vectors: Floats, rows: Any, columns: Any, difference: Floats, out: Floats) -> None:
    for t in range(vectors.shape[0]):
        for i in range(len(rows)):
            out[t, rows[i]] += vectors[t, columns[i]] * difference[i]


def in_registers(matrix: Stored) -> bool:
    """Whether rows can be multiplied by looking codes up in vector registers, on this machine and in this layout."""
    whole = matrix.width % STRETCH == 0 or matrix.width == matrix.columns
    if matrix.kind == KINDS["trellis"]:
        return vectors_available() and windowed.AVAILABLE and whole
    narrow = matrix.bits <= vectors.WIDEST or matrix.kind == 1
    return vectors_available() and whole and matrix.kind in (0, 1, 4) and narrow


def vectors_available() -> bool:
    """Whether this processor has the instructions; a function, so that tests can take them away."""
    return vectors.AVAILABLE


@njit(cache=True, inline="always")
def _half(bits: int) -> np.float32:
    """A half-precision number from its bits; exact for all finite ones, subnormal ones too."""
    sign = np.uint32(bits & 0x8000) << np.uint32(16)
    rest = np.uint32(bits & 0x7FFF) << np.uint32(13)
    return np.uint32(sign | rest).view(np.float32) * np.float32(2.0**112)


@njit(cache=True)
def _room(columns: int) -> int:
    return -(-columns // 32) * 32


@njit(cache=True, nogil=True)
def _decode_rows(m: Stored, first: int, last: int, out: Floats) -> None:
    codes = np.zeros(_room(m.columns), dtype=np.uint8)
    ids = np.zeros(m.ids.shape[1] * 5, dtype=np.uint8)
    row, table = np.zeros(_room(m.columns), dtype=np.float32), _shared_table(m)
    for r in range(first, last):
        _row(m, r, codes, ids, table, row)
        out[r - first, :] = row[: m.columns]


@njit(cache=True, nogil=True)
def _multiply(m: Stored, vectors: Floats, first: int, last: int, out: Floats) -> None:
    codes = np.zeros(_room(m.columns), dtype=np.uint8)
    ids = np.zeros(m.ids.shape[1] * 5, dtype=np.uint8)
    row, table = np.zeros(_room(m.columns), dtype=np.float32), _shared_table(m)
    for r in range(first, last):
        _row(m, r, codes, ids, table, row)
        for t in range(vectors.shape[0]):
            out[t, r] = _dot(row, vectors[t])


@njit(cache=True, nogil=True)
def _multiply_table(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Levels are looked up in, or computed in, vector registers, a block at a time."""
    table, one = np.zeros(64, dtype=np.float32), np.array([0x3C00], dtype=np.int16)
    x, levels, row_bytes = np.int64(rows.ctypes.data), np.int64(table.ctypes.data), rows.shape[1] * 4
    bits, each = m.bits, m.kind == 0 and m.width < m.columns
    if m.kind == 4:
        table = _shared_table(m)
        levels = np.int64(table.ctypes.data)
    elif m.kind == 1:
        levels = np.int64(m.scale.ctypes.data) - np.int64(m.zero.ctypes.data)
        bits = -bits
    elif m.row_step == 0:
        _signed_table(m, 0, table)
    whole, blocks = m.width // 32, -(-m.columns // m.width)
    rest = -(-(m.columns - (blocks - 1) * m.width) // 32)
    for r in range(first, last):
        codes, scope = np.int64(m.packed[r].ctypes.data), r // m.span * m.row_step
        scales = np.int64(one.ctypes.data) if m.kind == 0 else np.int64(m.scale.ctypes.data) + 2 * scope
        for t in range(len(rows)):
            here, total = x + t * row_bytes, np.float32(0)
            if each:
                for block in range(blocks):
                    _signed_table(m, scope + block, table)
                    place, vector = codes + block * whole * 4 * bits, here + block * whole * 128
                    extent = _extent(1, rest if block == blocks - 1 else whole)
                    total += _product(place, levels, vector, scales, extent, bits)
            else:
                if m.kind == 0 and m.row_step != 0:
                    _signed_table(m, scope, table)
                total = _product(codes, levels, here, scales, _extent(blocks - 1, whole), bits)
                place, vector = codes + (blocks - 1) * whole * 4 * m.bits, here + (blocks - 1) * whole * 128
                final = scales if m.kind == 0 else scales + 2 * (blocks - 1)
                total += _product(place, levels, vector, final, _extent(1, rest), bits)
            out[t, r] = total * m.unit


@njit(cache=True, nogil=True)
def _multiply_windows(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """As ``_multiply_table``, for trellis codes: those at the end of one call are before the first of the next."""
    past, paired = np.zeros(32, dtype=np.int16), np.empty_like(rows)
    for start in range(0, rows.shape[1], 32):
        paired[:, start : start + 16] = rows[:, start : start + 32 : 2]
        paired[:, start + 16 : start + 32] = rows[:, start + 1 : start + 32 : 2]
    x, levels, before = np.int64(paired.ctypes.data), np.int64(m.table.ctypes.data), np.int64(past.ctypes.data)
    whole, blocks = m.width // 32, -(-m.columns // m.width)
    rest = -(-(m.columns - (blocks - 1) * m.width) // 32)
    for r in range(first, last):
        codes, scales = np.int64(m.packed[r].ctypes.data), np.int64(m.fine.ctypes.data) + r * m.row_step
        for t in range(len(rows)):
            here = x + t * rows.shape[1] * 4
            past[:] = 0
            places = (codes, levels, here, scales, before)
            total = _windowed(places, _extent(blocks - 1, whole), m.bits)
            done = (blocks - 1) * whole
            left = (codes + done * 4 * m.bits, levels, here + done * 128, scales + blocks - 1, before)
            total += _windowed(left, _extent(1, rest), m.bits)
            out[t, r] = total * m.unit


@njit(cache=True)
def _windowed(places: Any, extent: Any, bits: int) -> Any:
    if bits == 4:
        return windowed.window_product(places, extent, 4)
    if bits == 3:
        return windowed.window_product(places, extent, 3)
    if bits == 2:
        return windowed.window_product(places, extent, 2)
    if bits == 5:
        return windowed.window_product(places, extent, 5)
    if bits == 6:
        return windowed.window_product(places, extent, 6)
    if bits == 1:
        return windowed.window_product(places, extent, 1)
    if bits == 7:
        return windowed.window_product(places, extent, 7)
    return windowed.window_product(places, extent, 8)


@njit(cache=True)
def _extent(blocks: int, stretches: int) -> int:
    return (blocks << 32) | stretches


@njit(cache=True)
def _product(codes: Any, levels: Any, x: Any, scales: Any, extent: Any, bits: int) -> Any:
    # The loop is made for one width of codes and one form of levels; each needs its own.
    if bits == 4:
        return vectors.row_product(codes, levels, x, scales, extent, 4)
    if bits == 3:
        return vectors.row_product(codes, levels, x, scales, extent, 3)
    if bits == 2:
        return vectors.row_product(codes, levels, x, scales, extent, 2)
    if bits == 5:
        return vectors.row_product(codes, levels, x, scales, extent, 5)
    if bits == 6:
        return vectors.row_product(codes, levels, x, scales, extent, 6)
    if bits == 1:
        return vectors.row_product(codes, levels, x, scales, extent, 1)
    return _affine_product(codes, levels, x, scales, extent, bits)


@njit(cache=True)
def _affine_product(codes: Any, levels: Any, x: Any, scales: Any, extent: Any, bits: int) -> Any:
    if bits == -4:
        return vectors.row_product(codes, levels, x, scales, extent, -4)
    if bits == -8:
        return vectors.row_product(codes, levels, x, scales, extent, -8)
    if bits == -3:
        return vectors.row_product(codes, levels, x, scales, extent, -3)
    if bits == -2:
        return vectors.row_product(codes, levels, x, scales, extent, -2)
    if bits == -5:
        return vectors.row_product(codes, levels, x, scales, extent, -5)
    if bits == -6:
        return vectors.row_product(codes, levels, x, scales, extent, -6)
    if bits == -7:
        return vectors.row_product(codes, levels, x, scales, extent, -7)
    return vectors.row_product(codes, levels, x, scales, extent, -1)


@njit(cache=True)
def _signed_table(m: Stored, scope: int, table: Floats) -> None:
    top = 1 << (m.bits - 1)
    for g in range(m.entries):
        if len(m.fine):
            value = np.float32(m.fine[scope * m.entries + g]) * _half(m.scale[scope])
        else:
            value = _half(m.table[scope * m.entries + g])
        table[g], table[top + g] = value, -value


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(row: Floats, vector: Floats) -> np.float32:
    total = np.float32(0)
    for c in range(len(vector)):
        total += row[c] * vector[c]
    return total


@njit(cache=True)
def _row(m: Stored, r: int, codes: NDArray[np.uint8], ids: NDArray[np.uint8], table: Floats, row: Floats) -> None:
    """Decodes row ``r`` into ``row``."""
    unpack_row(m.packed[r], m.bits, codes)
    if m.kind == 3:
        _planes(m, r, codes, row)
        return
    if m.kind == 2:
        _unpack_trits(m.ids[r], ids)
    elif m.kind == 5:
        _windows(codes, m.bits, m.entries)
    for start in range(0, m.columns, m.width):
        scope, end = r // m.span * m.row_step + start // m.width, min(start + m.width, m.columns)
        if m.kind == 4:
            _scaled(table, _half(m.scale[scope]), m.unit, codes[start:end], row[start:end])
        elif m.kind == 5:
            _scaled(table, _square(m.fine[scope]), m.unit, codes[start:end], row[start:end])
        elif m.kind == 1:
            _affine(_half(m.scale[scope]), _half(m.zero[scope]), m.unit, codes[start:end], row[start:end])
        elif m.kind == 0:
            _signed(m, scope, codes[start:end], row[start:end])
        else:
            _split(m, scope, codes[start:end], ids[start:end], row[start:end])


@njit(cache=True)
def _affine(scale: np.float32, zero: np.float32, unit: np.float32, codes: NDArray[np.uint8], row: Floats) -> None:
    for c in range(len(row)):
        row[c] = (np.float32(codes[c]) - zero) * scale * unit


@njit(cache=True)
def _shared_table(m: Stored) -> Floats:
    """The one table of a ``scaled`` or ``trellis`` layout; zeros for the other kinds."""
    table = np.zeros(256, dtype=np.float32)
    if m.kind >= 4:
        for level in range(m.entries):
            table[level] = _half(m.table[level]) if m.kind == 4 else _brief(m.table[level])
    return table


@njit(cache=True)
def _windows(codes: NDArray[np.uint8], bits: int, entries: int) -> None:
    """``bits.windows`` of one row, in place."""
    window = np.uint32(0)
    for c in range(len(codes)):
        window = (window << np.uint32(bits) | codes[c]) & np.uint32(entries - 1)
        codes[c] = window


@njit(cache=True, inline="always")
def _brief(bits: int) -> np.float32:
    """A bfloat16 number from its bits."""
    return np.uint32(np.uint32(bits & 0xFFFF) << np.uint32(16)).view(np.float32)


@njit(cache=True, inline="always")
def _square(byte: int) -> np.float32:
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
    _signed_table(m, scope, table)
    for c in range(len(row)):
        row[c] = table[codes[c]] * m.unit


@njit(cache=True)
def _split(m: Stored, scope: int, codes: NDArray[np.uint8], ids: NDArray[np.uint8], row: Floats) -> None:
    scale, zero = np.empty(3, dtype=np.float32), np.empty(3, dtype=np.float32)
    for p in range(3):
        scale[p], zero[p] = _half(m.scale[scope * 3 + p]), _half(m.zero[scope * 3 + p])
    for c in range(len(row)):
        row[c] = (np.float32(codes[c]) - zero[ids[c]]) * scale[ids[c]] * m.unit


@njit(cache=True)
def _planes(m: Stored, r: int, codes: NDArray[np.uint8], row: Floats) -> None:
    row[:] = 0
    for p in range(3):
        unpack_row(m.packed[p * m.rows + r], m.bits, codes)
        for start in range(0, m.columns, m.width):
            scope = (r // m.span * m.row_step + start // m.width) * 3 + p
            scale, zero = _half(m.scale[scope]), _half(m.zero[scope])
            for c in range(start, min(start + m.width, m.columns)):
                row[c] += (np.float32(codes[c]) - zero) * scale
    for c in range(m.columns):
        row[c] *= m.unit


@njit(cache=True)
def _unpack_trits(packed: NDArray[np.uint8], ids: NDArray[np.uint8]) -> None:
    for j in range(len(packed)):
        value = packed[j]
        for i in range(5):
            ids[5 * j + i] = value % 3
            value = value // 3
