"""The partition as a decision process (2502.08340, section 3): states, masks, sampling and greedy decoding, replay.

An episode starts at the depot; each step goes to a customer or, closing the vehicle's cluster, back to the depot. A
policy gives every customer a row of weights over its candidates (the depot first, then near customers) and every
customer a weight of being the first of a vehicle. Three masks apply: visited customers; demand beyond the room left;
the fleet mask, which keeps the depot closed while the vehicles that may still depart could not carry what is unserved.
Where no candidate is open any open customer will do, uniformly when sampling; where none is open the depot is, always.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numba import njit

from backcast.core.errors import BadInput
from backcast.routing.problems.instance import Instance
from backcast.routing.search.moves import draw


class Board(NamedTuple):
    """What the process needs of an instance."""

    xy: np.ndarray
    """(N + 1, 2)."""
    demand: np.ndarray
    """(N + 1,) int64."""
    capacity: int
    near: np.ndarray
    """(N + 1, K) int32: candidates of each customer: the depot, then customers; -1 pads. Row 0 serves the network."""
    most: int
    """Vehicles that may depart before the fleet mask opens the depot to more; soft, as in the paper."""


class Replay(NamedTuple):
    """A sequence of actions with all masks that were in force, for log-probabilities with a gradient."""

    rows: np.ndarray
    """(S,) customers at which a candidate was chosen."""
    picks: np.ndarray
    """(S,) which candidate."""
    masks: np.ndarray
    """(S, K) which candidates were open."""
    starts: np.ndarray
    """(D,) first customers of the vehicles."""
    start_masks: np.ndarray
    """(D, N + 1) which customers could have been."""
    fixed: float
    """Log-probability of the steps that no weight decides (uniform fall-backs)."""
    off: int
    """Steps to a customer that is no candidate although candidates were open: they have no probability and are left
    out; labels may hold some, samples none."""


def vehicles_for(instance: Instance, spare: int = 1) -> int:
    """The paper's limit for the global policy: what the demand needs, and one more."""
    return instance.least_vehicles + spare


@njit(cache=True, nogil=True, error_model="numpy")
def _open(board: Any, seen: Any, c: Any, room: Any) -> Any:
    return not seen[c] and board.demand[c] <= room


@njit(cache=True, nogil=True, error_model="numpy")
def _mask_row(board: Any, seen: Any, at: Any, room: Any, closed: Any, mask: Any) -> Any:
    """Marks the open candidates of customer ``at``; how many there are."""
    count = 0
    for k in range(board.near.shape[1]):
        c = board.near[at, k]
        mask[k] = c >= 0 and (not closed if c == 0 else _open(board, seen, c, room))
        count += mask[k]
    return count


@njit(cache=True, nogil=True, error_model="numpy")
def _pick(weights: Any, mask: Any, greedy: Any, state: Any) -> Any:
    """An open index, by weight; and its log-probability."""
    total, top, best = 0.0, -1, -1.0
    for k in range(len(mask)):
        if mask[k]:
            total += weights[k]
            if weights[k] > best:
                top, best = k, weights[k]
    chosen = top
    if not greedy:
        left = draw(state) * total
        for k in range(len(mask)):
            if mask[k]:
                left -= weights[k]
                chosen = k
                if left <= 0.0:
                    break
    return chosen, math.log(weights[chosen] / total)


@njit(cache=True, nogil=True, error_model="numpy")
def _fall_back(board: Any, seen: Any, at: Any, room: Any, greedy: Any, state: Any) -> Any:
    """An open customer that is no candidate: the nearest, or any; 0 where none is open; and the log-probability."""
    count, near, least = 0, 0, np.inf
    for c in range(1, len(seen)):
        if _open(board, seen, c, room):
            count += 1
            d = (board.xy[c, 0] - board.xy[at, 0]) ** 2 + (board.xy[c, 1] - board.xy[at, 1]) ** 2
            if d < least:
                near, least = c, d
    if count == 0:
        return 0, 0.0
    if greedy:
        return near, -math.log(float(count))
    skip = int(draw(state) * count)
    for c in range(1, len(seen)):
        if _open(board, seen, c, room):
            if skip == 0:
                return c, -math.log(float(count))
            skip -= 1
    return near, -math.log(float(count))


@njit(cache=True, nogil=True, error_model="numpy")
def decode(board: Any, weights: Any, starts: Any, greedy: Any, state: Any) -> Any:
    """One episode: the actions (customers; 0 ends a vehicle) and their log-probability."""
    n = len(board.demand)
    seen = np.zeros(n, np.bool_)
    actions = np.zeros(2 * n + 1, np.int64)
    mask, start_mask = np.zeros(board.near.shape[1], np.bool_), np.zeros(n, np.bool_)
    unserved, room, at = board.demand.sum(), board.capacity, 0
    left, count, departed, logp = n - 1, 0, 1, 0.0
    while left > 0:
        if at == 0:
            for c in range(n):
                start_mask[c] = c > 0 and not seen[c]
            go, one = _pick(starts, start_mask, greedy, state)
        else:
            closed = unserved > (board.most - departed) * board.capacity
            if _mask_row(board, seen, at, room, closed, mask):
                k, one = _pick(weights[at], mask, greedy, state)
                go = board.near[at, k]
            else:
                go, one = _fall_back(board, seen, at, room, greedy, state)
        logp += one
        actions[count] = go
        count += 1
        if go == 0:
            room, departed = board.capacity, departed + 1
        else:
            seen[go] = True
            room -= board.demand[go]
            unserved -= board.demand[go]
            left -= 1
        at = go
    return actions[:count], logp


@njit(cache=True, nogil=True, error_model="numpy")
def _replay(board: Any, actions: Any, rows: Any, picks: Any, masks: Any, starts: Any, start_masks: Any) -> Any:
    """Fills the arrays; (steps at customers, departures, fixed log-probability, steps off the list, bad step or -1)."""
    n = len(board.demand)
    seen = np.zeros(n, np.bool_)
    unserved, room, at = board.demand.sum(), board.capacity, 0
    s, d, departed, fixed, off = 0, 0, 1, 0.0, 0
    for step in range(len(actions)):
        go = actions[step]
        if go and not _open(board, seen, go, room):
            return s, d, fixed, off, step
        if at == 0:
            if go == 0:
                return s, d, fixed, off, step
            for c in range(n):
                start_masks[d, c] = c > 0 and not seen[c]
            starts[d] = go
            d += 1
        else:
            closed = unserved > (board.most - departed) * board.capacity
            if _mask_row(board, seen, at, room, closed, masks[s]):
                picks[s] = -1
                for k in range(board.near.shape[1]):
                    if board.near[at, k] == go and masks[s, k]:
                        picks[s] = k
                rows[s] = at
                if picks[s] >= 0:
                    s += 1
                else:
                    off += 1
            elif go:
                count = 0
                for c in range(1, n):
                    count += _open(board, seen, c, room)
                fixed -= math.log(float(count))
        if go == 0:
            room, departed = board.capacity, departed + 1
        else:
            seen[go] = True
            room -= board.demand[go]
            unserved -= board.demand[go]
        at = go
    return s, d, fixed, off, -1


def replay(board: Board, actions: np.ndarray) -> Replay:
    """The masks along a sequence; raises BadInput for one that breaks them (a customer twice, or too much load)."""
    steps, width, n = len(actions), board.near.shape[1], len(board.demand)
    rows, picks, starts = (np.zeros(steps, np.int64) for _ in range(3))
    masks = np.zeros((steps, width), np.bool_)
    start_masks = np.zeros((int((np.asarray(actions) == 0).sum()) + 1, n), np.bool_)
    s, d, fixed, off, bad = _replay(board, np.asarray(actions, np.int64), rows, picks, masks, starts, start_masks)
    if bad >= 0:
        raise BadInput(f"step {bad} of the sequence goes to {actions[bad]}, which is closed there; check the routes")
    return Replay(rows[:s], picks[:s], masks[:s], starts[:d], start_masks[:d], float(fixed), int(off))


def actions_of(routes: list[list[int]]) -> np.ndarray:
    """Routes as actions: customers in order, 0 between vehicles."""
    flat: list[int] = []
    for route in routes:
        flat += [*route, 0]
    return np.array(flat[:-1], np.int64)


def routes_of_actions(actions: np.ndarray) -> list[list[int]]:
    """The clusters of an episode, each in its order of visits."""
    ends = np.flatnonzero(actions == 0)
    return [part[part > 0].tolist() for part in np.split(actions, ends) if (part > 0).any()]
