"""Mixed K-memory strategies: one pure or behavioural strategy is drawn before the match and kept (definition 1.4)."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton
from backcast.games.memory.files import Hand, load_strategy
from backcast.games.numbers import floats, parse_number
from backcast.games.problems.game import StochasticGame


@dataclass(frozen=True, eq=False)
class Mixture:
    """A distribution over strategies of one seat; ``weights`` sum to 1 (Fractions where they were given exactly)."""

    types: tuple[Automaton, ...]
    weights: tuple[Any, ...]

    def __post_init__(self) -> None:
        if not self.types or len(self.types) != len(self.weights):
            raise BadInput(
                f"mixture: {len(self.types)} types and {len(self.weights)} weights; give one weight per type"
            )
        if len({automaton.player for automaton in self.types}) != 1:
            raise BadInput("mixture: its types sit in different seats; a mixture is one player's strategy")
        for automaton, weight in zip(self.types, self.weights, strict=True):
            if not weight >= 0:
                raise BadInput(f"mixture: '{automaton.name}' has weight {weight}; weights are never negative")
        total = sum(self.weights)
        if total == 0:
            raise BadInput("mixture: all weights are 0; give at least one a positive weight")
        if total != 1:
            exact = [Fraction(weight) if isinstance(weight, int) else weight for weight in self.weights]
            object.__setattr__(self, "weights", tuple(weight / total for weight in exact))

    @property
    def player(self) -> int:
        """The seat the mixture plays in."""
        return self.types[0].player

    @property
    def name(self) -> str:
        """What the mixture is called in reports."""
        return ",".join(f"{t.name}:{w}" for t, w in zip(self.types, self.weights, strict=True))

    @property
    def pure(self) -> bool:
        """Whether every type is pure."""
        return all(automaton.pure for automaton in self.types)


def parse_mixture(game: StochasticGame, text: str, player: int, hand: Hand | None = None) -> Mixture:
    """Returns the mixture written ``tft:1,allc:1``; weights are normalised, a type is anything ``load_strategy``
    reads. ``hand``: done to every strategy (noise)."""
    entries, held = [], []
    for part in text.split(","):  # a memory-one vector holds commas of its own: a type ends where its weight is
        held.append(part)
        if ":" in part:
            name, _, weight = ",".join(held).rpartition(":")
            entries.append((name.strip(), weight))
            held = []
    if held or not entries:
        raise BadInput(f"mixture: '{text}' is not a list of type:weight; write it like tft:1,allc:1")
    types = tuple(load_strategy(game, name, player, hand) for name, _ in entries)
    weights = tuple(parse_number(weight, f"mixture weight of '{name}'") for name, weight in entries)
    return Mixture(types, weights)


def induced(game: StochasticGame, mixture: Mixture) -> Automaton:
    """Returns the induced behavioural strategy: at every step a coin with the mixture's PRIOR weights picks who speaks.

    Not the mixture (theorem 3.3): nobody is drawn for the whole match. Its nodes are tuples of the types' nodes.
    """
    start = tuple(automaton.start for automaton in mixture.types)
    nodes, following = [start], []
    states = max(automaton.next.shape[0] for automaton in mixture.types)
    for node in nodes:
        steps = []
        for s in range(states):
            targets = [t.next[s % len(t.next), m] for t, m in zip(mixture.types, node, strict=True)]
            steps.append([tuple(int(part[a]) for part in targets) for a in range(game.joint)])
        for target in {target for row in steps for target in row}:
            if target not in nodes:
                nodes.append(target)
        following.append(steps)
    place = {node: index for index, node in enumerate(nodes)}
    moves = np.array([[[place[t] for t in row] for row in steps] for steps in following], dtype=np.int32)
    seen = max(automaton.play.shape[0] for automaton in mixture.types)
    play = sum(
        weight * np.broadcast_to(t.play, (seen, *t.play.shape[1:]))[:, [node[i] for node in nodes]]
        for i, (t, weight) in enumerate(zip(mixture.types, mixture.weights, strict=True))
    )
    exact = np.asarray(play)
    return Automaton(
        mixture.player,
        game.actions,
        exact if exact.dtype == object else floats(exact),
        np.swapaxes(moves, 0, 1),
        0,
        f"induced({mixture.name})",
        states=game.states,
    )
