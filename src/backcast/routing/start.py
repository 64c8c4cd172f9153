"""First solutions in a second: savings (Clarke and Wright, 1964) and sweeps (Gillett and Miller, 1974)."""

from typing import Any

import numpy as np
from numba import njit

from backcast.core.errors import BadInput
from backcast.routing.problems.instance import Instance
from backcast.routing.search.ground import make_ground
from backcast.routing.search.layout import Ground
from backcast.routing.search.tour import polish_all

PAIRS = 100
"""Nearest customers with whom joining is tried."""
ANGLES = 16
"""Directions from which the sweep starts."""
PASSES = 30


@njit(cache=True, nogil=True, error_model="numpy")
def _root(parent: Any, c: Any) -> Any:
    while parent[c] != c:
        parent[c] = parent[parent[c]]
        c = parent[c]
    return c


@njit(cache=True, nogil=True, error_model="numpy")
def _join(a: Any, b: Any, demand: Any, capacity: Any) -> Any:
    """Links pairs in their order while both are route ends and the loads fit; (N + 1, 2) neighbours, 0 the depot."""
    n = len(demand)
    parent, load = np.arange(n), demand.copy()
    links = np.zeros((n, 2), np.int64)
    for k in range(len(a)):
        i, j = a[k], b[k]
        if links[i, 1] or links[j, 1]:
            continue
        r, s = _root(parent, i), _root(parent, j)
        if r == s or load[r] + load[s] > capacity:
            continue
        parent[s] = r
        load[r] += load[s]
        links[i, 1 if links[i, 0] else 0] = j
        links[j, 1 if links[j, 0] else 0] = i
    return links


@njit(cache=True, nogil=True, error_model="numpy")
def _walk_links(links: Any) -> Any:
    """Customers route by route, and the number of each route's."""
    n = len(links)
    flat, lengths = np.zeros(n - 1, np.int64), np.zeros(n - 1, np.int64)
    seen = np.zeros(n, np.bool_)
    at, routes = 0, 0
    for c in range(1, n):
        if seen[c] or links[c, 1]:
            continue
        last, node = 0, c
        while node:
            seen[node] = True
            flat[at] = node
            at += 1
            lengths[routes] += 1
            follow = links[node, 0] if links[node, 0] != last else links[node, 1]
            last, node = node, follow
        routes += 1
    return flat, lengths[:routes]


def savings(instance: Instance, ground: Ground | None = None) -> list[list[int]]:
    """Routes joined by falling savings d(i, 0) + d(0, j) - d(i, j) among near pairs; O(N K) memory."""
    if instance.size < 2:
        return [[c] for c in range(1, instance.size + 1)]
    ground = ground or make_ground(instance, PAIRS)
    a = np.repeat(np.arange(1, instance.size + 1), ground.near.shape[1])
    b = ground.near[1:].ravel().astype(np.int64)
    saved = ground.home[a] + ground.home[b] - ground.gaps[1:].ravel()
    # A near pair usually stands in both lists; the second is passed over by the joining, so both may stay.
    order = np.argsort(-saved, kind="stable")
    flat, lengths = _walk_links(_join(a[order], b[order], ground.demand, ground.capacity))
    polish_all(ground, flat, lengths, PASSES)
    return split_flat(flat, lengths)


def sweep(instance: Instance, angles: int = ANGLES, ground: Ground | None = None) -> list[list[int]]:
    """The best of sweeps around the depot from several directions, each cluster shortened by 2-opt and Or-opt."""
    if instance.coords is None:
        raise BadInput(f"{instance.id}: a sweep needs coordinates; use --start savings")
    if instance.size == 0:
        return []
    ground = ground or make_ground(instance, 0)
    away = instance.coords - instance.coords[0]
    turn = np.arctan2(away[1:, 1], away[1:, 0])
    best, found = np.inf, list[list[int]]()
    for k in range(angles):
        order = np.argsort((turn - 2 * np.pi * k / angles) % (2 * np.pi), kind="stable") + 1
        lengths = _fill(ground.demand[order], ground.capacity)
        flat = order.astype(np.int64)
        total = float(polish_all(ground, flat, lengths, PASSES).sum())
        if total < best:
            best, found = total, split_flat(flat, lengths)
    return found


@njit(cache=True, nogil=True, error_model="numpy")
def _fill(demand: Any, capacity: Any) -> Any:
    """How many of the customers in order fit into each vehicle in turn."""
    lengths, load, count = np.zeros(len(demand), np.int64), 0, 0
    for q in demand:
        if lengths[count] and load + q > capacity:
            count += 1
            load = 0
        load += q
        lengths[count] += 1
    return lengths[: count + 1]


def split_flat(flat: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    """Routes laid end to end as lists."""
    ends = np.cumsum(lengths)
    return [flat[end - size : end].tolist() for end, size in zip(ends, lengths, strict=True)]
