"""Which vehicle drives which route: what a vehicle can serve and when, and the cheapest assignment to routes.

A solution stays a list of routes, each a list of customers; its cost is that of the cheapest assignment of vehicles to
routes, so routes of any origin (a file, PyVRP, ours) are scored alike. Times are recomputed here, never taken over.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from backcast.routing.problems.instance import Instance, Metric
    from backcast.routing.problems.variant import Vehicles

SLACK = 1e-9
"""Relative error of sums of times that is forgiven."""


def legs_of(instance: "Instance", route: Sequence[int], depot: int, metric: "Metric | None" = None) -> np.ndarray:
    """Distances from the depot through the route and back: (customers + 1,)."""
    stops = np.concatenate([[depot], np.asarray(route, np.int64), [depot]])
    return instance.distances(stops[:-1], stops[1:], metric)


def fault_of(instance: "Instance", route: Sequence[int], vehicle: "Vehicles") -> str:
    """Why the vehicle cannot drive the route, in a user's words; empty if it can."""
    load = int(instance.demands[np.asarray(route, np.int64)].sum())
    if load > vehicle.capacity:
        return f"carries {load}, more than the capacity {vehicle.capacity}"
    legs = legs_of(instance, route, vehicle.depot)
    if (length := float(legs.sum())) > vehicle.most_distance * (1 + SLACK):
        return f"is {length:g} long, more than {vehicle.most_distance:g}"
    assert instance.variant is not None
    return _fault_in_time(instance, route, legs.tolist(), vehicle) if instance.variant.timed else ""


def _fault_in_time(instance: "Instance", route: Sequence[int], legs: list[float], vehicle: "Vehicles") -> str:
    """The earliest times along the route against the windows; then the least duration over all times of leaving."""
    variant, depot = instance.variant, vehicle.depot
    assert variant is not None
    windows, service = variant.windows, variant.service
    opens, closes = (0.0, np.inf) if windows is None else windows[depot]
    now, passed, last_leave = opens, 0.0, closes
    for k, node in enumerate([*route, depot]):
        before = route[k - 1] if k else depot
        spent = legs[k] + (float(service[before]) if service is not None and k else 0.0)
        passed += spent
        now += spent
        early, late = (0.0, np.inf) if windows is None else windows[node]
        if now > late + SLACK * (1 + abs(late)):
            place = "is back at the depot" if k == len(route) else f"reaches {instance.called(node)}"
            return f"{place} at {now:g}, after {late:g}"
        now, last_leave = max(now, early), min(last_leave, late - passed)
    # Leaving at t ends at max(now, t + passed), so the latest time of leaving waits least.
    duration = max(passed, now - last_leave) if windows is not None else passed
    if duration > vehicle.most_duration * (1 + SLACK):
        return f"lasts {duration:g}, more than {vehicle.most_duration:g}"
    return ""


def prices(instance: "Instance", routes: Sequence[Sequence[int]], metric: "Metric | None" = None) -> np.ndarray:
    """What each route costs with each type of vehicle, (routes, types); infinite where it cannot drive it."""
    assert instance.variant is not None
    types = instance.variant.vehicles
    table = np.full((len(routes), len(types)), np.inf)
    for r, route in enumerate(routes):
        for t, vehicle in enumerate(types):
            if not fault_of(instance, route, vehicle):
                table[r, t] = vehicle.fixed + vehicle.unit * legs_of(instance, route, vehicle.depot, metric).sum()
    return table


def assign(
    instance: "Instance", routes: Sequence[Sequence[int]], metric: "Metric | None" = None
) -> tuple[np.ndarray, np.ndarray]:
    """Each route's type of vehicle in the cheapest assignment (-1: none is left that can drive it), and its cost."""
    from scipy.optimize import linear_sum_assignment

    assert instance.variant is not None
    table = prices(instance, routes, metric)
    if not len(routes):
        return np.zeros(0, np.int64), np.zeros(0)
    numbers = [len(routes) if v.number is None else v.number for v in instance.variant.vehicles]
    choice = table.argmin(axis=1)
    if (np.bincount(choice, minlength=len(numbers)) > numbers).any():
        columns = np.repeat(np.arange(len(numbers)), np.minimum(numbers, len(routes)))
        # An impossible pair costs more than all possible ones together: as few routes as can be stay without.
        dear = table[np.isfinite(table)].sum() + 1.0
        rows, picked = linear_sum_assignment(np.where(np.isfinite(table), table, dear)[:, columns])
        choice = np.full(len(routes), -1)
        choice[rows] = columns[picked]
    costs = np.where(choice < 0, np.inf, table[np.arange(len(routes)), choice])
    return np.where(np.isfinite(costs), choice, -1), costs


def depots_of(instance: "Instance", routes: Sequence[Sequence[int]]) -> list[int]:
    """The depot of each route's vehicle (the first, where no vehicle can drive it)."""
    if instance.variant is None:
        return [0] * len(routes)
    homes = [type.depot for type in instance.variant.vehicles] + [0]
    return [homes[type] for type in assign(instance, routes)[0]]


def faults_of_fleet(instance: "Instance", routes: Sequence[Sequence[int]]) -> list[str]:
    """What keeps the fleet from driving the routes: a route that no vehicle can drive, or too few vehicles."""
    assert instance.variant is not None
    types, table = instance.variant.vehicles, prices(instance, routes)
    found = []
    for r, route in enumerate(routes):
        if not np.isfinite(table[r]).any():
            which = "" if len(types) == 1 else f" (with vehicle type 1, as none of {len(types)} can drive it)"
            found.append(f"route {r + 1} {fault_of(instance, route, types[0])}{which}")
    if not found and len(routes) and (left := int((assign(instance, routes)[0] < 0).sum())):
        have = " + ".join("any number" if v.number is None else str(v.number) for v in types)
        found.append(f"{len(routes)} routes, {left} without a vehicle that can drive it ({have} vehicles)")
    return found


def shares(instance: "Instance", types: np.ndarray, groups: Sequence[Sequence[int]]) -> "list[tuple[Vehicles, ...]]":
    """The fleet of each group of routes: the vehicles that its routes have (``types``, of all routes), and an equal
    share of those that stand idle, so that groups may be solved side by side."""
    assert instance.variant is not None
    have = instance.variant.vehicles
    used = np.bincount(types[types >= 0], minlength=len(have))
    fleets = []
    for k, group in enumerate(groups):
        mine, fleet = types[np.asarray(group, np.int64)], list["Vehicles"]()
        for t, vehicle in enumerate(have):
            if vehicle.number is None:
                fleet.append(vehicle)
                continue
            idle = max(0, vehicle.number - int(used[t]))
            count = int((mine == t).sum()) + idle // len(groups) + (k < idle % len(groups))
            if count:
                fleet.append(replace(vehicle, number=count))
        fleets.append(tuple(fleet))
    return fleets
