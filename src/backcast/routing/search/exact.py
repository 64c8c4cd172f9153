"""The optimum of tiny problems: round trips by Held and Karp, then the cheapest partition of the customers."""

from typing import Any

import numpy as np
from numba import njit

from backcast.core.errors import BadInput
from backcast.routing.search.layout import Ground
from backcast.routing.search.moves import distance

MOST = 12
"""Customers at most: 3^12 splits are half a million."""


@njit(cache=True, nogil=True, error_model="numpy")
def _solve(ground: Any, n: Any) -> Any:
    full = 1 << n
    path = np.full((full, n), np.inf)
    before = np.full((full, n), -1, np.int64)
    route = np.full(full, np.inf)
    end = np.full(full, -1, np.int64)
    for c in range(n):
        path[1 << c, c] = ground.home[c + 1]
    for mask in range(1, full):
        load = 0
        for c in range(n):
            if mask >> c & 1:
                load += ground.demand[c + 1]
        if load > ground.capacity:
            continue
        for c in range(n):
            here = path[mask, c]
            if here == np.inf:
                continue
            if here + ground.home[c + 1] < route[mask]:
                route[mask], end[mask] = here + ground.home[c + 1], c
            for other in range(n):
                if mask >> other & 1:
                    continue
                further = here + distance(ground, c + 1, other + 1)
                if further < path[mask | 1 << other, other]:
                    path[mask | 1 << other, other] = further
                    before[mask | 1 << other, other] = c
    best = np.full(full, np.inf)
    part = np.zeros(full, np.int64)
    best[0] = 0.0
    for mask in range(1, full):
        lowest = mask & -mask
        sub = mask
        while sub:
            if sub & lowest and route[sub] + best[mask ^ sub] < best[mask]:
                best[mask], part[mask] = route[sub] + best[mask ^ sub], sub
            sub = (sub - 1) & mask
    return best[full - 1], part, end, before


def solve_exactly(ground: Ground) -> list[list[int]]:
    """Optimal routes; raises BadInput beyond 12 customers."""
    n = len(ground.demand) - 1
    if n > MOST:
        raise BadInput(f"{n} customers; the exact engine takes at most {MOST}")
    _, part, end, before = _solve(ground, n)
    routes, mask = [], (1 << n) - 1
    while mask:
        sub = int(part[mask])
        mask ^= sub
        route, c = [], int(end[sub])
        while c >= 0:
            route.append(c + 1)
            c, sub = int(before[sub, c]), sub ^ 1 << c
        routes.append(route)
    return routes
