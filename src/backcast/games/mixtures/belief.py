"""What a learner knows who faces a mixture: which types are still possible, with what weight, and where their
memories are."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton
from backcast.games.memory.minimise import minimise
from backcast.games.memory.mixture import Mixture
from backcast.games.numbers import exact_array, floats, rational
from backcast.games.problems.game import StochasticGame

DEAD = -1
DIGITS = 13
"""Floats in beliefs are rounded to this many digits, so that equal beliefs meet; the bounds allow for it."""


@dataclass(frozen=True)
class Belief:
    """One information state: game state, nodes of the fixed players, node of every type (-1: refuted), weights."""

    state: int
    fixed: tuple[int, ...]
    nodes: tuple[int, ...]
    weights: tuple[Any, ...]


class BeliefProcess:
    """The decision process over beliefs (theorem 3.4: a POMDP whose hidden part, the drawn type, never changes)."""

    def __init__(self, game: StochasticGame, mixture: Mixture, player: int, fixed: Sequence[Automaton], exact: bool):
        seats = sorted([player, mixture.player, *(automaton.player for automaton in fixed)])
        if seats != list(range(len(game.players))):
            raise BadInput(f"mixture: seats {[s + 1 for s in seats]} are filled; every seat of '{game.name}' needs one")
        self.game, self.player, self.exact = game, player, exact
        self.types = [minimise(automaton.check(game))[0] for automaton in mixture.types]
        self.fixed = [automaton.check(game) for automaton in fixed]
        self.prior = tuple(rational(w) if exact else float(w) for w in mixture.weights)
        convert: Any = exact_array if exact else floats
        self.play = [convert(automaton.play) for automaton in self.types]
        self.fixed_play = [convert(automaton.play) for automaton in self.fixed]
        self.payoff = convert(game.rewards[player])
        self.kernel = convert(game.probability)
        self.seat = mixture.player
        self.by_own = [np.flatnonzero(game.digits[:, player] == a).tolist() for a in range(game.sizes[player])]
        self.digits = game.digits.tolist()
        self.zero: Any = Fraction(0) if exact else 0.0

    def starts(self) -> list[tuple[Any, Belief]]:
        """(probability, belief) before the first move."""
        nodes = tuple(t.start if w > 0 else DEAD for t, w in zip(self.types, self.prior, strict=True))
        fixed = tuple(automaton.start for automaton in self.fixed)
        begin = [(rational(p) if self.exact else float(p), s) for s, p in enumerate(self.game.start.tolist()) if p != 0]
        return [(p, Belief(s, fixed, nodes, self._key(self.prior))) for p, s in begin]

    def step(self, belief: Belief, action: int) -> tuple[Any, list[tuple[Any, Belief]]]:
        """Returns the expected payoff of an action, and the beliefs it may lead to with their probabilities."""
        pay = self.zero
        after: dict[Belief, Any] = {}
        for joint in self.by_own[action]:
            chance, weights = self._observe(belief, joint)
            if chance == 0:
                continue
            pay += chance * self.payoff[belief.state, joint]
            for p, target in self._landings(belief, joint, weights):
                after[target] = after.get(target, self.zero) + chance * p
        return pay, [(p, target) for target, p in after.items()]

    def observed(self, belief: Belief) -> list[tuple[int, Belief]]:
        """Returns (joint action, belief after it) for everything that may be seen next."""
        out = []
        for joint in range(self.game.joint):
            chance, weights = self._observe(belief, joint)
            if chance != 0:
                out += [(joint, target) for _, target in self._landings(belief, joint, weights)]
        return out

    def _observe(self, belief: Belief, joint: int) -> tuple[Any, tuple[Any, ...]]:
        """Chance of a joint action given the own part of it, and the weights of the types after it (Bayes' rule)."""
        acts, s = self.digits[joint], belief.state
        others: Any = 1
        for automaton, play, m in zip(self.fixed, self.fixed_play, belief.fixed, strict=True):
            others *= play[s % len(play), m, acts[automaton.player]]
        mass = [
            w * play[s % len(play), m, acts[self.seat]] if m != DEAD else self.zero
            for w, play, m in zip(belief.weights, self.play, belief.nodes, strict=True)
        ]
        total = sum(mass, self.zero)
        if total == 0 or others == 0:
            return self.zero, belief.weights
        return others * total, self._key(tuple(m / total for m in mass))

    def _landings(self, belief: Belief, joint: int, weights: tuple[Any, ...]) -> list[tuple[Any, Belief]]:
        """Beliefs after a joint action was seen, one per state it may lead to."""
        s = belief.state
        nodes = tuple(
            int(t.next[s % len(t.next), m, joint]) if w > 0 else DEAD
            for t, m, w in zip(self.types, belief.nodes, weights, strict=True)
        )
        fixed = tuple(int(t.next[s % len(t.next), m, joint]) for t, m in zip(self.fixed, belief.fixed, strict=True))
        row = s * self.game.joint + joint
        return [
            (self.kernel[entry], Belief(int(self.game.next_state[entry]), fixed, nodes, weights))
            for entry in range(self.game.indptr[row], self.game.indptr[row + 1])
        ]

    def _key(self, weights: tuple[Any, ...]) -> tuple[Any, ...]:
        """Weights as part of a key: fractions as they are, floats rounded so that equal beliefs meet."""
        if self.exact:
            return weights
        return tuple(round(float(w), DIGITS) for w in weights)
