"""The circle of routes around the depot, and the groups of neighbours that a level solves again (2502.08340).

Level by level the groups shift, so that every route meets both angular neighbours; a group's new routes are accepted
only if they are strictly shorter and no more than before, so that cost and fleet never rise.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from backcast.core.errors import BadInput
from backcast.routing.problems.instance import Instance
from backcast.routing.score import Routes, cost

TWO_PI = 2 * np.pi


def end_angle(instance: Instance, route: Sequence[int]) -> float:
    """The larger of the angles of a route's two end customers about the depot, in [0, 2 pi).

    With a variant that of the middle of its customers about the middle of the depots: windows and depots decide which
    customers are at the ends.
    """
    if instance.coords is None:
        raise BadInput(f"{instance.id}: routes have no angles without coordinates; use --engine sisr")
    if instance.variant is not None:
        x, y = instance.coords[np.asarray(route, np.int64)].mean(0) - instance.coords[: instance.depots].mean(0)
        return float(np.arctan2(y, x) % TWO_PI)
    away = instance.coords[[route[0], route[-1]]] - instance.coords[0]
    return float((np.arctan2(away[:, 1], away[:, 0]) % TWO_PI).max())


def circular_order(instance: Instance, routes: Routes) -> list[int]:
    """Indices of the routes by rising end angle (the paper's "forward" direction)."""
    return sorted(range(len(routes)), key=lambda k: end_angle(instance, routes[k]))


def rotated(instance: Instance, routes: Routes, shift: int) -> list[list[int]]:
    """The routes in circular order, begun with the first of ``routes`` and shifted by ``shift`` more.

    Levels pass their own result in: shifts of one (of half a group) accumulate, and pairs alternate around the depot.
    """
    order = circular_order(instance, routes)
    if not order:
        return []
    begin = (order.index(0) + shift) % len(order)
    return [list(routes[k]) for k in order[begin:] + order[:begin]]


def groups(count: int, size: int = 2) -> list[list[int]]:
    """Consecutive indices in groups of ``size``; what is left over forms a smaller group of its own."""
    if size < 1:
        raise BadInput(f"groups of {size} routes; give at least 1")
    return [list(range(begin, min(begin + size, count))) for begin in range(0, count, size)]


def windows(count: int, size: int) -> list[list[int]]:
    """Every run of ``size`` consecutive indices of the circle, once."""
    if size >= count:
        return [list(range(count))] if count else []
    return [[(begin + k) % count for k in range(size)] for begin in range(count)]


def sectors(count: int, parts: int) -> list[list[int]]:
    """Consecutive indices in at most ``parts`` groups of nearly equal size."""
    edges = np.linspace(0, count, min(parts, count) + 1).round().astype(int) if count else np.zeros(1, int)
    return [list(range(a, b)) for a, b in pairwise(edges)]


def improves(instance: Instance, new: Routes, old: Routes) -> bool:
    """The paper's rule of acceptance: strictly shorter and no more routes.

    With a variant the cost alone decides: it counts vehicles where they cost something.
    """
    if len(new) > len(old) and instance.variant is None:
        return False
    before = cost(instance, old)
    return cost(instance, new) < before - 1e-9 * max(1.0, before)
