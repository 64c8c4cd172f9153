"""Products of packed weights with a few vectors, compiled by numba: the weights are read from memory once, packed.

Several rows at once share what they are multiplied with. Scratch arrays are handed to the loops by address, so each
function that owns some mentions them last, for ``vectors.hold``.
"""

from typing import Any

import numpy as np
from numba import njit

from backcast.compress import bytewise, signs, vectors
from backcast.compress.layout import Floats
from backcast.compress.rows import Stored, half, shared_table, signed_table, square

_ROWS, _BYTE_ROWS = vectors.ROWS, bytewise.ROWS
_LANES, _NIBBLES = bytewise.order(1), bytewise.order(4)


@njit(cache=True, nogil=True)
def add_kept(vectors: Floats, rows: Any, columns: Any, difference: Floats, out: Floats) -> None:
    """``kernels.add_kept``, compiled."""
    for t in range(vectors.shape[0]):
        for i in range(len(rows)):
            out[t, rows[i]] += vectors[t, columns[i]] * difference[i]


@njit(cache=True, nogil=True)
def multiply_table(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Levels are looked up in, or computed in, vector registers, a block at a time, several rows at once."""
    whole, blocks, rest = _blocks(m)
    height = _ROWS if m.rows >= _ROWS else 1  # fewer rows than at once: one row in every place
    tables, scales, zeros, sums = _rooms(blocks)
    one_table = m.kind != 0 or m.row_step == 0 or _is_signs(m)
    if m.kind == 4:
        tables[0] = shared_table(m)[:64]
    elif _is_signs(m):
        tables[0, 0], tables[0, 1] = 1, -1
    elif m.kind == 0 and m.row_step == 0:
        signed_table(m, 0, tables[0])
    bits, each = (-m.bits if m.kind == 1 else m.bits), m.kind == 0 and blocks > 1 and not _is_signs(m)
    steps = _steps(m, height, 0 if one_table else 256, blocks)
    codes, x, scale, zero = _address(m.packed), _address(rows), m.table if _is_signs(m) else m.scale, m.zero
    for start in range(first, last, height):
        at = min(start, m.rows - height)
        scope = (at, m.span, m.row_step)
        if m.kind != 0 or _is_signs(m):
            _halves(scale, scope, height, scales)
        if m.kind == 1:
            _halves(zero, scope, height, zeros)
        if not one_table and not each:
            for i in range(height):
                signed_table(m, (at + i) // m.span * m.row_step, tables[i])
        for t in range(len(rows)):
            place = (codes + at * m.packed.shape[1], x + t * rows.shape[1] * 4)
            if each:
                _product_by_tables(m, place, (at, height), tables, scales, sums)
            else:
                _product(_places(place, tables, scales, zeros, sums), (steps, (blocks, whole, rest)), bits)
            for r in range(start, min(start + height, last)):
                out[t, r] = sums[0, r - at] * m.unit
    vectors.hold((tables, scales, zeros, sums))


@njit(cache=True)
def _product_by_tables(m: Stored, place: Any, rows: Any, tables: Floats, scales: Floats, sums: Floats) -> None:
    """Every block of every row has a table of its own."""
    (at, height), (whole, blocks, rest) = rows, _blocks(m)
    steps = _steps(m, height, 256, 0)
    sums[1] = 0
    for block in range(blocks):
        for i in range(height):
            signed_table(m, (at + i) // m.span * m.row_step + block, tables[i])
        extent, done = rest if block == blocks - 1 else whole, block * whole
        here = (place[0] + done * 4 * m.bits, place[1] + done * 128)
        _product(_places(here, tables, scales, scales, sums), (steps, (1, extent, extent)), m.bits)
        sums[1] += sums[0]
    sums[0] = sums[1]


@njit(cache=True, nogil=True)
def multiply_signs(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Signs with one magnitude a block; where the processor has masks."""
    whole, blocks, rest = _blocks(m)
    height = _ROWS if m.rows >= _ROWS else 1
    _, scales, _, sums = _rooms(blocks)
    doubled, lanes = np.empty_like(rows), np.zeros((len(rows), blocks, 16), dtype=np.float32)
    for t in range(len(rows)):
        for stretch in range(rows.shape[1] // 32):
            block = min(stretch // max(whole, 1), blocks - 1)
            for i in range(32):
                x = rows[t, 32 * stretch + 4 * (i % 8) + i // 8]
                doubled[t, 32 * stretch + i] = 2 * x
                lanes[t, block, i % 16] += x
    _, _, step = _steps(m, height, 0, blocks)
    steps, table = (m.packed.shape[1] if height > 1 else 0, step), m.table
    codes, x, every = _address(m.packed), _address(doubled), _address(lanes)
    for start in range(first, last, height):
        at = min(start, m.rows - height)
        _halves(table, (at, m.span, m.row_step), height, scales)
        for t in range(len(rows)):
            here = (codes + at * m.packed.shape[1], x + t * rows.shape[1] * 4, every + t * blocks * 64)
            places = (*here, _address(scales), _address(sums))
            signs.sign_product(places, (steps, (blocks, whole, rest)), 1)
            for r in range(start, min(start + height, last)):
                out[t, r] = sums[0, r - at] * m.unit
    vectors.hold((doubled, lanes, scales, sums))


@njit(cache=True)
def _is_signs(m: Stored) -> bool:
    """Whether codes are signs, with one magnitude a scope: a table of +1 and -1 with a scale."""
    return m.kind == 0 and m.entries == 1 and len(m.fine) == 0


@njit(cache=True)
def _blocks(m: Stored) -> Any:
    """Stretches of 32 codes in a block, blocks of a row, and stretches in the last of them."""
    blocks = -(-m.columns // m.width)
    return m.width // 32, blocks, -(-(m.columns - (blocks - 1) * m.width) // 32)


@njit(cache=True)
def _rooms(blocks: int) -> Any:
    """For some rows: tables, scales (ones), zeros, and two lines of sums."""
    tables, sums = np.zeros((_ROWS, 64), dtype=np.float32), np.zeros((2, _ROWS), dtype=np.float32)
    return tables, np.ones((_ROWS, blocks), dtype=np.float32), np.zeros((_ROWS, blocks), dtype=np.float32), sums


@njit(cache=True)
def _steps(m: Stored, height: int, table: int, blocks: int) -> Any:
    """Bytes from row to row of codes, tables and scales."""
    return (m.packed.shape[1], table, 4 * blocks) if height > 1 else (0, 0, 0)


@njit(cache=True)
def _places(place: Any, tables: Floats, scales: Floats, zeros: Floats, sums: Floats) -> Any:
    """The addresses that ``vectors.rows_product`` takes; whoever owns the arrays must ``hold`` them."""
    return place[0], _address(tables), place[1], _address(scales), _address(zeros), _address(sums)


@njit(cache=True, inline="always")
def _address(array: Any) -> Any:
    return np.int64(array.ctypes.data)


@njit(cache=True)
def _halves(values: Any, scope: Any, height: int, found: Floats) -> None:
    """Writes half-precision numbers, one a block, of some rows; ``scope`` is the first row and what finds its own."""
    at, span, step = scope
    for i in range(height):
        first, line = (at + i) // span * step, found[i]
        row = values[first : first + len(line)]
        for block in range(len(line)):
            line[block] = half(row[block])


@njit(cache=True, nogil=True)
def multiply_bytes(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """As ``multiply_windows``, for rows of whole blocks of 64 codes of less than 8 bits, in lanes of bytes."""
    height, blocks = (_BYTE_ROWS if m.rows >= _BYTE_ROWS else 1), rows.shape[1] // 64
    ordered, split = np.empty_like(rows), np.zeros((2, 128), dtype=np.uint8)
    order = _NIBBLES if m.bits == 4 else _LANES
    for t in range(len(rows)):
        for start in range(0, rows.shape[1], 64):
            for i in range(64):
                ordered[t, start + i] = rows[t, start + order[i]]
    for level in range(len(m.table)):
        split[0, level], split[1, level] = m.table[level] & 0xFF, m.table[level] >> 8 & 0xFF
    scales, sums = np.empty((_BYTE_ROWS, blocks), dtype=np.float32), np.zeros(_BYTE_ROWS, dtype=np.float32)
    extent, fine = (m.packed.shape[1], 4 * blocks, blocks) if height > 1 else (0, 0, blocks), m.fine
    codes, levels, x = _address(m.packed), _address(split), _address(ordered)
    for start in range(first, last, height):
        at = min(start, m.rows - height)
        for i in range(height):
            line, row = scales[i], fine[(at + i) * m.row_step : (at + i + 1) * m.row_step]
            for block in range(blocks):
                line[block] = square(row[block]) * m.unit
        for t in range(len(rows)):
            here = (codes + at * m.packed.shape[1], levels, x + t * rows.shape[1] * 4)
            places = (*here, _address(scales), _address(sums))
            _bytewise(places, extent, m.bits)
            for r in range(start, min(start + height, last)):
                out[t, r] = sums[r - at]
    vectors.hold((ordered, split, scales, sums))


@njit(cache=True)
def _bytewise(places: Any, extent: Any, bits: int) -> None:
    if bits == 4:
        bytewise.byte_product(places, extent, 4)
    elif bits == 3:
        bytewise.byte_product(places, extent, 3)
    elif bits == 2:
        bytewise.byte_product(places, extent, 2)
    elif bits == 5:
        bytewise.byte_product(places, extent, 5)
    elif bits == 6:
        bytewise.byte_product(places, extent, 6)
    elif bits == 1:
        bytewise.byte_product(places, extent, 1)
    else:
        bytewise.byte_product(places, extent, 7)


@njit(cache=True, nogil=True)
def multiply_planes(m: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Three even grids a row, whose products add up; their scales lie plane by plane."""
    whole, blocks, rest = _blocks(m)
    height, scopes = (_ROWS if m.rows >= _ROWS else 1), len(m.scale) // 3
    tables, scales, zeros, sums = _rooms(blocks)
    steps = _steps(m, height, 0, blocks)
    out[:, first:last] = 0
    codes, x, scale, zero = _address(m.packed), _address(rows), m.scale, m.zero
    for start in range(first, last, height):
        at = min(start, m.rows - height)
        for p in range(3):
            here = slice(p * scopes, (p + 1) * scopes)
            _halves(scale[here], (at, m.span, m.row_step), height, scales)
            _halves(zero[here], (at, m.span, m.row_step), height, zeros)
            for t in range(len(rows)):
                place = (codes + (p * m.rows + at) * m.packed.shape[1], x + t * rows.shape[1] * 4)
                places = _places(place, tables, scales, zeros, sums)
                _affine_product(places, (steps, (blocks, whole, rest)), -m.bits)
                for r in range(start, min(start + height, last)):
                    out[t, r] += sums[0, r - at] * m.unit
    vectors.hold((tables, scales, zeros, sums))


@njit(cache=True)
def _product(places: Any, extent: Any, bits: int) -> None:
    # The loop is made for one width of codes and one form of levels; each needs its own.
    if bits == 4:
        vectors.rows_product(places, extent, 4)
    elif bits == 3:
        vectors.rows_product(places, extent, 3)
    elif bits == 2:
        vectors.rows_product(places, extent, 2)
    elif bits == 5:
        vectors.rows_product(places, extent, 5)
    elif bits == 6:
        vectors.rows_product(places, extent, 6)
    elif bits == 1:
        vectors.rows_product(places, extent, 1)
    else:
        _affine_product(places, extent, bits)


@njit(cache=True)
def _affine_product(places: Any, extent: Any, bits: int) -> None:
    if bits == -4:
        vectors.rows_product(places, extent, -4)
    elif bits == -8:
        vectors.rows_product(places, extent, -8)
    elif bits == -3:
        vectors.rows_product(places, extent, -3)
    elif bits == -2:
        vectors.rows_product(places, extent, -2)
    elif bits == -5:
        vectors.rows_product(places, extent, -5)
    elif bits == -6:
        vectors.rows_product(places, extent, -6)
    elif bits == -7:
        vectors.rows_product(places, extent, -7)
    else:
        vectors.rows_product(places, extent, -1)
