"""What each part brings: first partition x local levels x sub-solver, on the same instances (2502.08340)."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backcast.core.errors import BadInput, nearest
from backcast.core.stats import bootstrap
from backcast.routing.levels import GroupTask, solve_group
from backcast.routing.partition import groups, rotated
from backcast.routing.problems.instance import Instance
from backcast.routing.score import cost
from backcast.routing.start import savings, sweep
from backcast.routing.subsolve import as_lists, cut_out

STARTS = ("sweep", "savings", "policy", "random")
SOLVERS = ("pyvrp", "sisr", "policy", "random")
Start = Callable[[Instance], list[list[int]]]
Level = Callable[[Instance, list[list[int]]], list[list[int]]]


@dataclass(frozen=True)
class Row:
    """One cell of the table."""

    start: str
    solver: str
    level: int
    cost: float
    """Mean over the instances."""
    low: float | None
    high: float | None
    """95 % interval over instances."""
    n: int
    cpu_seconds: float
    """Mean CPU-seconds of start and levels so far."""


def ablate(
    instances: Sequence[Instance],
    starts: Sequence[str] = ("sweep", "savings"),
    solvers: Sequence[str] = ("pyvrp", "sisr"),
    levels: int = 5,
    policy: str = "",
    iterations: int = 300,
    seed: int = 0,
) -> list[Row]:
    """Mean costs after 0 to ``levels`` levels over pairs, for each start and sub-solver.

    "policy" is a trained policy of the folder ``policy``, "random" the same network with random weights (the control);
    ``iterations`` are PyVRP's, or the own search's in hundreds, on each pair. Raises BadInput for unknown names.
    """
    odd = next((instance.id for instance in instances if instance.variant is not None), None)
    if odd is not None:
        raise BadInput(f"{odd} has time windows, several depots or types of vehicles; the ablation takes none of them")
    begins = {name: _start(name, policy, seed) for name in starts}
    steps = {name: _level(name, policy, iterations, seed) for name in solvers}
    rows = []
    for start, begin in begins.items():
        for solver, step in steps.items():
            costs: list[list[float]] = [[] for _ in range(levels + 1)]
            used: list[list[float]] = [[] for _ in range(levels + 1)]
            for instance in instances:
                begun = time.process_time()
                routes = begin(instance)
                for level in range(levels + 1):
                    if level:
                        routes = step(instance, rotated(instance, routes, 1 if level > 1 else 0))
                    costs[level].append(cost(instance, routes))
                    used[level].append(time.process_time() - begun)
            for level in range(levels + 1):
                spread = bootstrap(costs[level])
                assert spread.value is not None
                mean = sum(used[level]) / len(used[level])
                rows.append(Row(start, solver, level, spread.value, spread.low, spread.high, spread.n, mean))
    return rows


def _start(name: str, folder: str, seed: int) -> Start:
    if name == "sweep":
        return sweep
    if name == "savings":
        return savings
    if name not in STARTS:
        raise BadInput(f"start '{name}' is unknown{nearest(name, STARTS)}")
    from backcast.routing.nets import load_policy, make_policy
    from backcast.routing.policy import policy_routes

    found = load_policy(_needed(folder, name), "global")
    used = found if name == "policy" else make_policy(found.shape, seed)
    return lambda instance: policy_routes(used, instance)


def _level(name: str, folder: str, iterations: int, seed: int) -> Level:
    if name not in SOLVERS:
        raise BadInput(f"sub-solver '{name}' is unknown{nearest(name, SOLVERS)}")
    if name in ("pyvrp", "sisr"):
        count = iterations * (1 if name == "pyvrp" else 100)
        return lambda instance, circle: _classical(instance, circle, name, count, seed)
    from backcast.routing.nets import load_policy, make_policy
    from backcast.routing.train import level_by_policy, pairs_of

    found = load_policy(_needed(folder, name), "local")
    used = found if name == "policy" else make_policy(found.shape, seed)
    return lambda instance, circle: level_by_policy(used, circle, pairs_of(instance, circle))


def _needed(folder: str, name: str) -> str:
    if not folder:
        raise BadInput(f"'{name}' needs --policy DIR, a folder that backcast route train wrote")
    return folder


def _classical(instance: Instance, circle: list[list[int]], name: str, count: int, seed: int) -> list[list[int]]:
    """One level over pairs by PyVRP or the own search, accepted by the paper's rule."""
    routes: list[list[int]] = []
    for group in groups(len(circle), 2):
        members = [circle[k] for k in group]
        routes += solve_group(GroupTask(cut_out(instance, members), name, count, seed)) or members
    return as_lists(routes)
