"""Codes of 1 to 8 bits in bytes: how weights lie on disk and in memory.

A code is cut into pieces of 8, 4, 2 and 1 bits (5 bits: 4 + 1). A row is cut into stretches of 32 codes, the last one
filled up with zeros. Of each stretch, each piece of width p takes ``m = 4 p`` bytes, one after the other: byte j holds
the pieces of codes j, j + m, j + 2m, ... from its low bits up. So a stretch of 4-bit codes is 16 bytes, and byte j is
``code[j] | code[j + 16] << 4``. Three-valued ids are packed five to a byte in base 3.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]

STRETCH = 32

WINDOW = 7
"""Bits of the stream of codes that choose a level in a trellis, if a code has no more."""


def row_bytes(columns: int, bits: int) -> int:
    """Bytes of one packed row."""
    return -(-columns // STRETCH) * 4 * bits


def trit_bytes(columns: int) -> int:
    """Bytes of one packed row of three-valued ids."""
    return -(-columns // 5)


def pack(codes: Bytes, bits: int) -> Bytes:
    """Packs codes (rows, columns), each below ``2 ** bits``, into (rows, ``row_bytes``)."""
    return _pack(np.ascontiguousarray(codes), bits, row_bytes(codes.shape[1], bits))


def unpack(packed: Bytes, bits: int, columns: int) -> Bytes:
    """The inverse of ``pack``: (rows, columns)."""
    rows = packed.reshape(-1, row_bytes(columns, bits))
    codes = np.empty((len(rows), -(-columns // STRETCH) * STRETCH), dtype=np.uint8)
    _unpack_rows(rows, bits, codes)
    return codes[:, :columns]


def window_bits(bits: int) -> int:
    """How many bits of the stream choose a level in a trellis of codes of ``bits``."""
    return max(WINDOW, bits)


def windows(codes: Bytes, bits: int) -> Bytes:
    """The last ``window_bits`` of each row's stream of codes, at every code: its own lowest, the ones before above.

    Codes are (rows, columns); before the first code stand zeros.
    """
    found = codes.copy()
    for back in range(1, -(-window_bits(bits) // bits)):
        found[:, back:] |= codes[:, :-back] << np.uint8(back * bits)
    return found & np.uint8((1 << window_bits(bits)) - 1)


def pack_trits(ids: Bytes) -> Bytes:
    """Packs ids 0, 1, 2 (rows, columns) into (rows, ``trit_bytes``)."""
    rows, columns = ids.shape
    padded = np.zeros((rows, trit_bytes(columns) * 5), dtype=np.uint8)
    padded[:, :columns] = ids
    powers = np.array([1, 3, 9, 27, 81], dtype=np.uint8)
    return (padded.reshape(rows, -1, 5) * powers).sum(axis=2, dtype=np.uint8)  # type: ignore[no-any-return]


def unpack_trits(packed: Bytes, columns: int) -> Bytes:
    """The inverse of ``pack_trits``: (rows, columns)."""
    digits = np.stack([packed // power % 3 for power in (1, 3, 9, 27, 81)], axis=2)
    return digits.reshape(len(packed), -1)[:, :columns]


@njit(cache=True)
def _pack(codes: Bytes, bits: int, width: int) -> Bytes:
    rows, columns = codes.shape
    packed = np.zeros((rows, width), dtype=np.uint8)
    padded = np.zeros(-(-columns // 32) * 32, dtype=np.uint8)
    for r in range(rows):
        padded[:columns] = codes[r]
        _pack_row(padded, bits, packed[r])
    return packed


@njit(cache=True)
def _pack_row(codes: Bytes, bits: int, packed: Bytes) -> None:
    """Each piece has its own loop of constant length, as in ``unpack_row``."""
    at = 0
    for stretch in range(len(codes) // 32):
        group, done = codes[stretch * 32 : stretch * 32 + 32], 0
        if bits & 8:
            packed[at : at + 32] = group
            at += 32
        if bits & 4:
            piece = packed[at : at + 16]
            for j in range(16):
                piece[j] = (group[j] & 15) | (group[16 + j] & 15) << 4
            at += 16
            done += 4
        if bits & 2:
            piece = packed[at : at + 8]
            for i in range(4):
                for j in range(8):
                    piece[j] |= (group[8 * i + j] >> done & 3) << (2 * i)
            at += 8
            done += 2
        if bits & 1:
            piece = packed[at : at + 4]
            for i in range(8):
                for j in range(4):
                    piece[j] |= (group[4 * i + j] >> done & 1) << i
            at += 4


@njit(cache=True)
def unpack_row(packed: Bytes, bits: int, codes: Bytes) -> None:
    """Writes the codes of one packed row; ``codes`` has room for whole stretches.

    Each piece has its own loop of constant length, which the compiler turns into a few vector instructions.
    """
    for stretch in range(len(codes) // 32):
        at, done, start = stretch * 4 * bits, 0, stretch * 32
        codes[start : start + 32] = 0
        if bits & 8:
            for j in range(32):
                codes[start + j] = packed[at + j]
        if bits & 4:
            for j in range(16):
                codes[start + j] = packed[at + j] & 15
                codes[start + 16 + j] = packed[at + j] >> 4
            at += 16
            done += 4
        if bits & 2:
            for i in range(4):
                for j in range(8):
                    codes[start + 8 * i + j] |= ((packed[at + j] >> (2 * i)) & 3) << done
            at += 8
            done += 2
        if bits & 1:
            for i in range(8):
                for j in range(4):
                    codes[start + 4 * i + j] |= ((packed[at + j] >> i) & 1) << done


@njit(cache=True)
def _unpack_rows(packed: Bytes, bits: int, codes: Bytes) -> None:
    for r in range(len(packed)):
        unpack_row(packed[r], bits, codes[r])
