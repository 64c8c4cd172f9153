"""Kernels on packed weights, for one core each: rows decoded, or multiplied with a few vectors."""

from typing import Any

import numpy as np

from backcast.compress import bytewise, products, rowwise, signs, vectors, windowed
from backcast.compress import rows as decoding
from backcast.compress.bits import STRETCH
from backcast.compress.layout import Floats
from backcast.compress.rows import KINDS, Stored, stored

__all__ = ["Stored", "add_kept", "decode_rows", "in_registers", "multiply", "stored"]


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


def multiply(matrix: Stored, rows: Floats, first: int, last: int, out: Floats) -> None:
    """``out[:, r] = rows @ row r`` for rows ``first .. last - 1`` of the matrix.

    ``rows`` is (n, columns), ``out`` (n, rows of the matrix). Releases the interpreter's lock, so that threads
    can share the rows. Weights kept exactly excepted.
    """
    if not in_registers(matrix):
        rowwise.multiply_plain(matrix, rows, first, last, out)
        return
    room = -(-matrix.columns // STRETCH) * STRETCH
    if room != matrix.columns:
        rows = np.pad(rows, ((0, 0), (0, room - matrix.columns)))
    work = _BY_KIND[matrix.kind]
    if in_bytes(matrix):
        work = products.multiply_bytes
    elif in_masks(matrix):
        work = products.multiply_signs
    work(matrix, rows, first, last, out)


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
