"""Families of opponents, splits without leaks, and the manifest that says exactly who was drawn (the project's own
design)."""

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.games.memory import (
    Automaton,
    Mixture,
    fingerprint,
    k_memory,
    load_strategy,
    memory_one,
    minimise,
    parse_mixture,
    to_json,
    together,
)
from backcast.games.memory.windows import Windows, check_size
from backcast.games.numbers import parse_number
from backcast.games.problems import StochasticGame

Sampler = Callable[[StochasticGame, int, np.random.Generator, dict[str, Any]], Automaton]


def _setting(options: dict[str, Any], key: str, default: float, low: float, high: float = math.inf) -> float:
    """An option as a number between two bounds; BadInput says which one is not."""
    value = float(parse_number(options.get(key, default), f"opponents: {key}"))
    if not low <= value <= high:
        wanted = f"is below {low:g}" if high == math.inf else f"is outside [{low:g}, {high:g}]"
        raise BadInput(f"opponents: {key} {value:g} {wanted}; give another")
    return value


def _memory(game: StochasticGame, options: dict[str, Any]) -> int:
    memory = int(_setting(options, "memory", 1, 0))
    check_size(game, memory)
    return memory


def pure(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A pure K-memory strategy, uniform over all of them (options: memory)."""
    memory = _memory(game, options)
    cells = (len(game.states), len(Windows(game.actions, memory)))
    return k_memory(game, seat, memory, np.eye(game.sizes[seat], dtype=int)[rng.integers(0, game.sizes[seat], cells)])


def dirichlet(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A behavioural K-memory strategy with Dirichlet(alpha) rows (options: memory, alpha)."""
    memory, alpha = _memory(game, options), _setting(options, "alpha", 1, 1e-6)
    cells = (len(game.states), len(Windows(game.actions, memory)))
    return k_memory(game, seat, memory, rng.dirichlet(np.full(game.sizes[seat], alpha), size=cells))


def reactive(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A behavioural strategy that looks at the others' last moves only (options: alpha)."""
    alpha = _setting(options, "alpha", 1, 1e-6)
    rest = int(np.prod([k for i, k in enumerate(game.sizes) if i != seat]))
    others = np.ravel_multi_index(
        tuple(game.digits[:, i] for i in range(len(game.sizes)) if i != seat),
        tuple(k for i, k in enumerate(game.sizes) if i != seat),
    )
    rows = rng.dirichlet(np.full(game.sizes[seat], alpha), size=(len(game.states), rest + 1))
    play = np.concatenate([rows[:, :1], rows[:, 1:][:, others]], axis=1)
    return k_memory(game, seat, 1, play)


def moore(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A random Moore machine: pure play in each node, transitions on joint actions (options: nodes)."""
    nodes = int(_setting(options, "nodes", 4, 1, 10_000))
    play = np.eye(game.sizes[seat], dtype=int)[rng.integers(0, game.sizes[seat], (1, nodes))]
    following = rng.integers(0, nodes, (1, nodes, game.joint)).astype(np.int32)
    return Automaton(seat, game.actions, play, following, states=game.states)


def zero_determinant(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A zero-determinant memory-one player s_own - kappa = chi (s_other - kappa) (options: chi, kappa, phi as a share).

    Press and Dyson 2012, for the prisoner's dilemma's payoffs; chi and phi are drawn where not given.
    """
    chi = _setting(options, "chi", 1 + 4 * rng.random(), -math.inf)
    share = _setting(options, "phi", 0.1 + 0.9 * rng.random(), 1e-6, 1)
    if game.sizes != (2, 2) or len(game.states) > 1:
        raise BadInput(f"family 'zd': needs two players with two actions and one state; '{game.name}' has {game.sizes}")
    own = game.payoff[seat, 0].reshape(2, 2)
    own = own if seat == 0 else own.T
    kappa = _setting(options, "kappa", float(own[1, 1]), -math.inf)
    mine, theirs = own.ravel(), own.T.ravel()
    lean = (mine - kappa) - chi * (theirs - kappa)
    base = np.array([1.0, 1.0, 0.0, 0.0])
    limits = [((0 if d < 0 else 1) - b) / d if d != 0 else np.inf for b, d in zip(base, lean, strict=True)]
    most = min((limit for limit in limits if limit >= 0), default=0.0)
    if most <= 0 or not all(-1e-12 <= b + share * most * d <= 1 + 1e-12 for b, d in zip(base, lean, strict=True)):
        raise BadInput(
            f"family 'zd': chi {chi:.3g} with kappa {kappa:.3g} is not enforceable here; use chi >= 1 "
            "and kappa between P and R"
        )
    chances = np.clip(base + share * most * lean, 0, 1)
    return memory_one(game, seat, 1.0, chances.tolist())


def noisy(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A base player perturbed towards a random behavioural one (options: base, epsilon)."""
    base = load_strategy(game, str(options.get("base", "tft")), seat)
    share = _setting(options, "epsilon", 0.1, 0, 1)
    rows = rng.dirichlet(np.ones(game.sizes[seat]), size=base.play.shape[:2])
    return replace(base, play=(1 - share) * base.chances + share * rows)


def grid(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A walker for pursuit: greedy (the prey: fleeing) with probability ``greed``, else waiting or walking at random,
    with or without momentum (options: greed, momentum)."""
    from backcast.games.memory.zoo import named_automaton

    if not game.name.startswith("pursuit"):
        raise BadInput(f"family 'grid': walks in pursuit; '{game.name}' is another game")
    greedy = named_automaton(game, "greedy" if seat < 2 else "fleeing", seat).chances
    greed = _setting(options, "greed", rng.random(), 0, 1)
    lazy = rng.random()
    idle = np.full(5, (1 - lazy) / 4)
    idle[0] = lazy
    if options.get("momentum", rng.random() < 0.5) in (True, "true", "1", 1):
        last = game.digits[:, seat]
        inert = np.stack([0.5 * np.eye(5)[a] + 0.5 * idle for a in range(5)])
        play = np.stack([greed * greedy[:, 0] + (1 - greed) * inert[a] for a in range(5)], axis=1)
        following = np.broadcast_to(last.astype(np.int32), (1, 5, game.joint))
        return Automaton(seat, game.actions, play, following, 0, states=game.states)
    return replace(named_automaton(game, "uniform", seat), play=greed * greedy + (1 - greed) * idle)


def axelrod(game: StochasticGame, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """A live player of the Axelrod library, imported and replayed (options: name)."""
    from backcast.games.axelrod import import_player

    return import_player(game, str(options.get("name", "Tit For Tat")), seat, seed=int(rng.integers(2**31)))


FAMILIES: dict[str, Sampler] = {
    "pure": pure,
    "dirichlet": dirichlet,
    "reactive": reactive,
    "moore": moore,
    "zd": zero_determinant,
    "noisy": noisy,
    "grid": grid,
    "axelrod": axelrod,
}
"""Families of opponents; named players are written as a mixture (``tft,allc`` or ``tft:2,allc:1``)."""
OPTIONS = {"n", "memory", "alpha", "nodes", "chi", "kappa", "phi", "base", "epsilon", "greed", "momentum", "name"}


@dataclass(frozen=True, eq=False)
class Split:
    """Training and test opponents without a strategy in common."""

    game: StochasticGame
    train: Mixture
    test: Mixture
    dropped: int
    """Draws thrown away because the same strategy was there already."""
    manifest: dict[str, Any]


def draw(game: StochasticGame, spec: str, seat: int, seed: int, known: set[str] | None = None) -> tuple[Mixture, int]:
    """Returns the opponents a text asks for, and how many draws were repeats.

    ``tft,allc`` or ``tft:1,allc:2`` names players; ``moore:n=8,nodes=3`` draws 8 different ones from a family.
    Strategies whose minimal automaton is in ``known`` are not drawn (families) or refused (names).
    """
    family, _, rest = spec.partition(":")
    if family not in FAMILIES:
        return _named(game, spec, seat, known or set()), 0
    options: dict[str, Any] = {}
    for part in rest.split(",") if rest else []:
        key, _, value = part.partition("=")
        if key.strip() not in OPTIONS or not value:
            raise BadInput(f"opponents '{spec}': '{part}' is not key=value{nearest(key.strip(), OPTIONS)}")
        options[key.strip()] = value.strip()
    wanted = int(parse_number(options.pop("n", 8), f"opponents '{spec}': n"))
    if wanted < 1:
        raise BadInput(f"opponents '{spec}': n {wanted}; draw at least one")
    return _sampled(game, (family, options, wanted), seat, np.random.default_rng(seed), set(known or ()))


def _named(game: StochasticGame, spec: str, seat: int, known: set[str]) -> Mixture:
    one = ";" in spec or ":" in spec  # a vector holds commas of its own
    text = spec if ":" in spec else f"{spec}:1" if one else ",".join(f"{name}:1" for name in spec.split(","))
    mixture = parse_mixture(game, text, seat)
    for kind in mixture.types:
        if fingerprint(kind) in known:
            raise BadInput(f"opponents '{spec}': '{kind.name}' plays like a training opponent; test on others")
    return mixture


def _sampled(
    game: StochasticGame, ask: tuple[str, dict[str, Any], int], seat: int, rng: np.random.Generator, known: set[str]
) -> tuple[Mixture, int]:
    family, options, wanted = ask
    found: list[Automaton] = []
    repeats = 0
    while len(found) < wanted:
        kind = _one(game, family, seat, rng, options)
        mark = fingerprint(kind)
        if mark in known:
            repeats += 1
            if repeats > 200 + 20 * wanted:
                raise BadInput(
                    f"opponents '{family}': only {len(found)} of {wanted} different strategies were "
                    "found; ask for fewer"
                )
            continue
        known.add(mark)
        found.append(kind.renamed(f"{family}-{len(found) + 1}"))
    return Mixture(tuple(found), tuple(Fraction(1, wanted) for _ in found)), repeats


def _one(game: StochasticGame, family: str, seat: int, rng: np.random.Generator, options: dict[str, Any]) -> Automaton:
    """One draw of a family; in a team's seat one draw for each of its members."""
    if game.team is None or seat == 0:
        return FAMILIES[family](game, seat, rng, options)
    original, player = game.team
    seats = [i for i in range(len(original.players)) if i != player]
    return together(game, [FAMILIES[family](original, i, rng, options) for i in seats])


def split(game: StochasticGame, train: str, test: str, seat: int = 1, seed: int = 0) -> Split:
    """Returns training and test opponents, de-duplicated by their minimal automata.

    The same family on both sides is an i.i.d. split, another family or other options a shift; ``mix`` on the test
    side re-weights the
    training types at random (compositional), which is the one case where strategies may meet again.
    """
    first, repeats = draw(game, train, seat, seed)
    if test == "mix":
        weights = np.random.default_rng([seed, 1]).dirichlet(np.ones(len(first.types)))
        second, more = Mixture(first.types, tuple(weights.tolist())), 0
    else:
        marks = {fingerprint(kind) for kind in first.types}
        second, more = draw(game, test, seat, int(np.random.default_rng([seed, 1]).integers(2**31)), marks)
    manifest = {
        "game": game.name,
        "seed": seed,
        "train": {"spec": train, "types": _entries(first)},
        "test": {"spec": test, "types": _entries(second)},
        "compositional": test == "mix",
        "dropped": repeats + more,
    }
    text = json.dumps(manifest, sort_keys=True)
    manifest["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return Split(game, first, second, repeats + more, manifest)


def _entries(mixture: Mixture) -> list[dict[str, Any]]:
    return [
        {
            "name": kind.name,
            "weight": str(weight),
            "nodes": minimise(kind)[0].nodes,
            "sha256": fingerprint(kind),
            "strategy": to_json(minimise(kind)[0]),
        }
        for kind, weight in zip(mixture.types, mixture.weights, strict=True)
    ]


def shared(first: Sequence[Automaton], second: Sequence[Automaton]) -> list[str]:
    """Returns the names in ``second`` that play like somebody in ``first``: the leak check."""
    marks = {fingerprint(kind) for kind in first}
    return [kind.name for kind in second if fingerprint(kind) in marks]
