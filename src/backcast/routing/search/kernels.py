"""Ruin and recreate, compiled: slack induction by string removals (Christiaens and Vanden Berghe, 2020).

Insertion looks only beside the nearest customers of the one to insert. An iteration is undone from a log of its
operations, so that its price does not depend on the number of customers.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from backcast.routing.search.layout import (
    ABSENT,
    ACTIVE,
    AFTER,
    BEFORE,
    BEST,
    BLINK,
    COST,
    FIRST,
    HELD,
    IN,
    LAST,
    LOAD,
    OPS,
    OUT,
    ROUTE,
    RUINED,
    SIZE,
    STEP,
    compiled,
)
from backcast.routing.search.moves import distance, draw, keep, put, take, touch

BLINK_RATE = 0.01
STRING, REMOVED, SPLIT, DEEPER = 10, 10.0, 0.5, 0.01
"""Longest string, mean number of customers removed, how often a string is split, how often its gap grows."""


@compiled
def drop(ground: Any, walk: Any, c: Any) -> Any:
    """Takes ``c`` into the hand and logs it."""
    k = walk.counts[OPS]
    walk.ops[k, 0], walk.ops[k, 1], walk.ops[k, 2] = c, walk.nodes[c, BEFORE], walk.nodes[c, ROUTE]
    walk.counts[OPS] = k + 1
    walk.held[walk.counts[HELD]] = c
    walk.counts[HELD] += 1
    take(ground, walk, c)


@compiled
def cut(ground: Any, walk: Any, c: Any, longest: Any) -> Any:
    """Removes a string of customers that holds ``c`` from its route; half the time with a gap that stays."""
    nodes, state = walk.nodes, walk.state
    size = walk.routes[nodes[c, ROUTE], SIZE]
    length = int(draw(state) * min(float(size), longest)) + 1
    stay = 0
    if length > 1 and length < size and draw(state) < SPLIT:
        stay = 1
        while length + stay < size and draw(state) < DEEPER:
            stay += 1
    whole = length + stay
    back, node = 0, c
    while back < whole - 1 and nodes[node, BEFORE]:
        node = nodes[node, BEFORE]
        back += 1
    ahead, end = 0, c
    while ahead < whole - 1 and nodes[end, AFTER]:
        end = nodes[end, AFTER]
        ahead += 1
    least = whole - 1 - ahead
    offset = least + int(draw(state) * (back - least + 1))
    for _ in range(back - offset):
        node = nodes[node, AFTER]
    start = whole if stay == 0 else 1 + int(draw(state) * (length - 1))
    for k in range(whole):
        follow = nodes[node, AFTER]
        if k < start or k >= start + stay:
            drop(ground, walk, node)
        node = follow


@compiled
def ruin(ground: Any, walk: Any) -> Any:
    """Cuts strings from neighbouring routes around a random customer."""
    counts, state = walk.counts, walk.state
    n = len(walk.held) - 1
    longest = min(float(STRING), max(1.0, (n - counts[ABSENT]) / max(1, counts[ACTIVE])))
    most = 4.0 * REMOVED / (1.0 + longest) - 1.0
    strings = int(draw(state) * most + 1.0)
    seed = 1 + int(draw(state) * n)
    step = counts[STEP]
    k = -1
    while strings > 0 and k < ground.near.shape[1]:
        c = seed if k < 0 else ground.near[seed, k]
        r = walk.nodes[c, ROUTE]
        if r >= 0 and walk.routes[r, RUINED] != step:
            walk.routes[r, RUINED] = step
            cut(ground, walk, c, longest)
            strings -= 1
        k += 1


@compiled
def sort_held(ground: Any, walk: Any) -> Any:
    """Orders the customers in hand: at random, by demand, farthest or nearest first (weights 4, 4, 2, 1)."""
    keys, held, count = walk.keys, walk.held, walk.counts[HELD]
    how = draw(walk.state) * 11.0
    for k in range(count):
        c = held[k]
        if how < 4.0:
            keys[k] = draw(walk.state)
        elif how < 8.0:
            keys[k] = -float(ground.demand[c])
        elif how < 10.0:
            keys[k] = -ground.home[c]
        else:
            keys[k] = ground.home[c]
    for k in range(1, count):
        key, c, i = keys[k], held[k], k - 1
        while i >= 0 and keys[i] > key:
            keys[i + 1], held[i + 1] = keys[i], held[i]
            i -= 1
        keys[i + 1], held[i + 1] = key, c


@compiled
def blink(walk: Any) -> Any:
    """Whether this position is passed over (once in a hundred)."""
    walk.counts[BLINK] -= 1
    if walk.counts[BLINK] > 0:
        return False
    walk.counts[BLINK] = 1 + int(math.log(1.0 - draw(walk.state)) / math.log(1.0 - BLINK_RATE))
    return True


@compiled
def find(ground: Any, walk: Any, c: Any) -> Any:
    """The cheapest place for ``c``: (cost, node before, route); route -1 where no route in use has room nearby."""
    nodes, legs, routes, home = walk.nodes, walk.legs, walk.routes, ground.home
    room = ground.capacity - ground.demand[c]
    best, spot, where = np.inf, 0, -1
    width = ground.near.shape[1]
    for k in range(width):
        j, d = ground.near[c, k], ground.gaps[c, k]
        leg, into = legs[j, OUT], legs[j, IN]
        if ground.prune and 2.0 * (d - max(leg, into)) >= best:
            continue
        r = nodes[j, ROUTE]
        if r < 0 or routes[r, LOAD] > room:
            continue
        a, b = nodes[j, AFTER], nodes[j, BEFORE]
        if (not ground.prune or 2.0 * (d - leg) < best) and not blink(walk):
            extra = d - leg + (distance(ground, c, a) if a else home[c])
            if extra < best:
                best, spot, where = extra, j, r
        if (not ground.prune or 2.0 * (d - into) < best) and not blink(walk):
            extra = d - into + (distance(ground, b, c) if b else home[c])
            if extra < best:
                best, spot, where = extra, b, r
    if where < 0 or (width and home[c] < ground.gaps[c, width - 1]):
        for k in range(walk.counts[ACTIVE]):
            r = walk.order[k]
            if routes[r, LOAD] > room:
                continue
            f, e = routes[r, FIRST], routes[r, LAST]
            extra = home[c] + distance(ground, c, f) - home[f]
            if extra < best:
                best, spot, where = extra, 0, r
            extra = home[c] + distance(ground, c, e) - home[e]
            if extra < best:
                best, spot, where = extra, e, r
    return best, spot, where


@compiled
def recreate(ground: Any, walk: Any, fixed: Any, limit: Any) -> Any:
    """Inserts the customers in hand one by one; with ``fixed`` no route is opened and who finds no place stays out.

    Where the triangle inequality holds an insertion never makes the rest cheaper, so it ends as soon as the cost is
    ``limit`` or more, with the others in hand: such an iteration would not be accepted.
    """
    counts = walk.counts
    sort_held(ground, walk)
    left = 0
    for k in range(counts[HELD]):
        c = walk.held[k]
        cost, b, r = find(ground, walk, c)
        if not fixed and counts[ACTIVE] < len(walk.order) and cost > 2.0 * ground.home[c]:
            r, b = walk.order[counts[ACTIVE]], 0
        if r < 0:
            walk.held[left] = c
            left += 1
            continue
        put(ground, walk, c, b, r)
        o = counts[OPS]
        walk.ops[o, 0], walk.ops[o, 1], walk.ops[o, 2] = c, r, -1
        counts[OPS] = o + 1
        if ground.prune and walk.sums[COST] >= limit:
            left += counts[HELD] - k - 1
            break
    counts[HELD] = left
    return left


@compiled
def undo(ground: Any, walk: Any, cost: Any) -> Any:
    """Takes the operations of the iteration back, last first."""
    for k in range(walk.counts[OPS] - 1, -1, -1):
        c, b, r = walk.ops[k, 0], walk.ops[k, 1], walk.ops[k, 2]
        if r < 0:
            take(ground, walk, c)
        else:
            put(ground, walk, c, b, r)
    walk.sums[COST] = cost


@compiled
def accept(walk: Any) -> Any:
    """Marks the routes that the iteration touched."""
    for k in range(walk.counts[OPS]):
        r = walk.ops[k, 2] if walk.ops[k, 2] >= 0 else walk.ops[k, 1]
        touch(walk, r)


@compiled
def anneal(ground: Any, walk: Any, iterations: Any, hot: Any, cold: Any) -> Any:
    """``iterations`` of ruin and recreate while the temperature falls from ``hot`` to ``cold``; returns those taken."""
    counts, sums = walk.counts, walk.sums
    cooling = math.exp(math.log(cold / hot) / iterations) if hot > 0.0 else 1.0
    heat, taken = hot, 0
    for _ in range(iterations):
        counts[STEP] += 1
        counts[OPS] = 0
        counts[HELD] = 0
        before = sums[COST]
        limit = before - heat * math.log(1.0 - draw(walk.state))
        ruin(ground, walk)
        left = recreate(ground, walk, False, limit)
        if left == 0 and sums[COST] < limit:
            accept(walk)
            taken += 1
            if sums[COST] < sums[BEST] - 1e-9:
                keep(walk)
        else:
            undo(ground, walk, before)
        heat *= cooling
    return taken


@compiled
def close_lightest(ground: Any, walk: Any) -> Any:
    """Empties the route with the least load; its customers become absent."""
    lightest, least = -1, ground.capacity + 1
    for k in range(walk.counts[ACTIVE]):
        r = walk.order[k]
        if walk.routes[r, LOAD] < least:
            lightest, least = r, walk.routes[r, LOAD]
    touch(walk, lightest)
    while walk.routes[lightest, SIZE] > 0:
        c = walk.routes[lightest, FIRST]
        take(ground, walk, c)
        walk.held[walk.counts[ABSENT]] = c
        walk.counts[ABSENT] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def shrink(ground: Any, walk: Any, iterations: Any, heat: Any) -> Any:
    """Ruin and recreate without new routes until nobody is absent, or so many iterations; True when all are served.

    A change is kept when the absent ones have been absent less often (their sum of absences falls), or when the same
    number stays out and the annealing rule accepts the cost.
    """
    counts, sums, absences = walk.counts, walk.sums, walk.absences
    out = np.empty(len(walk.held), np.int32)
    for _ in range(iterations):
        if counts[ABSENT] == 0:
            break
        before, missing, old = sums[COST], counts[ABSENT], 0
        for k in range(missing):
            out[k] = walk.held[k]
            old += absences[out[k]]
        counts[STEP] += 1
        counts[OPS] = 0
        counts[HELD] = missing
        ruin(ground, walk)
        left = recreate(ground, walk, True, np.inf)
        new = 0
        for k in range(left):
            new += absences[walk.held[k]]
            absences[walk.held[k]] += 1
        level = left == missing and sums[COST] < before - heat * math.log(1.0 - draw(walk.state))
        if new < old or left == 0 or (level and new <= old):
            counts[ABSENT] = left
            accept(walk)
        else:
            undo(ground, walk, before)
            for k in range(missing):
                walk.held[k] = out[k]
    if counts[ABSENT] == 0:
        keep(walk)
    return counts[ABSENT] == 0
