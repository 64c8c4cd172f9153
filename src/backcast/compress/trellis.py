"""Our preset of WGM: a table of 128 levels for the tensor, a byte of scale a block, and codes that choose together.

Trellis-coded quantisation (Marcellin and Fischer 1990) in the bit-shift form of QTIP (arXiv 2406.11235): the level of a
weight depends on its own code and, through the last seven bits of the row's stream, on the codes before it. So a weight
has ``2 ** bits`` levels to choose from as ever, but other ones after every choice, and the path with the least error
over the whole row is found exactly (``viterbi``). It costs no bits. Table and scales are then refitted in turn by least
squares. Codes of seven and eight bits choose their level alone.
"""

from functools import cache
from importlib import resources

import numpy as np
from numba import njit
from numpy.typing import NDArray

from backcast.compress.affine import steps
from backcast.compress.bits import window_bits
from backcast.compress.kept import keep
from backcast.compress.layout import Encoded, Floats, Layout, brief, single, single_brief, squares, store, unit_of
from backcast.compress.viterbi import cheapest

TRIED = (0.85, 0.92, 1.0, 1.08, 1.16)
"""Multiples of the first scales, of which each block keeps its best. Least squares alone stays where it begins."""

ROUNDS = 2
"""Of refitting; one more changes the error by about one part in a hundred."""

Array = NDArray[np.float64]


def encode(weights: Floats, rest: Floats, kept: NDArray[np.int64], bits: int, block: int) -> Encoded:
    """Stores a matrix; ``rest`` is ``weights`` over their unit, and at the indices ``kept`` anything will do."""
    rows, columns = weights.shape
    layout = Layout(rows, columns, "trellis", bits, "block", block, 1 << window_bits(bits))
    rest = rest.copy()
    rest.ravel()[kept] = np.nan
    table, scale = fit(rest, start(bits), layout)
    stored, largest = bytes_of(scale)
    levels = brief(table * largest)
    codes = cheapest(rest, squares(stored), single_brief(levels), bits, steps(layout))
    grown, tensors = keep(layout, weights, kept)
    return store(grown, unit_of(weights), codes, table=levels, scale=stored, **tensors)


def fit(rest: Floats, table: Array, layout: Layout, rounds: int = ROUNDS) -> tuple[Array, Array]:
    """Table and scales (scopes,), by turns with the best codes, from a first table for blocks of mean square 1."""
    places = steps(layout)
    scale = first_scales(rest, table, layout)
    for _ in range(rounds):
        codes = _path(rest, scale, table, layout)
        table = _levels(rest, codes, scale, table, layout.bits, places)
        scale = _scales(rest, codes, table, scale, layout.bits, places)
    return table, scale


def first_scales(rest: Floats, table: Array, layout: Layout) -> Array:
    """The best of several scales of each block, all about its root mean square or what its largest weight needs."""
    places = steps(layout)
    square, most, count = _blocks(rest, *places, layout.scopes)
    about = np.maximum(np.sqrt(square / np.maximum(count, 1)), most / np.abs(table).max())
    best: Array = about
    least = np.full(layout.scopes, np.inf)
    for factor in TRIED:
        scale = about * factor
        wrong = _errors(rest, _path(rest, scale, table, layout), table, scale, layout.bits, places)
        best, least = np.where(wrong < least, scale, best), np.minimum(wrong, least)
    return best


def _path(rest: Floats, scale: Array, table: Array, layout: Layout) -> NDArray[np.uint8]:
    return cheapest(rest, scale.astype(np.float32), table.astype(np.float32), layout.bits, steps(layout))


def bytes_of(scale: Array) -> tuple[NDArray[np.uint8], np.float32]:
    """Scales as bytes q, and the factor that ``q^2 / 65536`` lacks."""
    largest = float(scale.max(initial=0.0))
    if largest == 0:
        return np.zeros(len(scale), dtype=np.uint8), np.float32(1)
    stored = np.rint(255 * np.sqrt(scale / largest)).astype(np.uint8)
    return stored, np.float32(largest * 65536 / 65025)


@cache
def start(bits: int) -> Array:
    """The table that a fit begins with, by window: made by ``benchmarks/trellis_tables.py`` on drawn numbers."""
    path = resources.files("backcast.compress") / "trellis_tables.npy"
    with path.open("rb") as file:
        table: Array = single(np.load(file)[bits - 1, : 1 << window_bits(bits)]).astype(np.float64)
    return table


@njit(cache=True)
def _blocks(rest: Floats, row_step: int, width: int, scopes: int) -> tuple[Array, Array, Array]:
    """Sum of squares, largest magnitude and count of every scope's weights; NaN left out."""
    square, most, count = np.zeros(scopes), np.zeros(scopes), np.zeros(scopes)
    for r in range(rest.shape[0]):
        for c in range(rest.shape[1]):
            value = np.float64(rest[r, c])
            if not np.isnan(value):
                s = r * row_step + c // width
                square[s] += value * value
                most[s] = max(most[s], abs(value))
                count[s] += 1
    return square, most, count


@njit(cache=True)
def _levels(
    rest: Floats, codes: NDArray[np.uint8], scale: Array, table: Array, bits: int, places: tuple[int, int]
) -> Array:
    """The least-squares level of every window for these codes and scales; the old one for a window nobody is in."""
    product, square = np.zeros(len(table)), np.zeros(len(table))
    last = len(table) - 1
    for r in range(rest.shape[0]):
        window = 0
        for c in range(rest.shape[1]):
            window = (window << bits | codes[r, c]) & last
            value, step = np.float64(rest[r, c]), scale[r * places[0] + c // places[1]]
            if not np.isnan(value):
                product[window] += value * step
                square[window] += step * step
    found = table.copy()
    for window in range(len(table)):
        if square[window] > 0:
            found[window] = product[window] / square[window]
    return found


@njit(cache=True)
def _scales(
    rest: Floats, codes: NDArray[np.uint8], table: Array, scale: Array, bits: int, places: tuple[int, int]
) -> Array:
    """The least-squares scale of every block; the old one where that is not above 0."""
    product, square = np.zeros(len(scale)), np.zeros(len(scale))
    last = len(table) - 1
    for r in range(rest.shape[0]):
        window = 0
        for c in range(rest.shape[1]):
            window = (window << bits | codes[r, c]) & last
            value, s = np.float64(rest[r, c]), r * places[0] + c // places[1]
            if not np.isnan(value):
                product[s] += value * table[window]
                square[s] += table[window] * table[window]
    found = scale.copy()
    for s in range(len(scale)):
        if square[s] > 0 and product[s] > 0:
            found[s] = product[s] / square[s]
    return found


@njit(cache=True)
def _errors(
    rest: Floats, codes: NDArray[np.uint8], table: Array, scale: Array, bits: int, places: tuple[int, int]
) -> Array:
    """The squared error of every block."""
    found = np.zeros(len(scale))
    last = len(table) - 1
    for r in range(rest.shape[0]):
        window = 0
        for c in range(rest.shape[1]):
            window = (window << bits | codes[r, c]) & last
            value, s = np.float64(rest[r, c]), r * places[0] + c // places[1]
            if not np.isnan(value):
                found[s] += (value - scale[s] * table[window]) ** 2
    return found
