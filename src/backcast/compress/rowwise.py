"""Products of packed weights with a few vectors, one row at a time, compiled by numba: what ``products`` leaves."""

from typing import Any

import numpy as np
from numba import njit

from backcast.compress import gathered, splits, vectors, windowed
from backcast.compress.layout import Floats
from backcast.compress.rows import Stored, decode_row, ids_room, room, row_ids, shared_table


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


@njit(cache=True, fastmath={"reassoc", "contract", "nsz"})
def _dot(row: Floats, vector: Floats) -> np.float32:
    total = np.float32(0)
    for c in range(len(vector)):
        total += row[c] * vector[c]
    return total
