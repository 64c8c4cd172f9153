"""Pursuit on a torus: a learner and a teammate corner a prey (the domain is named in the paper, its details are
ours)."""

from fractions import Fraction

import numpy as np

from backcast.core.errors import BadInput
from backcast.games.problems.game import StochasticGame

MOVES = ("stay", "north", "south", "west", "east")
STEPS = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])


def pursuit(size: int = 5) -> StochasticGame:
    """Returns the three-player game on a ``size`` x ``size`` torus, in coordinates relative to the prey.

    State: (learner's offset, teammate's offset). All three move at once, and nobody blocks anybody. A step from a state
    with both predators orthogonally adjacent to the prey is a capture: it pays both hunters 1 and the prey -1,
    and the hunters are put back to uniformly drawn corners of the torus seen from the prey.
    """
    if not 3 <= size <= 15 or int(size) != size:
        raise BadInput(f"pursuit: size {size}; a torus of 3 to 15 cells a side is supported")
    cells = size * size
    offsets = np.stack(np.unravel_index(np.arange(cells), (size, size)), axis=1)
    states = cells * cells
    learner, mate = np.divmod(np.arange(states), cells)
    near = _distance(offsets, size) == 1
    captured = near[learner] & near[mate]
    joint = 125
    moves = np.stack(np.unravel_index(np.arange(joint), (5, 5, 5)), axis=1)
    moved = [
        _shift(offsets, place, STEPS[moves[:, seat]] - STEPS[moves[:, 2]], size)
        for seat, place in ((0, learner), (1, mate))
    ]
    following = (moved[0] * cells + moved[1]).reshape(states, joint)
    half = size // 2
    corners = [half * size + half, half * size + (half + 1) % size]
    resets = np.array([a * cells + b for a in corners for b in corners])
    counts = np.where(np.repeat(captured, joint), len(resets), 1)
    indptr = np.concatenate([[0], np.cumsum(counts)])
    target = np.repeat(following.ravel(), counts)
    chance = np.full(len(target), 1.0)
    inside = np.repeat(np.repeat(captured, joint), counts)
    target[inside] = np.tile(resets, int(captured.sum()) * joint)
    chance[inside] = float(Fraction(1, len(resets)))
    rewards = np.zeros((3, states, joint))
    rewards[0] = rewards[1] = captured[:, None]
    rewards[2] = -1.0 * captured[:, None]
    start = np.zeros(states)
    start[resets] = 1 / len(resets)
    return StochasticGame(
        name=f"pursuit {size}x{size}",
        players=("learner", "teammate", "prey"),
        states=tuple(f"{_said(offsets[a])}{_said(offsets[b])}" for a, b in zip(learner, mate, strict=True)),
        actions=(MOVES, MOVES, MOVES),
        rewards=rewards,
        indptr=indptr.astype(np.int64),
        next_state=target.astype(np.int32),
        probability=chance,
        start=start,
        discount=0.9,
    )


def greedy_play(size: int, seat: int = 1) -> np.ndarray:
    """Returns the stationary policy (S, 1, 5) that steps closer to the prey, sharing ties evenly; adjacent it stays."""
    cells = size * size
    offsets = np.stack(np.unravel_index(np.arange(cells), (size, size)), axis=1)
    place = np.divmod(np.arange(cells * cells), cells)[seat]
    after = np.stack([_distance(offsets[place] + step, size) for step in STEPS], axis=1)
    wanted = np.abs(after - 1)
    best = wanted == wanted.min(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True))[:, None, :])


def fleeing_play(size: int) -> np.ndarray:
    """Returns the prey's stationary policy (S, 1, 5): the step that leaves the nearer hunter farthest, ties shared."""
    cells = size * size
    offsets = np.stack(np.unravel_index(np.arange(cells), (size, size)), axis=1)
    learner, mate = (offsets[place] for place in np.divmod(np.arange(cells * cells), cells))
    far = np.stack(
        [np.minimum(_distance(learner - step, size), _distance(mate - step, size)) for step in STEPS], axis=1
    )
    best = far == far.max(axis=1, keepdims=True)
    return np.asarray((best / best.sum(axis=1, keepdims=True))[:, None, :])


def _said(offset: np.ndarray) -> str:
    return f"({offset[0]},{offset[1]})"


def _distance(offsets: np.ndarray, size: int) -> np.ndarray:
    """Steps to the prey on the torus."""
    inside = offsets % size
    return np.asarray(np.minimum(inside, size - inside).sum(axis=1))


def _shift(offsets: np.ndarray, place: np.ndarray, step: np.ndarray, size: int) -> np.ndarray:
    """Cell index after adding ``step`` (joint, 2) to each place, shape (states, joint)."""
    moved = (offsets[place][:, None, :] + step[None, :, :]) % size
    return np.asarray(moved[..., 0] * size + moved[..., 1])
