"""Products of packed weights with a few vectors, compiled by numba: the weights are read from memory once, packed."""

from typing import Any

import numpy as np
from numba import njit

from backcast.compress import bytewise, gathered, splits, vectors, windowed
from backcast.compress.layout import Floats
from backcast.compress.rows import Stored, decode_row, ids_room, room, row_ids, shared_table, signed_table, square

_ORDER = bytewise.order


@njit(cache=True, nogil=True)
def add_kept(vectors: Floats, rows: Any, columns: Any, difference: Floats, out: Floats) -> None:
    """``kernels.add_kept``, compiled."""
    for t in range(vectors.shape[0]):
        for i in range(len(rows)):
            out[t, rows[i]] += vectors[t, columns[i]] * difference[i]


@njit(cache=True, nogil=True)
def multiply_plain(m: Stored, vectors: Floats, first: int, last: int, out: Floats) -> None:
    """Each row is decoded into a buffer, then multiplied: any layout, any processor."""
    codes = np.zeros(room(m.columns), dtype=np.uint8)
    ids = ids_room(m)
    row, table = np.zeros(room(m.columns), dtype=np.float32), shared_table(m)
    for r in range(first, last):
        decode_row(m, r, codes, ids, table, row)
        for t in range(vectors.shape[0]):
            out[t, r] = _dot(row, vectors[t])


@njit(cache=True, nogil=True)
def multiply_table(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Levels are looked up in, or computed in, vector registers, a block at a time."""
    table, one = np.zeros(64, dtype=np.float32), np.array([0x3C00], dtype=np.int16)
    x, levels, row_bytes = np.int64(rows.ctypes.data), np.int64(table.ctypes.data), rows.shape[1] * 4
    # Signs with one magnitude a scope are a table of +1 and -1 with a scale.
    signs = m.kind == 0 and m.entries == 1 and len(m.fine) == 0
    bits, each = m.bits, m.kind == 0 and m.width < m.columns and not signs
    if m.kind == 4:
        table = shared_table(m)
        levels = np.int64(table.ctypes.data)
    elif m.kind == 1:
        levels = np.int64(m.scale.ctypes.data) - np.int64(m.zero.ctypes.data)
        bits = -bits
    elif signs:
        table[0], table[1] = 1, -1
    elif m.row_step == 0:
        signed_table(m, 0, table)
    whole, blocks = m.width // 32, -(-m.columns // m.width)
    rest = -(-(m.columns - (blocks - 1) * m.width) // 32)
    for r in range(first, last):
        codes, scope = np.int64(m.packed[r].ctypes.data), r // m.span * m.row_step
        scales = np.int64(one.ctypes.data) if m.kind == 0 else np.int64(m.scale.ctypes.data) + 2 * scope
        if signs:
            scales = np.int64(m.table.ctypes.data) + 2 * scope
        for t in range(len(rows)):
            here, total = x + t * row_bytes, np.float32(0)
            if each:
                for block in range(blocks):
                    signed_table(m, scope + block, table)
                    place, vector = codes + block * whole * 4 * bits, here + block * whole * 128
                    extent = _extent(1, rest if block == blocks - 1 else whole)
                    total += _product(place, levels, vector, scales, extent, bits)
            else:
                if m.kind == 0 and m.row_step != 0 and not signs:
                    signed_table(m, scope, table)
                total = _product(codes, levels, here, scales, _extent(blocks - 1, whole), bits)
                place, vector = codes + (blocks - 1) * whole * 4 * m.bits, here + (blocks - 1) * whole * 128
                final = scales if m.kind == 0 and not signs else scales + 2 * (blocks - 1)
                total += _product(place, levels, vector, final, _extent(1, rest), bits)
            out[t, r] = total * m.unit
    vectors.hold((table, one))


@njit(cache=True, nogil=True)
def multiply_windows(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """As ``multiply_table``, for trellis codes: those at the end of one call are before the first of the next."""
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
    vectors.hold((past, paired))


@njit(cache=True, nogil=True)
def multiply_bytes(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """As ``multiply_windows``, for rows of whole blocks of 64 codes of less than 8 bits, in lanes of bytes."""
    ordered, split = np.empty_like(rows), np.zeros((2, 128), dtype=np.uint8)
    for start in range(0, rows.shape[1], 64):
        for i in range(64):
            ordered[:, start + i] = rows[:, start + _ORDER[i]]
    for level in range(len(m.table)):
        split[0, level], split[1, level] = m.table[level] & 0xFF, m.table[level] >> 8 & 0xFF
    blocks, scales = rows.shape[1] // 64, np.empty(rows.shape[1] // 64, dtype=np.float32)
    x, levels, factors = np.int64(ordered.ctypes.data), np.int64(split.ctypes.data), np.int64(scales.ctypes.data)
    for r in range(first, last):
        codes, start = np.int64(m.packed[r].ctypes.data), r * m.row_step
        for block in range(blocks):
            scales[block] = square(m.fine[start + block]) * m.unit
        for t in range(len(rows)):
            out[t, r] = _bytewise((codes, levels, x + t * rows.shape[1] * 4, factors), blocks, m.bits)
    vectors.hold((ordered, split, scales))


@njit(cache=True)
def _bytewise(places: Any, blocks: Any, bits: int) -> Any:
    if bits == 4:
        return bytewise.byte_product(places, blocks, 4)
    if bits == 3:
        return bytewise.byte_product(places, blocks, 3)
    if bits == 2:
        return bytewise.byte_product(places, blocks, 2)
    if bits == 5:
        return bytewise.byte_product(places, blocks, 5)
    if bits == 6:
        return bytewise.byte_product(places, blocks, 6)
    if bits == 1:
        return bytewise.byte_product(places, blocks, 1)
    return bytewise.byte_product(places, blocks, 7)


@njit(cache=True, nogil=True)
def multiply_gathered(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """As ``multiply_windows``, with the levels in float32 in memory."""
    past, table = np.zeros(16, dtype=np.int32), shared_table(m)
    x, levels, before = np.int64(rows.ctypes.data), np.int64(table.ctypes.data), np.int64(past.ctypes.data)
    whole, blocks = m.width // 32, -(-m.columns // m.width)
    rest = -(-(m.columns - (blocks - 1) * m.width) // 32)
    for r in range(first, last):
        codes, scales = np.int64(m.packed[r].ctypes.data), np.int64(m.fine.ctypes.data) + r * m.row_step
        for t in range(len(rows)):
            here = x + t * rows.shape[1] * 4
            past[:] = 0
            places = (codes, levels, here, scales, before)
            total = _gathered(places, _extent(blocks - 1, whole), m.bits)
            done = (blocks - 1) * whole
            left = (codes + done * 4 * m.bits, levels, here + done * 128, scales + blocks - 1, before)
            total += _gathered(left, _extent(1, rest), m.bits)
            out[t, r] = total * m.unit
    vectors.hold((past, table))


@njit(cache=True, nogil=True)
def multiply_planes(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Three even grids a row, whose products add up; their scales lie plane by plane."""
    x, row_bytes, scopes = np.int64(rows.ctypes.data), rows.shape[1] * 4, len(m.scale) // 3
    levels = np.int64(m.scale.ctypes.data) - np.int64(m.zero.ctypes.data)
    whole, blocks = m.width // 32, -(-m.columns // m.width)
    rest = -(-(m.columns - (blocks - 1) * m.width) // 32)
    for r in range(first, last):
        out[:, r] = 0
        for p in range(3):
            codes, scope = np.int64(m.packed[p * m.rows + r].ctypes.data), p * scopes + r // m.span * m.row_step
            scales = np.int64(m.scale.ctypes.data) + 2 * scope
            for t in range(len(rows)):
                here = x + t * row_bytes
                total = _affine_product(codes, levels, here, scales, _extent(blocks - 1, whole), -m.bits)
                done = (blocks - 1) * whole
                place, vector = codes + done * 4 * m.bits, here + done * 128
                total += _affine_product(place, levels, vector, scales + 2 * (blocks - 1), _extent(1, rest), -m.bits)
                out[t, r] += total * m.unit


@njit(cache=True, nogil=True)
def multiply_split(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Ids are unpacked to a byte each, row by row; codes are not."""
    ids = ids_room(m)
    x, row_bytes, which = np.int64(rows.ctypes.data), rows.shape[1] * 4, np.int64(ids.ctypes.data)
    whole, blocks = m.width // 32, -(-m.columns // m.width)
    rest = -(-(m.columns - (blocks - 1) * m.width) // 32)
    for r in range(first, last):
        row_ids(m, r, ids)
        codes, scope = np.int64(m.packed[r].ctypes.data), r // m.span * m.row_step
        scales, zeros = np.int64(m.scale.ctypes.data) + 6 * scope, np.int64(m.zero.ctypes.data) + 6 * scope
        for t in range(len(rows)):
            here = x + t * row_bytes
            total = _by_ids((codes, which, here, scales, zeros), _extent(blocks - 1, whole), m.bits)
            done = (blocks - 1) * whole
            left = (
                codes + done * 4 * m.bits,
                which + done * 32,
                here + done * 128,
                scales + 6 * (blocks - 1),
                zeros + 6 * (blocks - 1),
            )
            total += _by_ids(left, _extent(1, rest), m.bits)
            out[t, r] = total * m.unit
    vectors.hold((ids,))


@njit(cache=True)
def _by_ids(places: Any, extent: Any, bits: int) -> Any:
    if bits == 4:
        return splits.split_product(places, extent, 4)
    if bits == 8:
        return splits.split_product(places, extent, 8)
    if bits == 2:
        return splits.split_product(places, extent, 2)
    if bits == 3:
        return splits.split_product(places, extent, 3)
    if bits == 5:
        return splits.split_product(places, extent, 5)
    if bits == 6:
        return splits.split_product(places, extent, 6)
    if bits == 7:
        return splits.split_product(places, extent, 7)
    return splits.split_product(places, extent, 1)


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
def _gathered(places: Any, extent: Any, bits: int) -> Any:
    if bits == 4:
        return gathered.gather_product(places, extent, 4)
    if bits == 3:
        return gathered.gather_product(places, extent, 3)
    if bits == 2:
        return gathered.gather_product(places, extent, 2)
    if bits == 5:
        return gathered.gather_product(places, extent, 5)
    if bits == 6:
        return gathered.gather_product(places, extent, 6)
    if bits == 1:
        return gathered.gather_product(places, extent, 1)
    if bits == 7:
        return gathered.gather_product(places, extent, 7)
    return gathered.gather_product(places, extent, 8)


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


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(row: Floats, vector: Floats) -> np.float32:
    total = np.float32(0)
    for c in range(len(vector)):
        total += row[c] * vector[c]
    return total
