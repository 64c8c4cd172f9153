"""What a walk is made of, compiled: random numbers, distances, taking customers off routes, putting them on."""

import math
from typing import Any

import numpy as np

from backcast.routing.search.layout import (
    ABSENT,
    ACTIVE,
    AFTER,
    BEFORE,
    BEST,
    BLINK,
    CEIL,
    COST,
    DIRTY,
    FIRST,
    FLOOR,
    IN,
    LAST,
    LOAD,
    MATRIX,
    NEAREST,
    OUT,
    PLACE,
    ROUTE,
    RUINED,
    SIZE,
    STALE,
    TENTH,
    compiled,
)


@compiled
def draw(state: Any) -> Any:
    """A random float in [0, 1): splitmix64 (Steele, Lea and Flood, 2014)."""
    state[0] += np.uint64(0x9E3779B97F4A7C15)
    z = state[0]
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)) * (1.0 / 9007199254740992.0)


@compiled
def distance(ground: Any, i: Any, j: Any) -> Any:
    """The distance between two nodes in the problem's own measure."""
    if ground.mode == MATRIX:
        return ground.matrix[i, j]
    dx = ground.xy[i, 0] - ground.xy[j, 0]
    dy = ground.xy[i, 1] - ground.xy[j, 1]
    d = math.sqrt(dx * dx + dy * dy)
    if ground.mode == NEAREST:
        return math.floor(d + 0.5)
    if ground.mode == FLOOR:
        return math.floor(d)
    if ground.mode == CEIL:
        return math.ceil(d)
    if ground.mode == TENTH:
        return math.floor(10 * d) / 10
    return d


@compiled
def open_route(walk: Any, r: Any) -> Any:
    """Puts a route that is out of use among those in use."""
    place, top = walk.routes[r, PLACE], walk.counts[ACTIVE]
    other = walk.order[top]
    walk.order[top], walk.order[place] = r, other
    walk.routes[r, PLACE], walk.routes[other, PLACE] = top, place
    walk.counts[ACTIVE] = top + 1


@compiled
def close_route(walk: Any, r: Any) -> Any:
    """Takes an empty route out of use."""
    place, top = walk.routes[r, PLACE], walk.counts[ACTIVE] - 1
    other = walk.order[top]
    walk.order[top], walk.order[place] = r, other
    walk.routes[r, PLACE], walk.routes[other, PLACE] = top, place
    walk.counts[ACTIVE] = top


@compiled
def take(ground: Any, walk: Any, c: Any) -> Any:
    """Takes customer ``c`` off its route and changes the cost."""
    nodes, routes = walk.nodes, walk.routes
    a, b, r = nodes[c, AFTER], nodes[c, BEFORE], nodes[c, ROUTE]
    leg = 0.0
    if a or b:
        leg = ground.home[a] if b == 0 else (ground.home[b] if a == 0 else distance(ground, b, a))
    walk.sums[COST] += leg - walk.legs[c, IN] - walk.legs[c, OUT]
    if b:
        nodes[b, AFTER] = a
        walk.legs[b, OUT] = leg
    else:
        routes[r, FIRST] = a
    if a:
        nodes[a, BEFORE] = b
        walk.legs[a, IN] = leg
    else:
        routes[r, LAST] = b
    routes[r, LOAD] -= ground.demand[c]
    routes[r, SIZE] -= 1
    nodes[c, ROUTE] = -1
    if routes[r, SIZE] == 0:
        close_route(walk, r)


@compiled
def put(ground: Any, walk: Any, c: Any, b: Any, r: Any) -> Any:
    """Puts customer ``c`` after node ``b`` of route ``r`` (0: at its start) and changes the cost."""
    nodes, routes = walk.nodes, walk.routes
    if routes[r, SIZE] == 0:
        open_route(walk, r)
        routes[r, FIRST] = 0
        routes[r, LAST] = 0
        routes[r, LOAD] = 0
    if b:
        a = nodes[b, AFTER]
        old, into = walk.legs[b, OUT], distance(ground, b, c)
        nodes[b, AFTER] = c
        walk.legs[b, OUT] = into
    else:
        a = routes[r, FIRST]
        old, into = ground.home[a], ground.home[c]
        routes[r, FIRST] = c
    out = distance(ground, c, a) if a else ground.home[c]
    if a:
        nodes[a, BEFORE] = c
        walk.legs[a, IN] = out
    else:
        routes[r, LAST] = c
    nodes[c, AFTER], nodes[c, BEFORE], nodes[c, ROUTE] = a, b, r
    walk.legs[c, IN], walk.legs[c, OUT] = into, out
    walk.sums[COST] += into + out - old
    routes[r, LOAD] += ground.demand[c]
    routes[r, SIZE] += 1


@compiled
def place(ground: Any, walk: Any, flat: Any, lengths: Any) -> Any:
    """Fills an empty walk with routes, recomputes its cost, and calls it the best."""
    for r in range(len(walk.order)):
        walk.routes[r, PLACE] = r
        walk.routes[r, RUINED] = -1
    at = 0
    for r in range(len(lengths)):
        b = 0
        for _ in range(lengths[r]):
            c = flat[at]
            put(ground, walk, c, b, r)
            b = c
            at += 1
    absent = 0
    for c in range(1, len(walk.held)):
        if walk.nodes[c, ROUTE] < 0:
            walk.held[absent] = c
            absent += 1
    walk.counts[ABSENT] = absent
    walk.counts[BLINK] = 50
    walk.counts[STALE] = 0
    for r in range(len(walk.order)):
        touch(walk, r)
    if absent == 0:
        keep(walk)
    else:
        walk.sums[BEST] = np.inf


@compiled
def touch(walk: Any, r: Any) -> Any:
    """Notes that a route differs from the best one's."""
    if walk.routes[r, DIRTY] == 0:
        walk.routes[r, DIRTY] = 1
        walk.stale[walk.counts[STALE]] = r
        walk.counts[STALE] += 1


@compiled
def keep(walk: Any) -> Any:
    """Stores the walk as the best: only routes that changed since the last time are copied."""
    for k in range(walk.counts[STALE]):
        r = walk.stale[k]
        walk.routes[r, DIRTY] = 0
        c = walk.routes[r, FIRST] if walk.routes[r, SIZE] else 0
        walk.best_first[r] = c
        while c:
            a = walk.nodes[c, AFTER]
            walk.best_after[c] = a
            c = a
    walk.counts[STALE] = 0
    walk.sums[BEST] = walk.sums[COST]
