"""One choice for every item, costs within a budget, error as small as can be: the multiple-choice knapsack.

States (cost, error) are carried item by item; those that another state beats, or whose best possible completion is no
better than a solution already known, are dropped. The completion is bounded by the linear relaxation, which takes the
steepest steps of the items' lower convex hulls (Sinha and Zoltners 1979). So the answer is the optimum, unless more
than ``MOST`` states have to be carried: then it is a solution with a certificate of how far from the optimum it can be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

MOST = 50_000
"""States carried at most from one item to the next."""

Option = tuple[int, float]
"""What it costs, and its error."""


@dataclass(frozen=True)
class Solution:
    """What was chosen, and how good it is known to be."""

    picks: tuple[int, ...]
    """The option of every item."""
    cost: int
    error: float
    bound: float
    """No choice within the budget has less error than this (equal to ``error`` when it is the optimum)."""

    @property
    def gap(self) -> float:
        """Share by which the error can be above the optimum's at most."""
        return (self.error - self.bound) / self.error if self.error > 0 else 0.0


def cheapest(items: Sequence[Sequence[Option]]) -> int:
    """The least that any choice costs."""
    return sum(min(cost for cost, _ in options) for options in items)


def solve(items: Sequence[Sequence[Option]], budget: int) -> Solution | None:
    """The choice of least total error with total cost at most ``budget``; None if even the cheapest costs more."""
    if cheapest(items) > budget:
        return None
    bounds = _Suffixes(items)
    best = _rounded(items, budget)
    states: tuple[NDArray[np.int64], Array] = (np.zeros(1, dtype=np.int64), np.zeros(1))
    trail: list[tuple[NDArray[np.int32], NDArray[np.int16]]] = []
    lost = np.inf  # the least bound of the states that had to be dropped for number
    for at, options in enumerate(items):
        cost = (states[0][:, None] + np.array([cost for cost, _ in options])).ravel()
        error = (states[1][:, None] + np.array([error for _, error in options])).ravel()
        parent = np.repeat(np.arange(len(states[0]), dtype=np.int32), len(options))
        option = np.tile(np.arange(len(options), dtype=np.int16), len(states[0]))
        least = error + bounds.least(at + 1, budget - cost)
        alive = np.flatnonzero(least < best.error)
        alive = alive[_undominated(cost[alive], error[alive])]
        if len(alive) > MOST:
            alive = alive[np.argsort(least[alive], kind="stable")]
            lost = min(lost, float(least[alive[MOST]]))
            alive = np.sort(alive[:MOST])
        states = cost[alive], error[alive]
        trail.append((parent[alive], option[alive]))
    if len(states[0]):
        end = int(np.argmin(states[1]))
        best = _traced(items, trail, end)
    return Solution(best.picks, best.cost, best.error, min(best.error, lost))


def relaxed(items: Sequence[Sequence[Option]], budget: int) -> float:
    """The least error if options could be mixed in any shares: a lower bound on every choice."""
    return float(_Suffixes(items).least(0, np.array([budget]))[0])


def hull(options: Sequence[Option]) -> list[int]:
    """The options on the lower convex hull, by rising cost: each step down less steep than the one before."""
    order = sorted(range(len(options)), key=lambda i: (options[i][0], options[i][1]))
    kept: list[int] = []
    for i in order:
        if kept and options[i][1] >= options[kept[-1]][1]:
            continue
        while len(kept) > 1 and _slope(options, kept[-2], kept[-1]) >= _slope(options, kept[-1], i):
            kept.pop()
        kept.append(i)
    return kept


def _slope(options: Sequence[Option], a: int, b: int) -> float:
    """Change of error per unit of cost (negative) from one option to a dearer one."""
    if options[a][0] == options[b][0]:
        return -np.inf
    return (options[b][1] - options[a][1]) / (options[b][0] - options[a][0])


class _Suffixes:
    """The linear relaxation of the last items, as a piecewise linear function of the budget left to them."""

    def __init__(self, items: Sequence[Sequence[Option]]) -> None:
        self._curves: list[tuple[Array, Array]] = [(np.zeros(1), np.zeros(1))]
        start_cost = start_error = 0.0
        steps = np.zeros((0, 2))
        for options in reversed(items):
            corners = np.array([options[i] for i in hull(options)], dtype=np.float64)
            start_cost, start_error = start_cost + corners[0, 0], start_error + corners[0, 1]
            steps = np.concatenate([steps, np.diff(corners, axis=0)])
            steps = steps[np.argsort(steps[:, 1] / steps[:, 0], kind="stable")] if len(steps) else steps
            path = np.concatenate([[[start_cost, start_error]], steps]).cumsum(axis=0)
            self._curves.append((path[:, 0], path[:, 1]))
        self._curves.reverse()

    def least(self, first: int, budgets: NDArray[np.int64]) -> Array:
        """For each budget the bound on the error of items ``first ...``; infinite where they cannot be paid."""
        costs, errors = self._curves[first]
        # Rounding of the sums must not make a bound higher than the error it bounds.
        found = np.interp(budgets, costs, errors) * (1 - 1e-12)
        return np.where(budgets < costs[0], np.inf, found)


def _undominated(cost: NDArray[np.int64], error: Array) -> NDArray[np.intp]:
    """Indices of the states that no state of at most their cost beats, by rising cost."""
    order = np.lexsort((error, cost))
    sorted_error = error[order]
    before = np.concatenate([[np.inf], np.minimum.accumulate(sorted_error)[:-1]])
    return order[sorted_error < before]


def _rounded(items: Sequence[Sequence[Option]], budget: int) -> Solution:
    """A good choice to begin with: the steepest steps that fit, then whatever else still fits."""
    corners = [hull(options) for options in items]
    place = [0] * len(items)
    picks = [corner[0] for corner in corners]
    cost = sum(items[i][pick][0] for i, pick in enumerate(picks))
    steps = sorted(
        (_slope(items[i], corner[k], corner[k + 1]), i, k)
        for i, corner in enumerate(corners)
        for k in range(len(corner) - 1)
    )
    for _, i, k in steps:
        more = items[i][corners[i][k + 1]][0] - items[i][picks[i]][0]
        if place[i] == k and cost + more <= budget:
            place[i], picks[i], cost = k + 1, corners[i][k + 1], cost + more
    for i, options in enumerate(items):
        room = budget - cost + options[picks[i]][0]
        better = min((j for j in range(len(options)) if options[j][0] <= room), key=lambda j: options[j][1])
        if options[better][1] < options[picks[i]][1]:
            cost += options[better][0] - options[picks[i]][0]
            picks[i] = better
    return _solution(items, picks)


def _traced(
    items: Sequence[Sequence[Option]], trail: list[tuple[NDArray[np.int32], NDArray[np.int16]]], end: int
) -> Solution:
    picks = []
    for parent, option in reversed(trail):
        picks.append(int(option[end]))
        end = int(parent[end])
    return _solution(items, picks[::-1])


def _solution(items: Sequence[Sequence[Option]], picks: Sequence[int]) -> Solution:
    chosen = [options[pick] for options, pick in zip(items, picks, strict=True)]
    error = float(np.sum([error for _, error in chosen]))
    return Solution(tuple(picks), sum(cost for cost, _ in chosen), error, error)
