"""Theorem 3.5 as builders: contextual decision processes and mixtures of memory-0 opponents are the same problem."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton, stationary
from backcast.games.memory.mixture import Mixture
from backcast.games.numbers import check_discount, floats
from backcast.games.problems.game import StochasticGame, from_rows


@dataclass(frozen=True, eq=False)
class ContextualMDP:
    """A decision process whose kernel depends on a context that is drawn once and never seen.

    Also called latent, multi-model or hidden-model decision process (CMDP = CONTEXTUAL, not constrained).
    """

    kernel: np.ndarray
    """Shape (contexts, S, A, S)."""
    reward: np.ndarray
    """Shape (S, A): payoffs tell nothing about the context beyond what the states tell."""
    prior: tuple[Any, ...]
    start: int | list[float] = 0
    """Where it begins: a state, or the probability of each."""
    discount: float = 0.9

    def __post_init__(self) -> None:
        contexts, states, actions, _ = self.kernel.shape
        if self.reward.shape != (states, actions) or len(self.prior) != contexts:
            raise BadInput(
                f"contextual process: kernel {self.kernel.shape}, reward {self.reward.shape}, prior "
                f"{len(self.prior)} do not fit"
            )
        if not np.allclose(self.kernel.sum(axis=3), 1):
            raise BadInput("contextual process: a row of its kernel does not sum to 1")


def as_mixture(process: ContextualMDP) -> tuple[StochasticGame, Mixture]:
    """Returns a game and a mixture of memory-0 opponents of the same value (theorem 3.5).

    Turns alternate: in a state the learner moves; in the (state, action) that follows the opponent names the next
    state, a
    type being a context's kernel read as a stationary strategy. Two game steps make one step of the process, so
    the game's discount is its square root.
    """
    contexts, states, actions, _ = process.kernel.shape
    moves, replies = [str(a) for a in range(actions)], [str(s) for s in range(states)]
    names = [*replies, *(f"{s} after {a}" for s in range(states) for a in range(actions))]
    rewards = np.zeros((2, len(names), actions * states))
    rows: list[list[dict[int, Any]]] = []
    for s in range(states):
        rewards[0, s] = np.repeat(process.reward[s], states)
        rows.append([{states + s * actions + a: 1} for a in range(actions) for _ in range(states)])
    rows += [[{t: 1} for _ in range(actions) for t in range(states)] for _ in range(states * actions)]
    game = from_rows(
        "contextual",
        (moves, replies),
        rewards,
        rows,
        states=names,
        start=_starts(process.start, len(names)),
        discount=float(np.sqrt(process.discount)),
    )
    idle = np.zeros((states, states))
    idle[:, 0] = 1.0
    types = [
        stationary(game, 1, np.concatenate([idle, process.kernel[c].reshape(-1, states)]), f"context {c}")
        for c in range(contexts)
    ]
    return game, Mixture(tuple(types), tuple(process.prior))


def _starts(start: int | list[float], size: int) -> int | list[float]:
    """The same start among more states."""
    return start if isinstance(start, int) else [*start, *[0.0] * (size - len(start))]


def as_contextual(game: StochasticGame, mixture: Mixture, player: int = 0, limit: int = 2000) -> ContextualMDP:
    """Returns the contextual process of a game of two seats against a mixture: contexts are types.

    A state is (game state, node of every type, transition that led there), so that what the opponent did is seen; the
    payoff of a step is paid one step later, where the state shows it, over the discount. Raises BadInput at discount
    0, where nothing paid later counts, and beyond ``limit`` states.
    """
    types, rate = mixture.types, float(check_discount(game.discount))
    if rate == 0:
        raise BadInput("contextual process: discount 0; what is paid a step later must count, so give more than 0")
    begins = [(int(s), tuple(t.start for t in types), -1) for s in np.flatnonzero(floats(game.start) > 0)]
    nodes, place = list(begins), {key: x for x, key in enumerate(begins)}
    steps: list[dict[tuple[int, int, int], float]] = [{} for _ in types]
    for x, (s, memory, _) in enumerate(nodes):
        for joint, digits in enumerate(game.digits.tolist()):
            after = tuple(int(t.next[s % len(t.next), m, joint]) for t, m in zip(types, memory, strict=True))
            for entry in range(game.indptr[s * game.joint + joint], game.indptr[s * game.joint + joint + 1]):
                key = (int(game.next_state[entry]), after, entry)
                if key not in place:
                    place[key] = len(nodes)
                    nodes.append(key)
                for c, (t, m) in enumerate(zip(types, memory, strict=True)):
                    p = float(t.chances[s % len(t.play), m, digits[mixture.player]]) * float(game.kernel[entry])
                    cell = (x, digits[player], place[key])
                    steps[c][cell] = steps[c].get(cell, 0.0) + p
        if len(nodes) > limit:
            raise BadInput(f"contextual process: more than {limit} states; use fewer types or smaller memories")
    kernel = np.zeros((len(types), len(nodes), game.sizes[player], len(nodes)))
    for c, cells in enumerate(steps):
        for (x, a, y), p in cells.items():
            kernel[c, x, a, y] = p
    paid = np.array([_paid(game, player, entry) if entry >= 0 else 0.0 for _, _, entry in nodes]) / rate
    reward = np.repeat(paid[:, None], game.sizes[player], axis=1)
    start = np.zeros(len(nodes))
    start[: len(begins)] = [float(game.start[s]) for s, _, _ in begins]
    return ContextualMDP(kernel, reward, tuple(mixture.weights), 0 if len(begins) == 1 else start.tolist(), rate)


def _paid(game: StochasticGame, player: int, entry: int) -> float:
    """What the step along one entry of the kernel pays."""
    if game.landing is not None:
        return float(game.landing[player, entry])
    row = int(np.searchsorted(game.indptr, entry, side="right")) - 1
    return float(game.payoff[player].reshape(-1)[row])


def context_types(process: ContextualMDP) -> tuple[Automaton, ...]:
    """Returns the memory-0 opponents that play the contexts."""
    return as_mixture(process)[1].types
