"""What a good outcome is: cost from the routes themselves, feasibility, the gap to the best known."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from backcast.core.errors import BadInput
from backcast.routing.fleet import assign, faults_of_fleet

if TYPE_CHECKING:
    from backcast.routing.problems.instance import Instance, Metric

Routes = Sequence[Sequence[int]]


def route_costs(instance: "Instance", routes: Routes, metric: "Metric | None" = None) -> np.ndarray:
    """The length of every route from the depot and back, shape (routes,).

    With a variant: what each costs in the cheapest assignment of vehicles, infinite where none can drive it.
    """
    if instance.variant is not None:
        return assign(instance, routes, metric)[1]
    costs = np.zeros(len(routes))
    for k, route in enumerate(routes):
        closed = np.concatenate([[0], np.asarray(route, np.int64), [0]])
        costs[k] = instance.distances(closed[:-1], closed[1:], metric).sum()
    return costs


def cost(instance: "Instance", routes: Routes, metric: "Metric | None" = None) -> float:
    """The total length, in the instance's measure or in ``metric``."""
    return float(route_costs(instance, routes, metric).sum())


def faults(instance: "Instance", routes: Routes) -> list[str]:
    """What keeps routes from solving the instance, in a user's words; empty for a feasible solution."""
    found = []
    first, last = instance.depots, len(instance.demands) - 1
    seen = np.zeros(last + 1, np.int64)
    for number, route in enumerate(routes, start=1):
        wrong = [node for node in route if not first <= node <= last]
        if wrong:
            found.append(f"route {number} visits customer {wrong[0]}; customers are {first} to {last}")
            continue
        np.add.at(seen, np.asarray(route, np.int64), 1)
        if instance.variant is not None:
            continue
        load = int(instance.demands[np.asarray(route, np.int64)].sum())
        if load > instance.capacity:
            found.append(f"route {number} carries {load}, more than the capacity {instance.capacity}")
    twice, never = np.flatnonzero(seen > 1), np.flatnonzero(seen[first:] == 0) + first
    if len(twice):
        found.append(f"{instance.called(int(twice[0]))} is visited {seen[twice[0]]} times")
    if len(never):
        more = f" and {len(never) - 1} more" if len(never) > 1 else ""
        found.append(f"{instance.called(int(never[0]))}{more} is not visited")
    return found if found or instance.variant is None else faults_of_fleet(instance, routes)


def require_feasible(instance: "Instance", routes: Routes, where: str = "") -> None:
    """Raises BadInput with the first fault of routes that do not solve the instance."""
    if found := faults(instance, routes):
        raise BadInput(f"{where or instance.id}: {found[0]}; correct the solution or leave it out")


def gap_percent(value: float, best_known: float | None) -> float | None:
    """How far above the best known, in percent; None where none is known (or it is 0)."""
    if best_known is None or best_known == 0:
        return None
    return 100.0 * (value - best_known) / best_known
