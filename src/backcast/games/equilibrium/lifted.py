"""The lifted game (windows, or nodes of automata, become states) and the certificates of a profile in it."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton, stationary
from backcast.games.memory.windows import Windows, check_size, k_memory
from backcast.games.numbers import check_discount, floats
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.evaluate import exact_chain
from backcast.games.solve.exact import chain_values
from backcast.games.solve.mdp import linear_values, solve
from backcast.games.solve.product import chain_of
from backcast.games.solve.response import best_response


def lift(game: StochasticGame, memory: int) -> StochasticGame:
    """Returns the game whose states are (state, window of at most K joint actions), numbered state * windows + window.

    A stationary equilibrium of it is an equilibrium in K-memory strategies (theorem 3.2's proof).
    """
    check_size(game, memory, budget=100_000)
    windows = Windows(game.actions, memory)
    size, joint = len(windows), game.joint
    after = windows.append(np.arange(size)[:, None], np.arange(joint)[None, :])
    rows = (np.arange(len(game.states))[:, None, None] * joint + np.arange(joint)[None, None, :]).repeat(size, axis=1)
    lengths = np.diff(game.indptr)[rows].ravel()
    ends = np.cumsum(lengths)
    entry = np.arange(int(ends[-1])) + np.repeat(game.indptr[:-1][rows].ravel() - (ends - lengths), lengths)
    window_after = np.repeat(np.broadcast_to(after[None], rows.shape).ravel(), lengths)
    start = np.zeros((len(game.states), size), dtype=game.start.dtype)
    start[:, 0] = game.start
    named = size * len(game.states) <= 2000
    return StochasticGame(
        name=f"{game.name} with memory {memory}",
        players=game.players,
        states=tuple(f"{s} | {windows.text(w) if named else w}" for s in game.states for w in windows),
        actions=game.actions,
        rewards=np.repeat(game.rewards, size, axis=1),
        indptr=np.concatenate([[0], ends]),
        next_state=(game.next_state[entry].astype(np.int64) * size + window_after).astype(np.int32),
        probability=game.probability[entry],
        start=start.ravel(),
        discount=game.discount,
    )


def lift_automata(game: StochasticGame, profile: Sequence[Automaton]) -> tuple[StochasticGame, list[np.ndarray]]:
    """Returns the game over (state, node, node, ...) that any play can reach, and what the automata play there.

    Here "all lifted states" are those after arbitrary deviations of everybody.
    """
    seats = sorted((automaton.check(game) for automaton in profile), key=lambda automaton: automaton.player)
    keys = [(s, *(t.start for t in seats)) for s in np.flatnonzero(floats(game.start) > 0).tolist()]
    place = {key: n for n, key in enumerate(keys)}
    indptr, following, chance = [0], [], []
    for s, *nodes in keys:
        for joint in range(game.joint):
            after = [int(t.next[s % len(t.next), m, joint]) for t, m in zip(seats, nodes, strict=True)]
            for entry in range(game.indptr[s * game.joint + joint], game.indptr[s * game.joint + joint + 1]):
                key = (int(game.next_state[entry]), *after)
                if key not in place:
                    place[key] = len(keys)
                    keys.append(key)
                following.append(place[key])
                chance.append(game.probability[entry])
            indptr.append(len(following))
    state = np.array([key[0] for key in keys])
    lifted = StochasticGame(
        name=f"{game.name} with automata",
        players=game.players,
        states=tuple(" ".join(map(str, key)) for key in keys),
        actions=game.actions,
        rewards=game.rewards[:, state],
        indptr=np.array(indptr, dtype=np.int64),
        next_state=np.array(following, dtype=np.int32),
        probability=np.array(chance),
        start=np.array([game.start[key[0]] if place[key] < len(place) and _first(key, seats) else 0 for key in keys]),
        discount=game.discount,
    )
    plays = [np.array([t.play[key[0] % len(t.play), key[1 + i]] for key in keys]) for i, t in enumerate(seats)]
    return lifted, plays


def _first(key: tuple[int, ...], seats: Sequence[Automaton]) -> bool:
    return list(key[1:]) == [automaton.start for automaton in seats]


@dataclass(frozen=True)
class Certificate:
    """How much any player could gain by any deviation: a proof, since best responses are exact."""

    values: tuple[float, ...]
    """Each player's value from the start."""
    eps_start: float
    """Largest gain from the start ("Nash from the start")."""
    eps_all: float
    """Largest gain from any lifted state (the paper's sense)."""


class Table:
    """A game as dense float tables over its states, for stationary profiles."""

    def __init__(self, game: StochasticGame, discount: Any):
        self.game = game
        self.rate = float(check_discount(discount))
        self.size, self.joint, self.sizes = len(game.states), game.joint, game.sizes
        shape = (self.size * self.joint, self.size)
        self.kernel = sp.csr_matrix((game.kernel, game.next_state, game.indptr), shape=shape)
        self.start = floats(game.start)

    @cached_property
    def places(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """For each player the row (state, own action) of every (state, joint action), and that column's number."""
        joint = np.arange(self.size * self.joint)
        state, a = np.divmod(joint, self.joint)
        return [(state * k + self.game.digits[a, i], joint) for i, k in enumerate(self.sizes)]

    def others(self, profile: Sequence[np.ndarray], i: int) -> np.ndarray:
        """Probability of the others' part of every joint action, shape (states, joint)."""
        out = np.ones((self.size, self.joint))
        for j, play in enumerate(profile):
            if j != i:
                out *= play[:, self.game.digits[:, j]]
        return out

    def decision(self, profile: Sequence[np.ndarray], i: int) -> tuple[sp.csr_matrix, np.ndarray]:
        """The process player i faces: kernel (states * own, states) and rewards (states, own)."""
        weight = self.others(profile, i)
        rows, columns = self.places[i]
        spread = sp.csr_matrix(
            (weight.ravel(), (rows, columns)), shape=(self.size * self.sizes[i], self.size * self.joint)
        )
        reward = spread @ self.game.payoff[i].ravel()
        return (spread @ self.kernel).tocsr(), reward.reshape(self.size, self.sizes[i])

    def values(self, profile: Sequence[np.ndarray]) -> np.ndarray:
        """Each player's value in every state, shape (players, states)."""
        weight = self.others(profile, -1)
        spread = sp.csr_matrix((weight.ravel(), np.arange(weight.size), np.arange(self.size + 1) * self.joint))
        chain = spread @ self.kernel
        pays = [(weight * self.game.payoff[i]).sum(axis=1) for i in range(len(self.sizes))]
        return np.stack([linear_values(chain, pay, self.rate) for pay in pays])

    def certify(self, profile: Sequence[np.ndarray]) -> Certificate:
        """Exact best responses of every player against the rest of the profile."""
        own = self.values(profile)
        gains = []
        for i in range(len(self.sizes)):
            transition, reward = self.decision(profile, i)
            best = solve(transition, reward, self.rate)
            gains.append(np.maximum(best.value - own[i], 0.0))
        begin = float(max((self.start @ gain) for gain in gains))
        return Certificate(tuple(float(self.start @ v) for v in own), begin, float(max(gain.max() for gain in gains)))


def certify(game: StochasticGame, profile: Sequence[Automaton], discount: Any = None) -> Certificate:
    """Returns the certificate of a profile of automata in a game."""
    lifted, plays = lift_automata(game, profile)
    table = Table(lifted, game.discount if discount is None else discount)
    return table.certify([floats(play) for play in plays])


@dataclass(frozen=True)
class ExactCertificate:
    """A certificate in fractions."""

    values: tuple[Fraction, ...]
    eps_start: Fraction
    eps_all: Fraction


def certify_exactly(game: StochasticGame, profile: Sequence[Automaton], discount: Any = None) -> ExactCertificate:
    """Returns the certificate in fractions; BadInput when the numbers or the size do not allow it."""
    rate = check_discount(game.discount if discount is None else discount)
    lifted, plays = lift_automata(game, profile)
    found = certify_table_exactly(lifted, plays, rate)
    if found is None:
        raise BadInput(
            f"exact certificate: {len(lifted.states)} lifted states, or numbers that are no simple "
            "fractions; use certify"
        )
    return found


def certify_table_exactly(
    lifted: StochasticGame, plays: Sequence[np.ndarray], rate: Fraction
) -> ExactCertificate | None:
    """Returns the certificate in fractions of a stationary profile of a lifted game; None when its numbers or its size
    do not allow it."""
    fixed = [stationary(lifted, i, play) for i, play in enumerate(plays)]
    best = []
    for i in range(len(lifted.players)):
        answer = best_response(lifted, [t for t in fixed if t.player != i], i, rate, whole=True)
        if answer.exact_values is None:
            return None
        best.append(answer.exact_values)
    own = exact_state_values(lifted, fixed, rate)
    gains = [[b - v for b, v in zip(line, value, strict=True)] for line, value in zip(best, own, strict=True)]
    return exact_certificate(lifted, own, gains)


def simple_fractions(profile: Sequence[np.ndarray], largest: int = 1000, tol: float = 1e-9) -> list[np.ndarray] | None:
    """Returns the profile in fractions with denominators up to ``largest``; None where one is not within ``tol``."""
    out = []
    for play in profile:
        exact = np.empty(play.shape, dtype=object)
        for place, p in np.ndenumerate(play):
            exact[place] = Fraction(float(p)).limit_denominator(largest)
        if np.abs(floats(exact) - play).max() > tol or any(sum(row) != 1 for row in exact):
            return None
        out.append(exact)
    return out


def exact_state_values(lifted: StochasticGame, fixed: Sequence[Automaton], rate: Fraction) -> list[list[Fraction]]:
    """Returns each player's value in every state of a game under stationary strategies, as fractions."""
    rows, pays = exact_chain(chain_of(lifted, fixed, whole=True))
    return [chain_values(rows, [pay[i] for pay in pays], rate) for i in range(len(lifted.players))]


def exact_certificate(
    lifted: StochasticGame, own: Sequence[Sequence[Fraction]], gains: Sequence[Sequence[Fraction]]
) -> ExactCertificate:
    """Returns values from the start and the largest gains."""
    start = {
        n: Fraction(p) if not isinstance(p, float) else Fraction(str(p))
        for n, p in enumerate(lifted.start.tolist())
        if p
    }
    begin = [sum((p * gain[n] for n, p in start.items()), Fraction(0)) for gain in gains]
    values = tuple(sum((p * value[n] for n, p in start.items()), Fraction(0)) for value in own)
    return ExactCertificate(values, max(begin), max(max(gain) for gain in gains))


def as_strategies(game: StochasticGame, memory: int, profile: Sequence[np.ndarray], name: str) -> list[Automaton]:
    """Returns a stationary profile of ``lift(game, memory)`` as K-memory strategies of the game."""
    states = len(game.states)
    return [
        k_memory(game, i, memory, play.reshape(states, -1, play.shape[1]), f"{name} {i + 1}")
        for i, play in enumerate(profile)
    ]
