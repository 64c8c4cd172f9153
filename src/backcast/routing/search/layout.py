"""How a problem and a walk through its solutions lie in memory: few arrays, rows that are read together side by side.

Everything is O(N). Node 0 is the depot; ``0`` as a neighbour on a route means the depot too.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

UNCOUNTED: dict[str, Any] = {"_nrt": False}
compiled = njit(None, cache=True, nogil=True, error_model="numpy", **UNCOUNTED)
"""For kernels that allocate nothing. Numba would count references to the arrays of a walk at every call, two locked
instructions for each array: about a sixth of all profile samples. The caller holds them all meanwhile."""

AFTER, BEFORE, ROUTE = 0, 1, 2
"""Columns of ``Walk.nodes``: the next and the previous node, and the route (-1: not on any)."""
OUT, IN = 0, 1
"""Columns of ``Walk.legs``."""
FIRST, LAST, LOAD, SIZE, PLACE, RUINED, DIRTY = 0, 1, 2, 3, 4, 5, 6
"""Columns of ``Walk.routes``; PLACE is the route's index in ``order``; RUINED the iteration that last cut it."""
ACTIVE, ABSENT, STEP, OPS, HELD, STALE, BLINK, FAILED = 0, 1, 2, 3, 4, 5, 6, 7
"""Entries of ``Walk.counts``: routes in use, customers on no route, iterations, logged operations, customers in hand,
routes that changed since the best, positions until the next blink, and iterations that found no place."""
COST, BEST = 0, 1
"""Entries of ``Walk.sums``."""

EUCLIDEAN, NEAREST, FLOOR, CEIL, MATRIX, TENTH = 0, 1, 2, 3, 4, 5
"""How a distance comes about: from coordinates, exact or rounded, or from a matrix."""


class Ground(NamedTuple):
    """What does not change: the problem with its neighbour lists."""

    xy: np.ndarray
    """(N + 1, 2) float64."""
    matrix: np.ndarray
    """(N + 1, N + 1) float64, or (1, 1) where coordinates give the distances."""
    mode: int
    demand: np.ndarray
    """(N + 1,) int64; 0 for the depot."""
    capacity: int
    near: np.ndarray
    """(N + 1, K) uint32: the nearest customers of each customer, nearest first; row 0 is unused."""
    gaps: np.ndarray
    """(N + 1, K) float32: distances to them; they choose places, costs come from ``xy`` or ``matrix``."""
    home: np.ndarray
    """(N + 1,) float64: distance to the depot."""
    prune: bool
    """Whether the triangle inequality may rule out positions (not for arbitrary matrices)."""


class Walk(NamedTuple):
    """A solution that changes in place, what is needed to undo the last change, and the best one met."""

    nodes: np.ndarray
    """(N + 1, 3) int32: AFTER, BEFORE, ROUTE."""
    legs: np.ndarray
    """(N + 1, 2) float64: distances from a customer to what comes after it (OUT) and before it (IN)."""
    routes: np.ndarray
    """(R, 7) int64."""
    order: np.ndarray
    """(R,) int32: all routes, those in use first."""
    ops: np.ndarray
    """(M, 3) int32: customer, the node before it, route (-1: it was inserted) - the log that undoes an iteration."""
    held: np.ndarray
    """(N + 1,) int32: customers in hand."""
    keys: np.ndarray
    """(N + 1,) float64: what they are sorted by."""
    absences: np.ndarray
    """(N + 1,) int64: how often a customer found no place (fleet reduction, Christiaens and Vanden Berghe 2020)."""
    best_after: np.ndarray
    """(N + 1,) int32."""
    best_first: np.ndarray
    """(R,) int32: first customer of each route of the best, 0 for none."""
    stale: np.ndarray
    """(R,) int32: routes that changed since the best was stored."""
    counts: np.ndarray
    """(8,) int64."""
    sums: np.ndarray
    """(2,) float64."""
    state: np.ndarray
    """(1,) uint64: of the random numbers."""


def make_walk(ground: Ground, routes: list[Any], slots: int, seed: int) -> Walk:
    """A walk that stands at ``routes`` (lists of customers); customers on none are absent."""
    from backcast.routing.search.moves import place

    n = len(ground.demand)
    slots = max(slots, len(routes) + 1)
    walk = Walk(
        nodes=np.zeros((n, 3), np.int32),
        legs=np.zeros((n, 2)),
        routes=np.zeros((slots, 7), np.int64),
        order=np.arange(slots, dtype=np.int32),
        ops=np.zeros((4 * n + 16, 3), np.int32),
        held=np.zeros(n, np.int32),
        keys=np.zeros(n),
        absences=np.ones(n, np.int64),
        best_after=np.zeros(n, np.int32),
        best_first=np.zeros(slots, np.int32),
        stale=np.zeros(slots, np.int32),
        counts=np.zeros(8, np.int64),
        sums=np.zeros(2),
        state=np.array([seed * 0x9E3779B97F4A7C15 % 2**64], np.uint64),
    )
    walk.nodes[:, ROUTE] = -1
    lengths = np.array([len(route) for route in routes], np.int64)
    flat = np.concatenate([np.asarray(route, np.int64) for route in routes]) if len(routes) else np.zeros(0, np.int64)
    place(ground, walk, flat, lengths)
    return walk


def routes_of(after: np.ndarray, first: np.ndarray) -> list[list[int]]:
    """The routes as lists of customers, from next nodes and first customers."""
    found, follows = [], after.tolist()
    for start in first.tolist():
        route, node = [], start
        while node:
            route.append(node)
            node = follows[node]
        if route:
            found.append(route)
    return found
