"""The any-time solver: a first partition, then levels that solve disjoint groups of neighbouring routes again.

HLGP's structure (arXiv 2502.08340): a global partition, local levels over groups of angular neighbours, acceptance of
what is strictly better. Inside a group works any engine; the room's own search anneals, so between levels it walks on
from where it stands, and only what is better is ever kept as the solution.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.core.parallel import pmap
from backcast.core.params import bounded
from backcast.routing.interrupt import stops_at_interrupt
from backcast.routing.levels import solve_levels
from backcast.routing.partition import rotated, sectors
from backcast.routing.problems.files import read_solution
from backcast.routing.problems.instance import Instance
from backcast.routing.ready import warm_up
from backcast.routing.score import cost, require_feasible
from backcast.routing.search import anneal
from backcast.routing.search.anneal import Clock, Cycle, Schedule, Slice
from backcast.routing.search.ground import make_ground
from backcast.routing.search.layout import BEST
from backcast.routing.start import savings, sweep
from backcast.routing.subsolve import Sub, as_lists, cut_out, first_feasible, pyvrp_engine

Engine = Literal["auto", "sisr", "pyvrp", "exact", "policy"]
ENGINES = ("auto", "sisr", "pyvrp", "exact", "policy")
STARTS = ("auto", "savings", "sweep", "pyvrp", "policy")

HOT, COLD = 1.2, 0.04
"""Temperatures at the start and the end of a cooling, in units of the mean distance to the 40 nearest customers: at
1,000 uniform customers about 0.09 and 0.003 of the square's side. Chosen on instances of another seed than the tests'.
"""
DENSE, RATE = 100.0, 1.6e5
"""Iterations a customer from which a cooling may begin at HOT, with fewer it begins cooler in proportion; and the
iterations of a second, about."""
FIRST_CYCLE, EARLIER, SOON = 0.1, 0.25, 6.0
"""The last cooling begins after this share of the budget, so that a good solution is there early. Where that would be
after more than SOON seconds, shorter coolings go before it, each a quarter as long: whoever ends a search of an hour
after ten seconds gets about what ten seconds give."""
FEW = 20.0
"""Iterations a customer that a cooling has at least; a first one with fewer would end little below the start."""
FLEET_SHARE = 0.05
"""Of the budget, for closing routes where the start has more than the demand needs."""
LEVEL_SECONDS, LEVELS = 2.0, 20
"""Length of a level of the annealed walk when several workers share it, and how many there are at least in a cycle."""
LEAST_LEVEL = 1000
"""Iterations of a level at least."""
SMALL_PART = 150
"""Customers that a worker's sector has at least; smaller problems are not split."""
REPORT_EVERY, REPORT_SLOWER = 0.25, 5e-5
"""Seconds between two looks at whether the walk has found something better: so many, or so many a customer where that
is more, for a look costs in proportion to them (about a hundredth of the time)."""


@dataclass(frozen=True)
class Settings:
    """How a solution is searched for. The same settings with a budget of iterations give the same routes."""

    engine: Engine = "auto"
    """What solves the groups: the room's own search, PyVRP, the exact dynamic programme (up to 12 customers), or the
    local policy; auto: the own search, or PyVRP for time windows, several depots and types of vehicles."""
    start: str = "auto"
    """The first partition: savings, sweep, PyVRP's first feasible routes, the global policy, or a .sol file; auto:
    savings, or PyVRP's where the engine is PyVRP for a variant."""
    policy: str = ""
    """Folder of the policies, for start and engine "policy"."""
    iterations: int | None = None
    """Budget in iterations of the engine instead of, or beside, seconds."""
    jobs: int = 1
    """Workers; each level's groups are solved side by side."""
    seed: int = 0
    group: int = 6
    """Neighbouring routes in a group of the engines pyvrp and exact; the paper pairs two."""
    choose: Literal["circle", "gain"] = "circle"
    """Groups of the engines pyvrp and exact: all around the circle, as the paper has it, or those whose gain, predicted
    from the outcomes so far, is largest."""
    clock: Clock = "wall"
    """What the seconds are measured on: "cpu" counts this process's own."""

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise BadInput(f"engine '{self.engine}' is unknown{nearest(self.engine, ENGINES)}")
        if self.start not in STARTS and not self.start.endswith(".sol"):
            raise BadInput(f"start '{self.start}' is unknown{nearest(self.start, STARTS)} (or a .sol file)")
        if self.choose not in ("circle", "gain"):
            raise BadInput(f"choose '{self.choose}' is unknown{nearest(self.choose, ('circle', 'gain'))}")
        if "policy" in (self.engine, self.start) and not self.policy:
            raise BadInput("start or engine 'policy' needs --policy DIR, a folder that backcast route train wrote")
        try:
            bounded(self, "iterations jobs group", 1)
            bounded(self, "seed", 0)
        except ValueError as error:
            raise BadInput(str(error)) from None

    def resolved(self, instance: Instance) -> "Settings":
        """With engine and start that suit the instance in place of auto; raises BadInput for those that do not."""
        if instance.variant is None:
            engine = "sisr" if self.engine == "auto" else self.engine
            if self.choose == "gain" and engine not in ("pyvrp", "exact"):
                raise BadInput(f"choose 'gain' is for groups; engine '{engine}' has none to choose: use --engine pyvrp")
            return replace(self, engine=engine, start="savings" if self.start == "auto" else self.start)
        for name, value in (("engine", self.engine), ("start", self.start)):
            if value not in ("auto", "pyvrp") and not value.endswith(".sol"):
                raise BadInput(
                    f"{instance.id} has time windows, several depots or types of vehicles; {name} '{value}' knows none "
                    f"of them; use --{name} pyvrp"
                )
        return replace(self, engine="pyvrp", start="pyvrp" if self.start == "auto" else self.start)


@dataclass(frozen=True)
class Found:
    """What a callback is told: the best so far."""

    routes: list[list[int]]
    cost: float
    elapsed: float
    level: int


@dataclass(frozen=True)
class Solution:
    """The best routes found, and how they came about."""

    instance: Instance
    routes: list[list[int]]
    cost: float
    """Recomputed from the routes, in the instance's measure."""
    start_cost: float
    """Of the first partition."""
    trace: list[tuple[float, float]]
    """(seconds, cost) of each improvement, the first partition first; costs fall strictly."""
    levels: list[tuple[int, list[list[int]]]] = field(repr=False)
    """Levels and the routes after them, for pictures: the start, the first three that changed something, the end."""
    iterations: int
    seconds: float
    cpu_seconds: float
    interrupted: bool


@dataclass
class Progress:
    """The best so far, its trace, and who is told."""

    instance: Instance
    schedule: Schedule
    callback: Callable[[Found], Any] | None
    routes: list[list[int]] = field(default_factory=list)
    cost: float = float("inf")
    trace: list[tuple[float, float]] = field(default_factory=list)
    levels: list[tuple[int, list[list[int]]]] = field(default_factory=list)
    level: int = 0
    here: list[list[int]] = field(default_factory=list)
    """Where the next cycle of the annealed walk begins: the best, or one with fewer routes that may become it."""

    def start_at(self, routes: list[list[int]]) -> None:
        """Begins the walk at ``routes``, which need not be the best."""
        self.here = routes
        self.offer(routes)

    def offer(self, routes: list[list[int]]) -> bool:
        """Takes routes if they are strictly better than the best so far; costs are recomputed."""
        value = cost(self.instance, routes)
        if not value < self.cost - 1e-9 * max(1.0, abs(self.cost) if self.trace else 1.0) and self.trace:
            return False
        self.routes, self.cost = routes, value
        self.trace.append((self.schedule.elapsed, value))
        if self.callback is not None:
            self.callback(Found(routes, value, self.schedule.elapsed, self.level))
        return True

    def keep_level(self) -> None:
        """Remembers the routes for the pictures of the first levels that change something."""
        if len(self.levels) < 4 and (not self.levels or self.levels[-1][1] != self.routes):
            self.levels.append((self.level, self.routes))


def solve(
    instance: Instance,
    seconds: float | None = None,
    settings: Settings | None = None,
    callback: Callable[[Found], Any] | None = None,
    routes: list[list[int]] | None = None,
) -> Solution:
    """Solves an instance within ``seconds`` (default 10 where no iterations are set), any time.

    ``routes`` starts warm from a solution; ``callback(found)`` hears of every improvement. An interrupt (Ctrl-C) ends
    the search and returns the best so far. Raises BadInput for settings, starts or routes that cannot be used.
    """
    if not isinstance(instance, Instance):
        raise TypeError(f"solve takes an Instance, not {type(instance).__name__}; read_instance(FILE) gives one")
    settings = (settings or Settings()).resolved(instance)
    if seconds is not None and not 0 < seconds < float("inf"):
        raise BadInput(f"{seconds} seconds; give a number above 0")
    if seconds is None and settings.iterations is None:
        seconds = 10.0
    if instance.variant is None:
        warm_up()
    if "pyvrp" in (settings.engine, settings.start):
        pyvrp_engine()  # imported before the clock starts
    wall, cpu = time.monotonic(), time.process_time()
    schedule = Schedule(seconds, settings.iterations, settings.clock)
    progress = Progress(instance, schedule, callback)
    with stops_at_interrupt(schedule.stop):
        progress.offer(first_routes(instance, settings, routes, schedule))
        progress.keep_level()
        start_cost = progress.cost
        if instance.size > 1:
            _improve(progress, settings)
    require_feasible(instance, progress.routes)
    return Solution(
        instance=instance,
        routes=progress.routes,
        cost=progress.cost,
        start_cost=start_cost,
        trace=progress.trace,
        levels=[*progress.levels, (progress.level, progress.routes)],
        iterations=schedule.done,
        seconds=time.monotonic() - wall,
        cpu_seconds=time.process_time() - cpu,
        interrupted=schedule.stop.is_set(),
    )


def first_routes(
    instance: Instance,
    settings: Settings,
    routes: list[list[int]] | None = None,
    schedule: Schedule | None = None,
) -> list[list[int]]:
    """The first partition, feasible: given routes, a .sol file, savings, a sweep, PyVRP's or the global policy's."""
    settings = settings.resolved(instance)
    if routes is not None:
        require_feasible(instance, routes, "the routes to start from")
        return as_lists(routes)
    if settings.start.endswith(".sol"):
        return read_solution(settings.start, instance)
    if settings.start == "sweep":
        return sweep(instance)
    if settings.start == "pyvrp":
        return first_feasible(instance, settings.seed, lambda: schedule is not None and schedule.spent >= 1.0)
    if settings.start == "policy":
        from backcast.routing.nets import load_policy
        from backcast.routing.policy import policy_routes

        return policy_routes(load_policy(settings.policy, "global"), instance)
    return savings(instance)


def _improve(progress: Progress, settings: Settings) -> None:
    if settings.engine != "sisr":
        solve_levels(progress, settings)
        return
    instance, schedule = progress.instance, progress.schedule
    # Numbered along the routes, routes around the depot: what is near in the plane is then near in memory.
    if instance.metric == "matrix":
        whole = Sub(instance, np.arange(instance.size + 1), progress.routes)
    else:
        whole = cut_out(instance, rotated(instance, progress.routes, shift=0))
    ground = make_ground(whole.instance)
    fewer = anneal.fewer_routes(whole.instance, ground, whole.routes, schedule, FLEET_SHARE, settings.seed)
    progress.start_at(whole.back(fewer))
    parts = min(settings.jobs, instance.size // SMALL_PART, len(fewer) // 2) if instance.coords is not None else 1
    unit = anneal.unit_of(ground)
    low = schedule.spent if schedule.iterations is None else 0.0
    for k, (begin, end) in enumerate(pairwise(_coolings(low, instance, schedule))):
        if schedule.spent >= 1.0:
            break
        cycle = Cycle(begin, end, _hot(instance, schedule, end - begin) * unit, COLD * unit)
        if parts > 1:
            _side_by_side(progress, replace(settings, seed=settings.seed + k), cycle, parts)
        else:
            _alone(progress, whole, ground, cycle, settings.seed + k)


def _coolings(low: float, instance: Instance, schedule: Schedule) -> list[float]:
    """Shares of the budget at which coolings begin, from ``low``, and 1.0, at which the last one ends."""
    ends = [FIRST_CYCLE] if _a_customer(instance, schedule, FIRST_CYCLE) >= FEW else []
    while ends and schedule.iterations is None and ends[0] * (schedule.seconds or 0.0) > SOON:
        ends.insert(0, ends[0] * EARLIER)
    return [low, *(low + (1 - low) * end for end in ends), 1.0]


def _hot(instance: Instance, schedule: Schedule, share: float) -> float:
    """Where a cooling over a share of the budget begins, in units: a short one has no time to repair what heat does."""
    return max(COLD, HOT * min(1.0, _a_customer(instance, schedule, share) / DENSE))


def _a_customer(instance: Instance, schedule: Schedule, share: float) -> float:
    """Iterations a customer to be expected of a share of the budget."""
    return share * min(schedule.iterations or 1e18, RATE * (schedule.seconds or 1e12)) / instance.size


def _parts_of(cycle: Cycle, schedule: Schedule, seconds: float) -> int:
    """How many slices a cycle has: at least LEVELS, unless they would be too short to be worth their set-up."""
    if schedule.iterations is not None:
        return max(1, min(LEVELS, int(cycle.share * schedule.iterations) // LEAST_LEVEL))
    return max(LEVELS, round(cycle.share * (schedule.seconds or 0.0) / seconds))


def _looks(cycle: Cycle, schedule: Schedule, size: int) -> int:
    """How many slices a cycle of a walk over all routes has."""
    count, seconds = _parts_of(cycle, schedule, REPORT_EVERY), cycle.share * (schedule.seconds or 0.0)
    return count if schedule.iterations is not None else max(1, min(count, int(seconds / (REPORT_SLOWER * size))))


def _alone(progress: Progress, whole: Sub, ground: Any, cycle: Cycle, seed: int) -> None:
    """One walk over all routes, in slices, so that improvements are heard of while it goes on."""
    schedule = progress.schedule
    walk = anneal.new_walk(whole.instance, ground, whole.into(progress.here), seed)
    for part in cycle.slices(_looks(cycle, schedule, whole.instance.size)):
        schedule.done += anneal.walk_slice(ground, walk, schedule, part)
        progress.level += 1
        if walk.sums[BEST] < progress.cost and progress.offer(whole.back(anneal.best_of(walk))):
            progress.here = progress.routes
        progress.keep_level()
        if schedule.spent >= 1.0:
            break


def _side_by_side(progress: Progress, settings: Settings, cycle: Cycle, parts: int) -> None:
    """Levels: the circle of routes is cut into sectors, one a worker, and cut elsewhere at the next level."""
    schedule, instance, routes = progress.schedule, progress.instance, progress.here
    for level, part in enumerate(cycle.slices(_parts_of(cycle, schedule, LEVEL_SECONDS))):
        circle = rotated(instance, routes, shift=(level * len(routes)) // (2 * parts) % len(routes) if level else 0)
        pieces = [[circle[k] for k in sector] for sector in sectors(len(circle), parts)]
        seed = settings.seed * 1000 + level * parts
        # Cut out here: a task that leaves this machine takes its sector along, not the whole.
        subs = [cut_out(instance, piece) for piece in pieces]
        shares = [replace(part, share=sub.instance.size / instance.size) for sub in subs]
        tasks = [_Task(sub, share, schedule, seed + k) for k, (sub, share) in enumerate(zip(subs, shares, strict=True))]
        ended = pmap(_walk_sector, tasks, jobs=settings.jobs, engine="threads")
        schedule.done += sum(done for _, _, done in ended)
        routes = [route for here, _, _ in ended for route in here]
        progress.level += 1
        if progress.offer([route for _, best, _ in ended for route in best]):
            progress.here = progress.routes
        progress.keep_level()
        if schedule.spent >= 1.0:
            break


@dataclass(frozen=True)
class _Task:
    """One sector of one level."""

    sub: Sub
    part: Slice
    schedule: Schedule
    seed: int


def _walk_sector(task: _Task) -> tuple[list[list[int]], list[list[int]], int]:
    """Where the walk over a sector ended, the best that it met, and its iterations."""
    sub = task.sub
    ground = make_ground(sub.instance)
    walk = anneal.new_walk(sub.instance, ground, sub.routes, task.seed)
    done = anneal.walk_slice(ground, walk, task.schedule, task.part)
    return sub.back(anneal.standing(walk)), sub.back(anneal.best_of(walk)), done
