"""Levels over disjoint groups of neighbouring routes for engines that solve a group and are done (2502.08340, 4)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backcast.core.errors import BadInput
from backcast.core.parallel import pmap
from backcast.routing.choice import Gains
from backcast.routing.fleet import assign, shares
from backcast.routing.partition import groups, improves, rotated, windows
from backcast.routing.problems.instance import Instance
from backcast.routing.problems.variant import Vehicles
from backcast.routing.search.exact import MOST, solve_exactly
from backcast.routing.search.ground import make_ground
from backcast.routing.subsolve import Sub, as_lists, cut_out, solve_with_pyvrp

if TYPE_CHECKING:
    from backcast.routing.hlgp import Progress, Settings

PYVRP_ITERATIONS = 300
"""Iterations of PyVRP on a group."""


POLICY_SAMPLES = 8
"""Partitions that the local policy draws for a group after the first, greedy level."""


@dataclass(frozen=True)
class GroupTask:
    """One group of one level."""

    sub: Sub
    """Cut out where the whole is: a task that leaves this machine takes along its group only."""
    engine: str
    iterations: int
    seed: int


def solve_group(task: GroupTask) -> list[list[int]] | None:
    """New routes for the group's customers if they pass the paper's acceptance, else None."""
    sub = task.sub
    if task.engine == "exact":
        if sub.instance.size > MOST:
            return None
        new = solve_exactly(make_ground(sub.instance, 0))
    elif task.engine == "sisr":
        from backcast.routing.hlgp import Settings, solve  # it imports this module

        new = solve(sub.instance, None, Settings(iterations=task.iterations, seed=task.seed), None, sub.routes).routes
    else:
        new = solve_with_pyvrp(sub.instance, sub.routes, task.iterations, task.seed)
    return sub.back(new) if improves(sub.instance, new, sub.routes) else None


def solve_levels(progress: "Progress", settings: "Settings") -> None:
    """Levels until the budget is spent; a group is solved again only if one of its routes changed since.

    When nothing is left to try, groups grow by one route and work twice as long, so the search never idles.
    """
    schedule, instance = progress.schedule, progress.instance
    routes, size, iterations = progress.routes, settings.group, PYVRP_ITERATIONS
    if settings.engine == "exact":
        _require_small(instance, routes, size)
    gains = Gains(instance) if settings.choose == "gain" else None
    tried: set[tuple[frozenset[tuple[int, ...]], int]] = set()
    idle = 0
    while schedule.spent < 1.0 and (settings.iterations is None or schedule.done < settings.iterations):
        circle = rotated(instance, routes, shift=max(1, size // 2) if progress.level else 0)
        every = gains is not None and gains.ready
        cut = windows(len(circle), size) if every else groups(len(circle), size)
        fresh = [group for group in cut if (_name(circle, group), iterations) not in tried]
        if every and gains is not None and fresh:
            fresh = gains.pick(circle, fresh)
        routes = _one_level(progress, settings, circle, fresh, (iterations, gains))
        tried |= {(_name(circle, group), iterations) for group in fresh}
        idle = 0 if fresh else idle + 1
        if idle > (0 if every else 2 * size):
            if settings.engine == "exact" or size >= len(routes):
                iterations *= 2
            size, idle = min(size + 1, len(routes)), 0
            if settings.engine == "exact" and iterations > 8 * PYVRP_ITERATIONS:
                break


def _require_small(instance: Instance, routes: Sequence[Sequence[int]], size: int) -> None:
    """Raises BadInput when no group is within the exact engine's reach."""
    circle = rotated(instance, routes, 0)
    least = min((sum(len(circle[k]) for k in group) for group in groups(len(circle), size)), default=0)
    if least > MOST:
        raise BadInput(
            f"{instance.id}: groups of {size} routes have {least} customers and more; the exact engine takes at most "
            f"{MOST}; give a smaller --group, or --engine sisr"
        )


def _name(circle: Sequence[Sequence[int]], group: Sequence[int]) -> frozenset[tuple[int, ...]]:
    return frozenset(tuple(circle[k]) for k in group)


def _one_level(
    progress: "Progress",
    settings: "Settings",
    circle: list[list[int]],
    cut: list[list[int]],
    how: tuple[int, Gains | None],
) -> list[list[int]]:
    """Solves the groups side by side (``how``: each one's iterations, and the log of outcomes); the circle with what
    was accepted put in the groups' places."""
    schedule, (iterations, gains) = progress.schedule, how
    new = {k: [circle[k]] for k in range(len(circle))}
    batch = max(1, len(cut)) if settings.engine == "policy" else settings.jobs
    for begin in range(0, len(cut), batch):
        if schedule.spent >= 1.0 or (settings.iterations is not None and schedule.done >= settings.iterations):
            break
        part = cut[begin : begin + batch]
        routes, seed = [[circle[k] for k in group] for group in part], settings.seed + schedule.done
        if settings.engine == "policy":
            ended = _by_policy(progress.instance, routes, settings, seed)
            schedule.done += len(part)
        else:
            fleets = _fleets(progress.instance, new, part)
            tasks = [
                GroupTask(cut_out(progress.instance, group, fleet), settings.engine, iterations, seed)
                for group, fleet in zip(routes, fleets, strict=True)
            ]
            ended = pmap(solve_group, tasks, jobs=settings.jobs, engine="threads")
            schedule.done += iterations * len(part)
        for group, before, found in zip(part, routes, ended, strict=True):
            if gains is not None:
                gains.learn(before, found)
            if found is not None:
                new.update({k: [] for k in group})
                new[group[0]] = found
        progress.offer(as_lists([route for k in range(len(circle)) for route in new[k]]))
    progress.level += 1
    progress.keep_level()
    return [route for k in range(len(circle)) for route in new[k]]


def _fleets(
    instance: Instance, new: dict[int, list[list[int]]], part: Sequence[Sequence[int]]
) -> list[tuple[Vehicles, ...]]:
    """The vehicles that each group of a batch may use; none named for plain instances."""
    if instance.variant is None:
        return [()] * len(part)
    order = [(k, route) for k in sorted(new) for route in new[k]]
    types, _ = assign(instance, [route for _, route in order])
    members = [[at for at, (k, _) in enumerate(order) if k in set(group)] for group in part]
    return shares(instance, types, members)


def _by_policy(
    instance: Instance, groups_of_routes: list[list[list[int]]], settings: "Settings", seed: int
) -> list[list[list[int]] | None]:
    """All groups of a level in one forward pass of the local policy: greedy at first, then the best of samples."""
    from backcast.routing.nets import load_policy
    from backcast.routing.policy import policy_groups

    policy = load_policy(settings.policy, "local")
    subs = [cut_out(instance, routes) for routes in groups_of_routes]
    samples = 0 if seed == settings.seed else POLICY_SAMPLES
    found = policy_groups(policy, [(sub.instance, sub.routes) for sub in subs], samples, seed)
    return [s.back(n) if improves(s.instance, n, s.routes) else None for n, s in zip(found, subs, strict=True)]
