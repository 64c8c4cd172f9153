"""The loops under ``line``, compiled by numba: layers of the dynamic programme, and the histogram.

``sums`` is always the (3, M + 1) array of running count, sum and sum of squares.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[np.float64]


@njit(cache=True, inline="always")
def run_cost(sums: Array, start: int, end: int, lam: float) -> float:
    """SSE plus ``lam / n`` of the points ``start .. end - 1``; a single point has no error."""
    n = sums[0, end] - sums[0, start]
    if end - start == 1:
        return float(lam / n)
    total = sums[1, end] - sums[1, start]
    return float(max(sums[2, end] - sums[2, start] - total * total / n, 0.0) + lam / n)


@njit(cache=True)
def layers(sums: Array, groups: int, lam: float) -> tuple[Array, NDArray[np.int32]]:
    """The dynamic programme by divide and conquer.

    Returns (groups,) the optimal cost with exactly i + 1 runs, and (groups, M + 1) the start of the last run.
    """
    m = sums.shape[1] - 1
    value = np.empty(groups)
    back = np.zeros((groups, m + 1), dtype=np.int32)
    old, new = np.full(m + 1, np.inf), np.full(m + 1, np.inf)
    for k in range(1, m + 1):
        old[k] = run_cost(sums, 0, k, lam)
    value[0] = old[m]
    stack = np.empty((64, 4), dtype=np.int64)
    for i in range(1, groups):
        new[:] = np.inf
        top = 0
        stack[0, 0], stack[0, 1], stack[0, 2], stack[0, 3] = i + 1, m, i, m - 1
        while top >= 0:
            low, high, first, last = stack[top]
            top -= 1
            k = (low + high) // 2
            best, where = np.inf, first
            for j in range(first, min(last, k - 1) + 1):
                found = old[j] + run_cost(sums, j, k, lam)
                if found < best:
                    best, where = found, j
            new[k], back[i, k] = best, where
            if low < k:
                top += 1
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = low, k - 1, first, where
            if k < high:
                top += 1
                stack[top, 0], stack[top, 1], stack[top, 2], stack[top, 3] = k + 1, high, where, last
        value[i] = new[m]
        old, new = new, old
    return value, back


@njit(cache=True)
def plain(sums: Array, groups: int, lam: float) -> tuple[Array, NDArray[np.int32]]:
    """The same programme with every start tried: O(groups * M^2)."""
    m = sums.shape[1] - 1
    value = np.empty(groups)
    back = np.zeros((groups, m + 1), dtype=np.int32)
    old, new = np.full(m + 1, np.inf), np.full(m + 1, np.inf)
    old[0] = 0.0
    for i in range(groups):
        new[:] = np.inf
        for k in range(i + 1, m + 1):
            for j in range(i, k):
                found = old[j] + run_cost(sums, j, k, lam)
                if found < new[k]:
                    new[k], back[i, k] = found, j
        value[i] = new[m]
        old, new = new, old
    return value, back


def walk(back: NDArray[np.int32], groups: int) -> NDArray[np.int64]:
    """(groups,) the ends of the runs, read back from the last."""
    ends = np.empty(groups, dtype=np.int64)
    end = back.shape[1] - 1
    for i in range(groups - 1, -1, -1):
        ends[i] = end
        end = int(back[i, end])
    return ends


@njit(cache=True)
def histogram(bits: NDArray[np.uint32], magnitude: bool) -> tuple[NDArray[np.int64], Array, Array]:
    """(65536,) count, sum and sum of squares of float32 values (given as bits) by their ``key``, ascending.

    With ``magnitude`` the sign is left out.
    """
    counts = np.zeros(65536, dtype=np.int64)
    sums, squares = np.zeros(65536), np.zeros(65536)
    values = bits.view(np.float32)
    for i in range(bits.size):
        at = key(bits[i], magnitude)
        value = np.float64(values[i])
        if magnitude:
            value = abs(value)
        counts[at] += 1
        sums[at] += value
        squares[at] += value * value
    return counts, sums, squares


@njit(cache=True)
def count(bits: NDArray[np.uint32], magnitude: bool) -> tuple[NDArray[np.int64], bool]:
    """(65536,) how many float32 values (given as bits) have each ``key``, and whether all are bfloat16 values.

    If so, each is alone in its bin and counts say everything. Four tables: one addition need not wait for the last.
    """
    one, two = np.zeros(65536, dtype=np.uint32), np.zeros(65536, dtype=np.uint32)
    three, four = np.zeros(65536, dtype=np.uint32), np.zeros(65536, dtype=np.uint32)
    seen, upper = np.uint32(0), np.uint32(16)
    whole = bits.size // 4 * 4
    for i in range(0, whole, 4):
        a, b, c, d = bits[i], bits[i + 1], bits[i + 2], bits[i + 3]
        seen |= a | b | c | d
        one[a >> upper] += np.uint32(1)
        two[b >> upper] += np.uint32(1)
        three[c >> upper] += np.uint32(1)
        four[d >> upper] += np.uint32(1)
    for i in range(whole, bits.size):
        seen |= bits[i]
        one[bits[i] >> upper] += np.uint32(1)
    counts = np.zeros(65536, dtype=np.int64)
    for pattern in range(65536):
        each = np.int64(one[pattern]) + np.int64(two[pattern]) + np.int64(three[pattern]) + np.int64(four[pattern])
        counts[key(pattern << 16, magnitude)] += each
    return counts, (seen & np.uint32(0xFFFF)) == 0


def values(keys: NDArray[np.int64]) -> Array:
    """The bfloat16 values whose ``key`` these are; not negative where signs were left out."""
    patterns = np.where(keys >= 0x8000, keys ^ 0x8000, keys ^ 0xFFFF).astype(np.uint32)
    return (patterns << np.uint32(16)).view(np.float32).astype(np.float64)


@njit(cache=True, inline="always")
def key(bits: int, magnitude: bool) -> int:
    """The upper 16 bits of a float32, turned so that keys ascend as values do; minus zero is zero."""
    pattern = bits >> 16
    if magnitude or bits == 0x80000000:
        return (pattern & 0x7FFF) | 0x8000
    return pattern ^ 0x8000 if pattern < 0x8000 else pattern ^ 0xFFFF


@njit(cache=True)
def lookup(bits: NDArray[np.uint32], table: NDArray[np.uint8], sign: int) -> NDArray[np.uint8]:
    """``table[key]`` of every value. With ``sign`` above 0, keys are of magnitudes and negative values get ``sign``."""
    found = np.empty(bits.size, dtype=np.uint8)
    for i in range(bits.size):
        code = table[key(bits[i], sign > 0)]
        found[i] = code | sign if sign > 0 and bits[i] > 0x80000000 else code
    return found
