"""The annealed walk: how hot, how long, on which routes; the driver of the compiled kernels."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from backcast.routing.problems.instance import Instance
from backcast.routing.search import kernels
from backcast.routing.search.layout import ACTIVE, FIRST, Ground, Walk, make_walk, routes_of

CHUNK = 500
"""Iterations between two looks at the clock: some milliseconds."""
SPARE = 20
"""Routes that may be opened beyond those at the start."""

Clock = Literal["wall", "cpu"]
CLOCKS: dict[str, Callable[[], float]] = {"wall": time.monotonic, "cpu": time.process_time}


@dataclass
class Schedule:
    """Progress from 0 to 1 through a budget of seconds, iterations or both, and the temperature that goes with it."""

    seconds: float | None
    iterations: int | None
    clock: Clock = "wall"
    stop: threading.Event = field(default_factory=threading.Event)
    """Set it and every walk ends within a chunk."""
    done: int = 0
    """Iterations so far, of all walks."""
    started: float = 0.0

    def __post_init__(self) -> None:
        self.started = CLOCKS[self.clock]()

    def __getstate__(self) -> dict[str, Any]:
        """For a worker elsewhere: its clock began at another time, and a stop does not reach it."""
        kept = {name: value for name, value in self.__dict__.items() if name != "stop"}
        return {**kept, "started": 0.0, "gone": self.elapsed, "stopped": self.stop.is_set()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        gone, stopped = state.pop("gone"), state.pop("stopped")
        self.__dict__.update(state)
        self.started = CLOCKS[self.clock]() - gone
        self.stop = threading.Event()
        if stopped:
            self.stop.set()

    @property
    def elapsed(self) -> float:
        """Seconds on the schedule's clock since it was made."""
        return CLOCKS[self.clock]() - self.started

    @property
    def spent(self) -> float:
        """The share of the seconds that is gone; 0 without a limit in seconds, 1 once stopped."""
        if self.stop.is_set():
            return 1.0
        return self.elapsed / self.seconds if self.seconds else 0.0


def unit_of(ground: Ground) -> float:
    """The yardstick of temperatures: the mean distance of customers to their nearest ones (up to 40)."""
    gaps = ground.gaps[1:]
    mean = float(gaps.mean(dtype=np.float64)) if gaps.size else 0.0
    return mean if mean > 0 else 1.0


@dataclass(frozen=True)
class Cycle:
    """One cooling: from and to which progress, from and to which temperature, falling geometrically."""

    low: float
    high: float
    hot: float
    cold: float

    @property
    def share(self) -> float:
        """The share of the whole budget."""
        return self.high - self.low

    def heat(self, progress: float) -> float:
        """The temperature at a progress within the cycle."""
        part = (progress - self.low) / self.share if self.share > 0 else 1.0
        return self.hot * float((self.cold / self.hot) ** min(1.0, max(0.0, part)))

    def slices(self, count: int) -> "Iterator[Slice]":
        """The cycle in so many parts of equal length, made when they are asked for: a day has 350,000 of them."""
        for k in range(count):
            yield Slice(self, self.low + self.share * k / count, self.low + self.share * (k + 1) / count)


@dataclass(frozen=True)
class Slice:
    """A part of a cycle that one walk takes, with its share of the iterations."""

    cycle: Cycle
    low: float
    high: float
    share: float = 1.0


def walk_slice(ground: Ground, walk: Walk, schedule: Schedule, part: Slice) -> int:
    """Anneals through one slice; returns the iterations done. Ends early when the seconds are spent or at a stop."""
    total = None
    if schedule.iterations is not None:
        total = max(1, round((part.high - part.low) * schedule.iterations * part.share))
    done = 0
    while total is None or done < total:
        spent = schedule.spent
        if spent >= (part.high if total is None else 1.0):
            break
        progress = spent if total is None else part.low + (part.high - part.low) * done / total
        step = CHUNK if total is None else min(CHUNK, total - done)
        heat = part.cycle.heat(progress)
        kernels.anneal(ground, walk, step, heat, heat)
        done += step
    return done


def standing(walk: Walk) -> list[list[int]]:
    """The routes on which the walk stands."""
    active = walk.order[: walk.counts[ACTIVE]]
    return routes_of(walk.nodes[:, 0], walk.routes[active, FIRST])


def best_of(walk: Walk) -> list[list[int]]:
    """The best routes that the walk has met."""
    return routes_of(walk.best_after, walk.best_first)


def slots_for(instance: Instance, routes: int) -> int:
    """Routes to keep room for."""
    return min(instance.size, max(routes, instance.least_vehicles) + SPARE) + 1


def new_walk(instance: Instance, ground: Ground, routes: list[list[int]], seed: int) -> Walk:
    """A walk that stands at ``routes``."""
    return make_walk(ground, routes, slots_for(instance, len(routes)), seed)


def fewer_routes(
    instance: Instance, ground: Ground, routes: list[list[int]], schedule: Schedule, share: float, seed: int
) -> list[list[int]]:
    """Routes closed one by one down to what the total demand needs, within a share of the budget; the fewest found."""
    best = routes
    tries = 0 if schedule.iterations is None else max(1, int(schedule.iterations * share))
    until = schedule.spent + share
    while len(best) > instance.least_vehicles:
        walk = new_walk(instance, ground, best, seed + len(best))
        kernels.close_lightest(ground, walk)
        heat, served = 0.1 * unit_of(ground), False
        while not served and (tries > 0 if schedule.iterations is not None else schedule.spent < until):
            served = kernels.shrink(ground, walk, CHUNK, heat)
            tries -= CHUNK
            schedule.done += CHUNK
            if schedule.spent >= 1.0:
                break
        if not served:
            break
        best = best_of(walk)
    return best
