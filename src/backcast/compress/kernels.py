"""Kernels on packed weights, for one core each: rows decoded, or multiplied with a few vectors."""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backcast.compress import bytewise, products, rowwise, signs, vectors, windowed
from backcast.compress import rows as decoding
from backcast.compress.bits import STRETCH
from backcast.compress.layout import Floats
from backcast.compress.rows import KINDS, Stored, stored

__all__ = ["Stored", "add_kept", "decode_chosen", "decode_rows", "in_registers", "multiply", "stored", "way"]


_BY_KIND = (
    products.multiply_table,
    products.multiply_table,
    rowwise.multiply_split,
    products.multiply_planes,
    products.multiply_table,
    rowwise.multiply_windows if windowed.AVAILABLE else rowwise.multiply_gathered,
    rowwise.multiply_split,
)


def decode_rows(matrix: Stored, first: int, last: int, out: Floats) -> None:
    """Writes rows ``first .. last - 1`` to ``out`` (at least so many rows, columns); weights kept exactly excepted."""
    decoding.decode_rows(matrix, first, last, out)


def decode_chosen(matrix: Stored, chosen: NDArray[np.int64], out: Floats) -> None:
    """Writes these rows to ``out`` (as many, columns); weights kept exactly excepted. Raises IndexError for no row."""
    wrong = decoding.decode_chosen(matrix, chosen, out)
    if wrong >= 0:
        raise IndexError(f"row {chosen[wrong]} of a matrix of {matrix.rows} rows")


def multiply(matrix: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """``out[:, r] = rows @ row r`` for rows ``first .. last - 1`` of the matrix.

    ``rows`` is (n, columns), ``out`` (n, rows of the matrix). Releases the interpreter's lock, so that threads
    can share the rows. Weights kept exactly excepted.
    """
    way(matrix)(matrix, rows, first, last, out)


def way(matrix: Stored) -> Callable[[Stored, Floats, int, int, Floats], None]:
    """How this matrix is multiplied on this machine: what ``multiply`` calls, for those who multiply often."""
    if not in_registers(matrix):
        return rowwise.multiply_plain
    work = _BY_KIND[matrix.kind]
    if in_bytes(matrix):
        work = products.multiply_bytes
    elif in_masks(matrix):
        work = products.multiply_signs
    return work if matrix.columns % STRETCH == 0 else partial(_filled_up, work)


def _filled_up(work: Any, matrix: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """Zeros stand in for the columns that the last stretch lacks."""
    work(matrix, np.pad(rows, ((0, 0), (0, -matrix.columns % STRETCH))), first, last, out)


def add_kept(vectors: Floats, rows: Any, columns: Any, difference: Floats, out: Floats) -> None:
    """Adds to ``out`` (n, rows) what the kernels lack at the weights that are kept exactly."""
    products.add_kept(vectors, rows, columns, difference, out)


def in_registers(matrix: Stored) -> bool:
    """Whether rows can be multiplied by looking codes up in vector registers, on this machine and in this layout."""
    whole = matrix.width % STRETCH == 0 or matrix.width == matrix.columns
    narrow = matrix.bits <= vectors.WIDEST or matrix.kind not in (KINDS["signed"], KINDS["scaled"])
    return vectors_available() and whole and narrow


def in_bytes(matrix: Stored) -> bool:
    """Whether a trellis can be multiplied in lanes of bytes, on this machine and in this layout."""
    fits = matrix.width == bytewise.STEP and matrix.columns % bytewise.STEP == 0 and matrix.bits < 8
    return bytewise.AVAILABLE and fits and matrix.kind == KINDS["trellis"]


def in_masks(matrix: Stored) -> bool:
    """Whether a matrix is signs with one magnitude a scope, which can be the masks of instructions on this machine."""
    return signs.AVAILABLE and matrix.kind == KINDS["signed"] and matrix.bits == 1 and not len(matrix.fine)


def vectors_available() -> bool:
    """Whether this processor has the instructions; a function, so that tests can take them away."""
    return vectors.AVAILABLE
