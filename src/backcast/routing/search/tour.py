"""One route as a round trip, compiled: shorter orders by 2-opt and Or-opt, and the optimum of a small one."""

from typing import Any

import numpy as np
from numba import njit

from backcast.routing.search.moves import distance

EPS = 1e-10


@njit(cache=True, nogil=True, error_model="numpy")
def length(ground: Any, tour: Any) -> Any:
    """The length of the round trip depot, ``tour``, depot."""
    total, last = 0.0, 0
    for c in tour:
        total += distance(ground, last, c)
        last = c
    return total + (distance(ground, last, 0) if last else 0.0)


@njit(cache=True, nogil=True, error_model="numpy")
def _two_opt(ground: Any, tour: Any) -> Any:
    """One pass of 2-opt; True if it found something."""
    n, found = len(tour), False
    for i in range(n - 1):
        for j in range(i + 1, n):
            a = tour[i - 1] if i else 0
            d = tour[j + 1] if j + 1 < n else 0
            b, c = tour[i], tour[j]
            if distance(ground, a, c) + distance(ground, b, d) + EPS < distance(ground, a, b) + distance(ground, c, d):
                tour[i : j + 1] = tour[i : j + 1][::-1].copy()
                found = True
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _or_opt(ground: Any, tour: Any) -> Any:
    """One pass that moves strings of up to three customers, either way round; True if it found something."""
    n, found = len(tour), False
    for size in range(1, min(3, n - 1) + 1):
        for i in range(n - size + 1):
            first, last = tour[i], tour[i + size - 1]
            a = tour[i - 1] if i else 0
            b = tour[i + size] if i + size < n else 0
            saved = distance(ground, a, first) + distance(ground, last, b) - distance(ground, a, b)
            rest = np.concatenate((tour[:i], tour[i + size :]))
            best, spot, flip = saved - EPS, -1, False
            for k in range(len(rest) + 1):
                p = rest[k - 1] if k else 0
                q = rest[k] if k < len(rest) else 0
                base = distance(ground, p, q) if p or q else 0.0
                straight = distance(ground, p, first) + distance(ground, last, q) - base
                turned = distance(ground, p, last) + distance(ground, first, q) - base
                if min(straight, turned) < best:
                    best, spot, flip = min(straight, turned), k, turned < straight
            if spot >= 0:
                string = tour[i : i + size].copy()
                tour[:spot] = rest[:spot]
                tour[spot : spot + size] = string[::-1] if flip else string
                tour[spot + size :] = rest[spot:]
                found = True
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def polish(ground: Any, tour: Any, passes: Any) -> Any:
    """Shortens ``tour`` (customers, in place) until neither move helps, or after ``passes``; returns its length."""
    for _ in range(passes):
        two = _two_opt(ground, tour)
        if not (_or_opt(ground, tour) or two):
            break
    return length(ground, tour)


@njit(cache=True, nogil=True, error_model="numpy")
def polish_all(ground: Any, flat: Any, lengths: Any, passes: Any) -> Any:
    """``polish`` for routes laid end to end (in place); the length of each."""
    found = np.zeros(len(lengths))
    at = 0
    for r in range(len(lengths)):
        found[r] = polish(ground, flat[at : at + lengths[r]], passes)
        at += lengths[r]
    return found
