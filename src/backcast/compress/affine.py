"""The loops under ``rtn`` and ``splitquant``: ranges of up to three clusters per scope, and codes on affine grids."""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from backcast.compress.layout import Floats, Layout, rounded

Ranges = NDArray[np.float64]


def grids(ranges: Ranges, bits: int, unit: np.float32, *, integer: bool) -> tuple[Floats, Floats]:
    """Scales and zero points (scopes, 3), relative to ``unit`` and rounded to half precision.

    ``ranges`` is (2, scopes, 3), lowest and highest value of each cluster; an empty cluster (low > high) or one of
    zeros gets scale 0 and zero 0. With ``integer`` zero points, 0 is a level of every grid.
    """
    low, high = ranges / float(unit)
    empty = (low > high) | ((low == 0) & (high == 0))
    low, high = np.where(empty, 0.0, low), np.where(empty, 0.0, high)
    # A cluster of one value away from zero: a step as large as the value, and the value one step from zero.
    # A narrow one far from zero: a zero point beyond 1024 steps would lose its fraction in half precision.
    least = np.maximum(np.abs(low), np.abs(high)) * (2**bits - 1) / 1024
    span = np.where(low == high, np.abs(low) * (2**bits - 1), np.maximum(high - low, least))
    scale = rounded(span / (2**bits - 1)).astype(np.float64)
    dead = scale == 0
    zero = np.where(dead, 0.0, -low / np.where(dead, 1.0, scale))
    zero = np.rint(zero) if integer else rounded(zero).astype(np.float64)
    return scale.astype(np.float32), zero.astype(np.float32)


def find_ranges(weights: Floats, cuts: tuple[float, float], layout: Layout, *, reach_zero: bool) -> Ranges:
    """(2, scopes, 3) lowest and highest value of the clusters below, between and above ``cuts``, in every scope.

    With ``reach_zero`` every cluster that has members also holds 0, as a dense plane with zeros elsewhere does.
    """
    found = _ranges(weights, cuts, (layout.span, *steps(layout)), layout.scopes)
    if reach_zero:
        there = found[0] <= found[1]
        found[0] = np.where(there, np.minimum(found[0], 0), found[0])
        found[1] = np.where(there, np.maximum(found[1], 0), found[1])
    return found


def choose_codes(
    scaled: Floats, cuts: tuple[float, float], layout: Layout, scale: Floats, zero: Floats
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Nearest codes, and the cluster of every weight, both (rows, columns); ``scaled`` weights and cuts are / unit."""
    return _codes(scaled, cuts, (layout.span, *steps(layout)), scale, zero, 2**layout.bits - 1)


def steps(layout: Layout) -> tuple[int, int]:
    """The scope of (row, column) is ``row * first + column // second``; with groups of rows ``row // layout.span``."""
    if layout.scope == "tensor":
        return 0, layout.columns
    return layout.per_row, layout.block if layout.scope == "block" else layout.columns


@njit(cache=True, inline="always")
def _cluster(value: float, lower: float, upper: float) -> int:
    if value <= lower:
        return 0
    return 1 if value < upper else 2


@njit(cache=True)
def _ranges(weights: Floats, cuts: tuple[float, float], places: tuple[int, int, int], scopes: int) -> Ranges:
    (lower, upper), (span, row_step, width) = cuts, places
    found = np.empty((2, scopes, 3))
    found[0], found[1] = np.inf, -np.inf
    for r in range(weights.shape[0]):
        for c in range(weights.shape[1]):
            value = weights[r, c]
            s, p = r // span * row_step + c // width, _cluster(value, lower, upper)
            found[0, s, p] = min(found[0, s, p], value)
            found[1, s, p] = max(found[1, s, p], value)
    return found


@njit(cache=True)
def _codes(
    weights: Floats,
    cuts: tuple[float, float],
    places: tuple[int, int, int],
    scale: Floats,
    zero: Floats,
    top: int,
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    codes = np.zeros(weights.shape, dtype=np.uint8)
    ids = np.zeros(weights.shape, dtype=np.uint8)
    (lower, upper), (span, row_step, width) = cuts, places
    for r in range(weights.shape[0]):
        for c in range(weights.shape[1]):
            value = weights[r, c]
            s, p = r // span * row_step + c // width, _cluster(value, lower, upper)
            ids[r, c] = p
            step = np.float64(scale[s, p])
            if step > 0:
                codes[r, c] = min(max(np.rint(value / step + zero[s, p]), 0.0), top)
    return codes, ids
