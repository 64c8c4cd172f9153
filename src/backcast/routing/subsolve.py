"""The only door to PyVRP: solve an instance, or a group of its routes, with a warm start in and routes out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.routing.problems.instance import Instance
from backcast.routing.score import Routes, cost

RANGE = 1e5
"""Straight distances become integers for PyVRP by a scale that takes the largest near this. Beyond it PyVRP's largest
penalty (100,000 a unit of load) no longer outweighs a detour, and it finds nothing feasible."""


@dataclass(frozen=True)
class Sub:
    """A group of routes as a problem of its own."""

    instance: Instance
    """Depot and the group's customers, renumbered."""
    customers: np.ndarray
    """(n + 1,): their numbers in the whole; 0 for the depot."""
    routes: list[list[int]]
    """The group's routes in the new numbers."""

    def back(self, routes: Routes) -> list[list[int]]:
        """Routes in the numbers of the whole."""
        return [self.customers[np.asarray(route, np.int64)].tolist() for route in routes]


def cut_out(instance: Instance, routes: Routes) -> Sub:
    """The customers of ``routes`` as an instance of their own."""
    customers = np.concatenate([[0], *(np.asarray(route, np.int64) for route in routes)]).astype(np.int64)
    own = replace(
        instance,
        id=f"{instance.id}/{len(routes)} routes",
        demands=instance.demands[customers],
        coords=None if instance.coords is None else instance.coords[customers],
        matrix=None if instance.matrix is None else instance.matrix[np.ix_(customers, customers)],
        names=(),
        best_known=None,
    )
    ends = np.cumsum([len(route) for route in routes]).tolist()
    return Sub(own, customers, [list(range(b - len(r) + 1, b + 1)) for r, b in zip(routes, ends, strict=True)])


def scale_of(instance: Instance) -> float:
    """What distances are multiplied by before rounding: 1 for integer metrics."""
    if instance.metric in ("nearest", "floor", "ceil"):
        return 1.0
    if instance.matrix is not None:
        return 1.0 if (instance.matrix == np.floor(instance.matrix)).all() else RANGE / float(instance.matrix.max())
    assert instance.coords is not None
    extent = float(np.ptp(instance.coords, axis=0).max()) if instance.size else 1.0
    return RANGE / (extent or 1.0)


def to_pyvrp(instance: Instance, vehicles: int | None = None) -> Any:
    """The instance as PyVRP's ``ProblemData``; a dense matrix of distances, so O(N^2) memory."""
    pyvrp = _engine()
    nodes = np.arange(instance.size + 1)
    rows, columns = np.meshgrid(nodes, nodes, indexing="ij")
    distances = np.rint(instance.distances(rows, columns) * scale_of(instance)).astype(np.int64)
    np.fill_diagonal(distances, 0)
    coords = instance.coords if instance.coords is not None else np.zeros((len(nodes), 2))
    fleet = pyvrp.VehicleType(num_available=vehicles or max(1, instance.size), capacity=[int(instance.capacity)])
    return pyvrp.ProblemData(
        [pyvrp.Location(float(x), float(y)) for x, y in coords],
        [pyvrp.Client(int(node), delivery=[int(instance.demands[node])]) for node in nodes[1:]],
        [pyvrp.Depot(0)],
        [fleet],
        [distances],
        [np.zeros_like(distances)],
    )


def to_solution(data: Any, routes: Routes) -> Any:
    """Routes as PyVRP's ``Solution`` of ``data``."""
    return _engine().Solution(data, [[customer - 1 for customer in route] for route in routes])


def from_solution(solution: Any) -> list[list[int]]:
    """The routes of a PyVRP ``Solution``."""
    return [[visit.idx + 1 for visit in route if visit.is_client()] for route in solution.routes()]


def solve_with_pyvrp(
    instance: Instance,
    routes: Routes | None = None,
    iterations: int = 300,
    seed: int = 0,
    stop: Callable[[float], bool] | None = None,
) -> list[list[int]]:
    """PyVRP's routes after so many iterations (or when ``stop(cost)`` says so), begun from ``routes`` where given.

    With a warm start no more vehicles are used than it has, and never are worse routes returned than it.
    """
    if instance.size == 0:
        return []
    pyvrp = _engine()
    data = to_pyvrp(instance, len(routes) if routes else None)
    begin = to_solution(data, routes) if routes else None
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
        raise BadInput(f"{instance.id}: PyVRP found no feasible routes in {iterations} iterations; give it more")
    new = from_solution(found.best)
    return new if routes is None or cost(instance, new) <= cost(instance, routes) else [list(route) for route in routes]


def _engine() -> Any:
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
