"""Equilibria in K-memory strategies, each with both certificates from exact best responses."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.progress import track
from backcast.games.equilibrium.lifted import (
    Certificate,
    ExactCertificate,
    Table,
    as_strategies,
    certify_table_exactly,
    lift,
    simple_fractions,
)
from backcast.games.equilibrium.path import OnPath, on_path
from backcast.games.equilibrium.pure import pure_equilibria
from backcast.games.equilibrium.qre import continuation
from backcast.games.equilibrium.shapley import is_zero_sum, shapley
from backcast.games.memory.automaton import Automaton
from backcast.games.memory.windows import Windows, count
from backcast.games.numbers import check_discount, floats
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.product import others_of
from backcast.games.solve.response import place_words

SEED_WEIGHT = 0.9
"""Share of a seed in the prior it gives; the rest is spread evenly so that every action is possible."""
EXACT_STATES = 100
"""Up to this many lifted states an equilibrium is also certified in fractions, where it is one in simple numbers."""
Candidate = tuple[list[np.ndarray], Certificate, str]
DUST = 1e-13
"""Probabilities below this are rounding: they are set to 0, and the certificate is of the profile without them."""
UNKNOWNS = 3_000
"""Probabilities and values that a continuation solves for at most: its linear systems are dense."""
SLOW = 60
"""With more lifted states the searches, seconds to minutes each, are counted on stderr."""
GIVEN = "given"
"""How a profile that was asked about is said to have been found; it is certified whether an equilibrium or not."""


@dataclass(frozen=True, eq=False)
class Equilibrium:
    """A profile of K-memory strategies and how near it is to an equilibrium."""

    certificate: Certificate
    strategies: list[Automaton]
    method: str
    profile: list[np.ndarray]
    path: OnPath
    """What it plays; equilibria of one path differ only where play never gets."""
    exact: ExactCertificate | None = None
    """The certificate in fractions, where it was computed so."""

    def plays(self) -> list[dict[str, dict[str, float]]]:
        """Returns {window, own move first: {action: probability}} for each player; ``state: `` leads where there
        are several."""
        out = []
        for automaton in self.strategies:
            windows, own = Windows.of(automaton), automaton.actions[automaton.player]
            out.append(
                {
                    place_words(automaton.states, s, windows.text(w, automaton.player), windows.memory): {
                        own[a]: float(row[w, a]) for a in np.flatnonzero(row[w] > 0)
                    }
                    for s, row in enumerate(automaton.chances)
                    for w in windows
                }
            )
        return out

    @property
    def values(self) -> tuple[float, ...]:
        """Each player's value from the start."""
        return self.certificate.values

    @property
    def eps_start(self) -> float:
        """Largest gain of a deviation from the start."""
        return self.certificate.eps_start

    @property
    def eps_all(self) -> float:
        """Largest gain of a deviation from any lifted state."""
        return self.certificate.eps_all


def nash(
    game: StochasticGame,
    memory: int = 1,
    discount: Any = None,
    starts: int = 4,
    seed: int = 0,
    seeds: Sequence[Sequence[Automaton]] = (),
    tol: float = 1e-9,
) -> list[Equilibrium]:
    """Returns distinct equilibria in K-memory strategies, the most rewarding first, each certified: eps_all is
    at most ``tol``, or that share of the largest value.

    Continuation from the uniform prior always ends where memory is ignored; others come from trigger profiles
    (play a joint action,
    punish any other for ever with the memory-less equilibrium), from given ``seeds`` (profiles of automata), and from
    ``starts`` random priors. Zero-sum games are solved by Shapley iteration. When nothing meets ``tol`` the best
    found is returned. Given profiles are always among what is returned, whatever their certificates say.
    """
    rate = check_discount(game.discount if discount is None else discount)
    _refuse_large(game, memory)
    lifted = lift(game, memory)
    table = Table(lifted, rate)
    found: list[Candidate] = []

    def keep(profile: list[np.ndarray], certificate: Certificate, method: str) -> None:
        if any((p < DUST).any() and (p[p < DUST] > 0).any() for p in profile):
            profile = [np.where(p < DUST, 0.0, p) for p in profile]
            profile = [p / p.sum(axis=1, keepdims=True) for p in profile]
            certificate = table.certify(profile)
        found.append((profile, certificate, method))

    if is_zero_sum(game):
        size = len(lifted.states) // len(game.states)
        profile = [np.repeat(play, size, axis=0) for play in shapley(game, rate).profile]
        keep(profile, table.certify(profile), "shapley")
    ground = continuation(table, [np.full((table.size, k), 1.0 / k) for k in game.sizes])
    keep(ground.profile, ground.certificate, "qre")
    for profile in triggers(game, memory, ground.profile):
        keep(profile, table.certify(profile), "trigger")
    priors = _priors(table, game, memory, starts, seed, seeds)
    for prior in track(priors, "searches") if table.size > SLOW else priors:
        path = continuation(table, prior)
        keep(path.profile, path.certificate, "qre from a prior")
    for given in seeds:
        profile = _tables(game, memory, given)
        keep(profile, table.certify(profile), GIVEN)
    asked = [one for one in found if one[2] == GIVEN]
    chosen = [
        (*one[:2], f"{one[2]}, {GIVEN}" if one[2] != GIVEN and any(_same(one, other) for other in asked) else one[2])
        for one in _chosen(found, tol)
    ]
    chosen += [one for one in asked if not any(_same(one, other) for other in chosen)]
    return [_finished(game, memory, lifted, rate, one) for one in chosen]


def _refuse_large(game: StochasticGame, memory: int) -> None:
    states = count(len(game.states), game.joint, memory)
    unknowns = states * (sum(game.sizes) + len(game.sizes))
    if unknowns > UNKNOWNS:
        raise BadInput(
            f"equilibria: memory {memory} in '{game.name}' has {states} lifted states and {unknowns} unknowns "
            f"(probabilities and values), more than {UNKNOWNS}; use a smaller memory or a smaller game"
        )


def triggers(game: StochasticGame, memory: int, ground: Sequence[np.ndarray]) -> list[list[np.ndarray]]:
    """Returns, for every joint action, the profile that plays it while nothing else was seen, and else ``ground``.

    With memory 0 there is nothing to trigger on, and none is returned.
    """
    if memory == 0:
        return []
    windows, states = Windows(game.actions, memory), len(game.states)
    out = []
    for joint in range(game.joint):
        calm = np.array([all(letter == joint for letter in windows.spell(w)) for w in windows])
        where = np.tile(calm, states)
        out.append(
            [
                np.where(where[:, None], np.eye(k)[game.digits[joint, i]][None], play)
                for i, (k, play) in enumerate(zip(game.sizes, ground, strict=True))
            ]
        )
    return out


def _priors(
    table: Table, game: StochasticGame, memory: int, starts: int, seed: int, seeds: Sequence[Sequence[Automaton]]
) -> list[list[np.ndarray]]:
    rng = np.random.default_rng(seed)
    even = [np.full((table.size, k), 1.0 / k) for k in game.sizes]
    priors = [[rng.dirichlet(np.ones(k), size=table.size) * 0.98 + 0.02 / k for k in game.sizes] for _ in range(starts)]
    for given in seeds:
        profile = _tables(game, memory, given)
        priors.append([SEED_WEIGHT * p + (1 - SEED_WEIGHT) * e for p, e in zip(profile, even, strict=True)])
    return priors


def _tables(game: StochasticGame, memory: int, profile: Sequence[Automaton]) -> list[np.ndarray]:
    """Automata as stationary plays of the lifted game."""
    from backcast.games.memory.minimise import to_table

    seats = others_of(game, -1, profile)
    plays = [to_table(automaton, memory).chances for automaton in seats]
    return [np.broadcast_to(p, (len(game.states), *p.shape[1:])).reshape(-1, p.shape[2]).copy() for p in plays]


def _chosen(found: list[Candidate], tol: float) -> list[Candidate]:
    """Those that are equilibria in all lifted states, else from the start, else the best; without repeats."""
    near = [tol * max(1.0, *map(abs, one[1].values)) for one in found]
    good = [one for one, room in zip(found, near, strict=True) if one[1].eps_all <= room]
    good = good or [one for one, room in zip(found, near, strict=True) if one[1].eps_start <= room]
    if not good:
        return [min(found, key=lambda one: one[1].eps_all)]
    out: list[Candidate] = []
    for one in sorted(good, key=lambda one: (-round(sum(one[1].values), 6), one[1].eps_all)):
        if not any(_same(one, other) for other in out):
            out.append(one)
    return out


def _same(one: Candidate, other: Candidate) -> bool:
    return all(np.abs(p - q).max() < 1e-6 for p, q in zip(one[0], other[0], strict=True))


def _finished(game: StochasticGame, memory: int, lifted: StochasticGame, rate: Fraction, one: Candidate) -> Equilibrium:
    """The profile as strategies; in fractions, with its certificate, where it is one of simple numbers."""
    profile, certificate, method = one
    exact = None
    plays = simple_fractions(profile) if len(lifted.states) <= EXACT_STATES else None
    proof = None if plays is None else certify_table_exactly(lifted, plays, rate)
    if plays is not None and proof is not None and proof.eps_all <= certificate.eps_all * (1 + 1e-6) + 1e-12:
        exact, profile = proof, plays
        certificate = Certificate(tuple(float(v) for v in proof.values), float(proof.eps_start), float(proof.eps_all))
    strategies = as_strategies(game, memory, profile, method)
    return Equilibrium(
        certificate, strategies, method, [floats(p) for p in profile], on_path(game, strategies, rate), exact
    )


def all_pure(game: StochasticGame, memory: int = 1, discount: Any = None, limit: int = 20_000) -> list[Equilibrium]:
    """Returns every pure K-memory equilibrium from the start (exact enumeration), as ``Equilibrium`` objects."""
    out, rate = [], check_discount(game.discount if discount is None else discount)
    for pure in pure_equilibria(game, memory, discount, limit):
        profile = [np.eye(k)[list(choice)] for k, choice in zip(game.sizes, pure.choices, strict=True)]
        exact = pure.certificate
        certificate = Certificate(tuple(float(v) for v in exact.values), float(exact.eps_start), float(exact.eps_all))
        strategies = as_strategies(game, memory, profile, "pure")
        path = on_path(game, strategies, rate)
        out.append(Equilibrium(certificate, strategies, "enumeration", profile, path, exact))
    return out
