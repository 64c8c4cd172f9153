"""The only door to PyVRP: solve an instance, or a group of its routes, with a warm start in and routes out."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.routing.fleet import assign
from backcast.routing.problems.instance import Instance
from backcast.routing.problems.variant import Variant, Vehicles
from backcast.routing.score import Routes, cost

RANGE = 1e5
"""Straight distances become integers for PyVRP by a scale that takes the largest near this. Beyond it PyVRP's largest
penalty (100,000 a unit of load) no longer outweighs a detour, and it finds nothing feasible."""
FINER = 100
"""Costs a unit of distance that are no whole numbers count in hundredths."""


@dataclass(frozen=True)
class Sub:
    """A group of routes as a problem of its own."""

    instance: Instance
    """Depots and the group's customers, renumbered."""
    customers: np.ndarray
    """(nodes,): their numbers in the whole; the depots keep theirs."""
    routes: list[list[int]]
    """The group's routes in the new numbers."""

    def back(self, routes: Routes) -> list[list[int]]:
        """Routes in the numbers of the whole."""
        return [self.customers[np.asarray(route, np.int64)].tolist() for route in routes]

    def into(self, routes: Routes) -> list[list[int]]:
        """Routes of the whole in the new numbers; of the group's customers only."""
        numbers = np.zeros(int(self.customers.max(initial=0)) + 1, np.int64)
        numbers[self.customers] = np.arange(len(self.customers))
        return [numbers[np.asarray(route, np.int64)].tolist() for route in routes]


def cut_out(instance: Instance, routes: Routes, fleet: tuple[Vehicles, ...] = ()) -> Sub:
    """The customers of ``routes`` as an instance of their own; with a variant also all depots, and ``fleet`` as the
    vehicles (default: all)."""
    depots = instance.depots
    customers = np.concatenate([np.arange(depots), *(np.asarray(r, np.int64) for r in routes)]).astype(np.int64)
    variant = instance.variant
    if variant is not None:
        variant = replace(
            variant,
            vehicles=fleet or variant.vehicles,
            windows=None if variant.windows is None else variant.windows[customers],
            service=None if variant.service is None else variant.service[customers],
        )
    own = replace(
        instance,
        id=f"{instance.id}/{len(routes)} routes",
        demands=instance.demands[customers],
        coords=None if instance.coords is None else instance.coords[customers],
        matrix=None if instance.matrix is None else instance.matrix[np.ix_(customers, customers)],
        names=(),
        best_known=None,
        variant=variant,
        capacity=instance.capacity if variant is None else max(type.capacity for type in variant.vehicles),
    )
    ends = (np.cumsum([len(route) for route in routes]) + depots).tolist()
    return Sub(own, customers, [list(range(b - len(r), b)) for r, b in zip(routes, ends, strict=True)])


def scale_of(instance: Instance) -> float:
    """What distances and times are multiplied by before rounding: 1 (10) for metrics and times that are whole (tenths).

    Where times are finer than distances, a thousand times as much.
    """
    if instance.metric in ("nearest", "floor", "ceil", "tenth"):
        scale = 10.0 if instance.metric == "tenth" else 1.0
        return scale if _whole_times(instance, scale) else 1000.0 * scale
    if instance.matrix is not None:
        whole = (instance.matrix == np.floor(instance.matrix)).all() and _whole_times(instance, 1.0)
        return 1.0 if whole else RANGE / float(instance.matrix.max() or 1.0)
    assert instance.coords is not None
    extent = float(np.ptp(instance.coords, axis=0).max()) if instance.size else 1.0
    return RANGE / (extent or 1.0)


def _whole_times(instance: Instance, scale: float) -> bool:
    variant = instance.variant
    if variant is None:
        return True
    times = [t for t in (variant.windows, variant.service) if t is not None]
    limits = [
        limit for v in variant.vehicles for limit in (v.most_distance, v.most_duration, v.fixed) if limit < np.inf
    ]
    return all((t * scale == np.floor(t * scale)).all() for t in [*times, np.array(limits)])


def to_pyvrp(instance: Instance, vehicles: int | None = None) -> Any:
    """The instance as PyVRP's ``ProblemData``; a dense matrix of distances, so O(N^2) memory.

    Where time or length is limited, distances are rounded up and windows inwards, so that what PyVRP calls feasible is.
    """
    pyvrp = pyvrp_engine()
    scale, nodes, variant = scale_of(instance), np.arange(len(instance.demands)), instance.variant
    rows, columns = np.meshgrid(nodes, nodes, indexing="ij")
    exact = instance.distances(rows, columns) * scale
    limited = variant is not None and (variant.timed or any(v.most_distance < np.inf for v in variant.vehicles))
    distances = (np.ceil(exact - 1e-6) if limited else np.rint(exact)).astype(np.int64)
    np.fill_diagonal(distances, 0)
    coords = instance.coords if instance.coords is not None else np.zeros((len(nodes), 2))
    if variant is None:
        types = [pyvrp.VehicleType(num_available=vehicles or max(1, instance.size), capacity=[int(instance.capacity)])]
    else:
        types = [_type_of(pyvrp, instance, variant, type, scale) for type in variant.vehicles]
    return pyvrp.ProblemData(
        [pyvrp.Location(float(x), float(y)) for x, y in coords],
        [
            pyvrp.Client(int(node), delivery=[int(instance.demands[node])], **_times_of(variant, int(node), scale))
            for node in nodes[instance.depots :]
        ],
        [pyvrp.Depot(depot) for depot in range(instance.depots)],
        types,
        [distances],
        [distances if variant is not None and variant.timed else np.zeros_like(distances)],
    )


def _times_of(variant: Variant | None, node: int, scale: float) -> dict[str, int]:
    """A customer's window and service in PyVRP's words."""
    found = {}
    if variant is not None and variant.windows is not None:
        early, late = variant.windows[node] * scale
        found = {"tw_early": max(0, math.ceil(early - 1e-6)), "tw_late": math.floor(late + 1e-6)}
    if variant is not None and variant.service is not None:
        found["service_duration"] = math.ceil(float(variant.service[node]) * scale - 1e-6)
    return found


def _type_of(pyvrp: Any, instance: Instance, variant: Variant, type: Vehicles, scale: float) -> Any:
    """A type of vehicle in PyVRP's words. Costs are whole numbers there: fractions of a unit count in hundredths."""
    finer = 1 if all(v.unit == int(v.unit) for v in variant.vehicles) else FINER
    times = _times_of(replace(variant, service=None), type.depot, scale)
    if type.most_duration < np.inf:
        times["shift_duration"] = math.floor(type.most_duration * scale + 1e-6)
    if type.most_distance < np.inf:
        times["max_distance"] = math.floor(type.most_distance * scale + 1e-6)
    return pyvrp.VehicleType(
        num_available=type.number or max(1, instance.size),
        capacity=[type.capacity],
        start_depot=type.depot,
        end_depot=type.depot,
        fixed_cost=round(type.fixed * scale * finer),
        unit_distance_cost=round(type.unit * finer),
        **times,
    )


def to_solution(data: Any, routes: Routes, instance: Instance | None = None) -> Any:
    """Routes as PyVRP's ``Solution`` of ``data``; of an ``instance`` with a variant, with the cheapest vehicles."""
    pyvrp = pyvrp_engine()
    if instance is None or instance.variant is None:
        return pyvrp.Solution(data, [[customer - 1 for customer in route] for route in routes])
    types, first = assign(instance, routes)[0].tolist(), instance.depots
    visits = [[customer - first for customer in route] for route in routes]
    return pyvrp.Solution(data, [pyvrp.Route(data, one, type) for one, type in zip(visits, types, strict=True)])


def from_solution(solution: Any, depots: int = 1) -> list[list[int]]:
    """The routes of a PyVRP ``Solution``."""
    return [[visit.idx + depots for visit in route if visit.is_client()] for route in solution.routes()]


def solve_with_pyvrp(
    instance: Instance,
    routes: Routes | None = None,
    iterations: int = 300,
    seed: int = 0,
    stop: Callable[[float], bool] | None = None,
) -> list[list[int]]:
    """PyVRP's routes after so many iterations (or when ``stop(cost)`` says so), begun from ``routes`` where given.

    With a warm start no more vehicles are used than it has (with a variant: than there are), and never are worse
    routes returned than it.
    """
    if instance.size == 0:
        return []
    pyvrp = pyvrp_engine()
    data = to_pyvrp(instance, len(routes) if routes else None)
    begin = to_solution(data, routes, instance) if routes else None
    found = pyvrp.solve(
        data,
        stop=stop or pyvrp.stop.MaxIterations(iterations),
        seed=seed,
        collect_stats=False,
        display=False,
        initial_solution=begin,
    )
    if not found.is_feasible():
        if routes:
            return [list(route) for route in routes]
        budget = f"{iterations} iterations" if stop is None else "the time given"
        raise BadInput(f"{instance.id}: PyVRP found no feasible routes in {budget}; give it more, or more vehicles")
    new = from_solution(found.best, instance.depots)
    return new if routes is None or cost(instance, new) <= cost(instance, routes) else [list(route) for route in routes]


FEASIBLE = 1e15
"""PyVRP's cost of a best that is not feasible lies above."""
TRIES = 20_000
"""Iterations after which a search for feasible routes without a time limit gives up."""


def first_feasible(instance: Instance, seed: int = 0, ended: Callable[[], bool] = lambda: False) -> list[list[int]]:
    """PyVRP's first feasible routes; raises BadInput when ``ended()`` comes first."""
    tried = 0

    def stop(best: float) -> bool:
        nonlocal tried
        tried += 1
        return best < FEASIBLE or tried > TRIES or ended()

    return solve_with_pyvrp(instance, seed=seed, stop=stop)


def whole_by_pyvrp(
    instance: Instance, seconds: float, seed: int = 0, clock: Callable[[], float] = time.monotonic
) -> tuple[list[list[int]], list[tuple[float, float]]]:
    """PyVRP's routes of the whole problem after so many seconds, and (seconds, cost) of its improvements in our measure
    (as PyVRP counts them, rounded by its scale); none where it found nothing feasible."""
    pyvrp_engine()
    scale, begun, trace = scale_of(instance), clock(), list[tuple[float, float]]()
    variant = instance.variant
    if variant is not None and any(type.unit != int(type.unit) for type in variant.vehicles):
        scale *= FINER

    def stop(best: float) -> bool:
        now = clock() - begun
        if best < FEASIBLE and (not trace or best / scale < trace[-1][1]):
            trace.append((now, best / scale))
        return now > seconds

    try:
        return solve_with_pyvrp(instance, seed=seed, stop=stop), trace
    except BadInput:
        return [], trace


def pyvrp_engine() -> Any:
    """The module; raises BadInput where it is not installed."""
    try:
        import pyvrp
        import pyvrp.stop
    except ImportError:
        raise BadInput(
            "the engine pyvrp is not installed; pip install 'backcast[routing]', or use --engine sisr"
        ) from None
    return pyvrp


def as_lists(routes: Sequence[Sequence[int]]) -> list[list[int]]:
    """Plain lists of plain integers."""
    return [[int(node) for node in route] for route in routes]
