"""What a good outcome is in this room: exact values of a learner beside best responses, Bayes and uniform play."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.problem import Score
from backcast.games.memory import Automaton, Mixture, named_automaton
from backcast.games.mixtures import bayes_value, best_memory
from backcast.games.numbers import check_discount
from backcast.games.problems import StochasticGame
from backcast.games.solve import best_response, evaluate

MATCHES = 200
"""Matches a recurrent agent plays against each opponent when it is evaluated."""


@dataclass(frozen=True)
class Opposed:
    """A learner against one opponent, all exact."""

    name: str
    part: str
    """'train' or 'test'."""
    weight: float
    value: float
    best: float
    """The best response's value: the most anybody can earn against this opponent."""
    uniform: float
    """What uniform play earns: the baseline."""
    half_width: float = 0.0
    """Half the 95 % interval of ``value`` where it was simulated (recurrent agents); 0 where it is exact."""

    @property
    def regret(self) -> float:
        """best - value; a difference that is rounding is 0."""
        apart = self.best - self.value
        return 0.0 if abs(apart) <= 1e-11 * max(1.0, abs(self.best)) else apart

    @property
    def normalised(self) -> float | None:
        """(value - uniform) / (best - uniform); None where uniform play is already best."""
        room = self.best - self.uniform
        return (self.value - self.uniform) / room if room > 1e-12 else None

    @property
    def score(self) -> Score:
        """The house's Score: value against the best response as reference."""
        return Score(self.value, {"uniform": self.uniform, "normalised": self.normalised}, self.best)


@dataclass(frozen=True)
class GapReport:
    """The gaps of one learner on its training and test opponents."""

    opponents: tuple[Opposed, ...]
    bayes: tuple[float, float] | None
    """[lower, upper] of the Bayes value on the training mixture; None when it was too large to compute."""
    best_memory: float | None
    """Best pure k-memory value on the training mixture, where searched."""

    def mean(self, part: str, what: str) -> float:
        """Weighted mean of ``value``, ``best``, ``uniform`` or ``regret`` over one part."""
        chosen = [one for one in self.opponents if one.part == part]
        total = sum(one.weight for one in chosen)
        return float(sum(one.weight * getattr(one, what) for one in chosen) / total)

    @property
    def generalisation(self) -> float:
        """Mean regret on test minus mean regret on train."""
        return self.mean("test", "regret") - self.mean("train", "regret")

    @property
    def mixture_gap(self) -> float | None:
        """Bayes (its upper bound) minus the mean training value: below zero only by rounding, or there is a bug."""
        return None if self.bayes is None else self.bayes[1] - self.mean("train", "value")

    @property
    def adaptation_gap(self) -> float | None:
        """Mean best response minus Bayes: what not knowing the type costs anybody."""
        return None if self.bayes is None else self.mean("train", "best") - self.bayes[0]

    @property
    def memory_gap(self) -> float | None:
        """Bayes minus the best k-memory strategy."""
        return None if self.bayes is None or self.best_memory is None else self.bayes[1] - self.best_memory

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "opponents": [
                {
                    "name": one.name,
                    "part": one.part,
                    "weight": one.weight,
                    "value": one.value,
                    "best": one.best,
                    "uniform": one.uniform,
                    "regret": one.regret,
                    "normalised": one.normalised,
                    "half_width": one.half_width,
                }
                for one in self.opponents
            ],
            "train_mean": self.mean("train", "value"),
            "train_best": self.mean("train", "best"),
            "train_regret": self.mean("train", "regret"),
            "test_mean": self.mean("test", "value"),
            "test_best": self.mean("test", "best"),
            "test_regret": self.mean("test", "regret"),
            "generalisation_gap": self.generalisation,
            "bayes": None if self.bayes is None else list(self.bayes),
            "mixture_gap": self.mixture_gap,
            "adaptation_gap": self.adaptation_gap,
            "best_memory": self.best_memory,
            "memory_gap": self.memory_gap,
        }


def gap_report(
    game: StochasticGame,
    strategy: Automaton | Sequence[Automaton],
    train: Mixture,
    test: Mixture,
    discount: Any = None,
    memory: int | None = None,
    bayes: tuple[float, float] | str | None = "compute",
) -> GapReport:
    """Returns the exact gaps of a strategy that is a function of what it observes.

    ``strategy``: one for everybody, or one for each type (an agent that sees types; then ``test`` must hold the same
    types, and there is no gap to the Bayes value, which is for those who do not). ``memory``: also search the best of
    that K. ``bayes``: [lower, upper] where already known.
    """
    rate = check_discount(game.discount if discount is None else discount)
    each = [strategy] if isinstance(strategy, Automaton) else list(strategy)
    seat = each[0].player
    for mixture in (train, test):
        if len(each) not in (1, len(mixture.types)):
            raise BadInput(f"gap: {len(each)} strategies for {len(mixture.types)} types; give one, or one for each")
    rows = [
        _row(
            game, kind, float(weight), part, rate, float(evaluate(game, [each[i % len(each)], kind], rate).values[seat])
        )
        for part, mixture in (("train", train), ("test", test))
        for i, (kind, weight) in enumerate(zip(mixture.types, mixture.weights, strict=True))
    ]
    if len(each) > 1:
        bayes = None
    known = bayes_bounds(game, train, seat, rate) if isinstance(bayes, str) else bayes
    best = None if memory is None else best_memory(game, train, memory, seat, rate, branches=200).value
    return GapReport(tuple(rows), known, best)


def bayes_bounds(game: StochasticGame, train: Mixture, seat: int, rate: Any) -> tuple[float, float] | None:
    """Returns [lower, upper] of the Bayes value; None where it is too large to compute."""
    try:
        found = bayes_value(game, train, seat, rate, nodes=20_000, tol=1e-4)
    except BadInput:
        return None
    return found.lower, found.upper


def _row(
    game: StochasticGame, kind: Automaton, weight: float, part: str, rate: Any, value: float, half: float = 0.0
) -> Opposed:
    seat = 1 - kind.player
    even = float(evaluate(game, [named_automaton(game, "uniform", seat), kind], rate).values[seat])
    return Opposed(kind.name, part, weight, value, best_response(game, kind, seat, rate).value, even, half)


def simulated_report(
    game: StochasticGame,
    model: Any,
    seen: dict[str, Any],
    train: Mixture,
    test: Mixture,
    discount: Any = None,
    bayes: tuple[float, float] | str | None = "compute",
) -> GapReport:
    """Returns the gaps of a recurrent network by Monte Carlo, its state carried, with 95 % intervals.

    ``seen``: the observation it was trained on (observe, k). The horizon is long enough that what truncation leaves
    out is below 1e-3 of the largest value, and is added to the half width.
    """
    rate = check_discount(game.discount if discount is None else discount)
    seat = 1 - train.player
    rows = []
    for part, mixture in (("train", train), ("test", test)):
        for i, (kind, weight) in enumerate(zip(mixture.types, mixture.weights, strict=True)):
            value, half = _play_recurrent(game, model, seen, (mixture, i), float(rate))
            rows.append(_row(game, kind, float(weight), part, rate, value, half))
    if seen.get("observe") in ("type", "full"):
        bayes = None
    return GapReport(tuple(rows), bayes_bounds(game, train, seat, rate) if isinstance(bayes, str) else bayes, None)


def _play_recurrent(
    game: StochasticGame,
    model: Any,
    seen: dict[str, Any],
    drawn: tuple[Mixture, int],
    rate: float,
    matches: int = MATCHES,
) -> tuple[float, float]:
    from backcast.games.envs import MatchVectorEnv, World

    mixture, kind = drawn
    horizon = int(np.ceil(np.log(1e-3) / np.log(rate))) if rate > 0 else 1
    env = MatchVectorEnv(World(game, mixture, horizon=horizon + 1, discount=rate, **seen), matches)
    env.reset(seed=0)
    shown = env.restart(np.full(matches, kind))
    state, first, total = None, np.ones(matches, dtype=bool), np.zeros(matches)
    for step in range(horizon):
        action, state = model.predict(shown, state=state, episode_start=first, deterministic=True)
        shown, reward, *_ = env.step(action)
        total += rate**step * reward
        first = np.zeros(matches, dtype=bool)
    payoff = game.payoff[1 - mixture.player]
    rest = rate**horizon / (1 - rate)
    middle = rest * (payoff.max() + payoff.min()) / 2
    half = 1.96 * total.std(ddof=1) / np.sqrt(matches) + rest * np.ptp(payoff) / 2
    return float(total.mean() + middle), float(half)
