"""Strategies with finite memory as automata: the one form in which every other kind of strategy of this room is
kept."""

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.games.numbers import floats, rational

ROW_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class Automaton:
    """A finite-state controller of one player: what it plays in each node, and where each joint action takes it.

    All joint actions are in player order (the game's), whichever player the automaton is; ``views`` turns windows
    into a
    player's own-first words. The first axis of ``play`` and ``next`` is the game's state, or has length 1 when the
    strategy looks at joint actions only.
    """

    player: int
    actions: tuple[tuple[str, ...], ...]
    play: np.ndarray
    """Shape (S or 1, nodes, own actions): probabilities, floats or Fractions."""
    next: np.ndarray
    """Shape (S or 1, nodes, joint actions), integers: the node after this joint action was played in this state."""
    start: int = 0
    name: str = "automaton"
    names: tuple[str, ...] | None = None
    """Names of the nodes; None when they are windows or just numbered."""
    memory: int | None = None
    """K when the nodes are exactly the windows of at most K joint actions (see ``windows``), else None."""
    states: tuple[str, ...] = ()
    """The game's states, where the strategy looks at them."""
    seen_states: bool = False
    """Whether the windows hold the states as well as the joint actions."""

    def __post_init__(self) -> None:
        _validate(self)

    @property
    def nodes(self) -> int:
        """Number of memory nodes."""
        return int(self.play.shape[1])

    @cached_property
    def chances(self) -> np.ndarray:
        """``play`` as floats."""
        return floats(self.play)

    @property
    def pure(self) -> bool:
        """Whether every node plays one action for sure."""
        return bool(((self.chances == 0) | (self.chances == 1)).all())

    def label(self, node: int) -> str:
        """Returns the name of a node."""
        if self.names is not None:
            return self.names[node]
        if self.memory is not None:
            from backcast.games.memory.windows import Windows

            return Windows.of(self).text(node)
        return str(node)

    def renamed(self, name: str) -> "Automaton":
        """Returns the same automaton under another name."""
        return replace(self, name=name)

    def starting(self, node: int) -> "Automaton":
        """Returns the same automaton begun in another node."""
        return replace(self, start=node)

    def check(self, game: Any) -> "Automaton":
        """Returns itself; BadInput unless it fits the game's players, actions and states."""
        if self.actions != game.actions:
            raise BadInput(
                f"opponent '{self.name}': its actions {self.actions} are not those of '{game.name}' {game.actions}"
            )
        for kind, array in (("play", self.play), ("next", self.next)):
            if array.shape[0] not in (1, len(game.states)):
                raise BadInput(
                    f"opponent '{self.name}': '{kind}' covers {array.shape[0]} states; '{game.name}' "
                    f"has {len(game.states)}"
                )
        return self


def own_digits(actions: tuple[tuple[str, ...], ...], player: int) -> np.ndarray:
    """Returns the player's own action in each joint action, shape (joint,)."""
    sizes = tuple(len(names) for names in actions)
    return np.asarray(np.unravel_index(np.arange(int(np.prod(sizes))), sizes)[player], dtype=np.int64)


def possible(automaton: Automaton) -> np.ndarray:
    """Returns shape (S or 1, nodes, joint): whether the automaton can take part in that joint action there."""
    return (automaton.chances > 0)[:, :, own_digits(automaton.actions, automaton.player)]


def stationary(game: Any, player: int, play: Any, name: str = "stationary") -> Automaton:
    """Returns the memory-0 strategy playing ``play``: shape (actions,) everywhere alike, or (S, actions) by state."""
    rows = np.asarray(play)
    rows = rows[None, None, :] if rows.ndim == 1 else rows.reshape(rows.shape[0], 1, rows.shape[-1])
    following = np.zeros((1, 1, game.joint), dtype=np.int32)
    return Automaton(player, game.actions, rows, following, name=name, memory=0, states=game.states)


def pure_row(size: int, action: int) -> list[int]:
    """Returns the probabilities of playing ``action`` for sure."""
    return [int(a == action) for a in range(size)]


def with_noise(automaton: Automaton, noise: Any, on: str = "realised") -> Automaton:
    """Returns the strategy whose hand trembles: with probability ``noise`` another action, drawn evenly, is played.

    ``on='realised'``: everybody, the strategy included, remembers what was played. ``on='intended'``: the strategy
    remembers what it meant to play (pure strategies only: what a coin meant to say is not a function of the node).
    """
    share = rational(noise)
    if not 0 <= share <= 1:
        raise BadInput(f"noise: {noise} is outside [0, 1]")
    size = automaton.play.shape[-1]
    if size == 1 or share == 0:
        return automaton
    exact = automaton.play.dtype != np.float64
    tremble: Any = share if exact else float(share)
    play = automaton.play * (1 - tremble) + (1 - automaton.play) * (tremble / (size - 1))
    if on == "realised":
        return replace(automaton, play=play, name=f"{automaton.name}+noise")
    if on != "intended":
        raise BadInput(f"noise: '{on}' is not a kind of noise; choose 'realised' or 'intended'")
    if not automaton.pure:
        raise BadInput(f"noise on intended actions needs a pure strategy; '{automaton.name}' is not: use 'realised'")
    following = _remember_intention(automaton)
    return replace(
        automaton, play=play, next=following, name=f"{automaton.name}+noise", memory=None, names=_labels(automaton)
    )


def _remember_intention(automaton: Automaton) -> np.ndarray:
    """The node after the joint action in which the player's own part is what it meant to play."""
    sizes = tuple(len(names) for names in automaton.actions)
    digits = list(np.unravel_index(np.arange(int(np.prod(sizes))), sizes))
    meant = automaton.chances.argmax(axis=2)
    states = max(automaton.play.shape[0], automaton.next.shape[0])
    out = np.empty((states, automaton.nodes, automaton.next.shape[2]), dtype=np.int32)
    for s in range(states):
        for m in range(automaton.nodes):
            digits[automaton.player] = np.full(out.shape[2], meant[s % len(meant), m])
            out[s, m] = automaton.next[s % len(automaton.next), m, np.ravel_multi_index(tuple(digits), sizes)]
    return out


def _labels(automaton: Automaton) -> tuple[str, ...]:
    return tuple(automaton.label(m) for m in range(automaton.nodes))


def _validate(automaton: Automaton) -> None:
    who = f"opponent '{automaton.name}'"
    joint = int(np.prod([len(names) for names in automaton.actions]))
    if not 0 <= automaton.player < len(automaton.actions):
        raise BadInput(f"{who}: seat {automaton.player} does not exist; seats are 0..{len(automaton.actions) - 1}")
    own = len(automaton.actions[automaton.player])
    if automaton.play.ndim != 3 or automaton.play.shape[2] != own:
        raise BadInput(f"{who}: play has shape {automaton.play.shape}; expected (states or 1, nodes, {own})")
    if automaton.next.ndim != 3 or automaton.next.shape[1:] != (automaton.nodes, joint):
        raise BadInput(
            f"{who}: next has shape {automaton.next.shape}; expected (states or 1, {automaton.nodes}, {joint})"
        )
    if not 0 <= automaton.start < automaton.nodes:
        raise BadInput(f"{who}: start node {automaton.start} does not exist; nodes are 0..{automaton.nodes - 1}")
    if automaton.next.size and (automaton.next.min() < 0 or automaton.next.max() >= automaton.nodes):
        raise BadInput(f"{who}: a transition leads to a node that does not exist; nodes are 0..{automaton.nodes - 1}")
    sums = automaton.chances.sum(axis=2)
    wrong = np.argwhere(~(np.abs(sums - 1) <= ROW_TOLERANCE) | (automaton.chances < 0).any(axis=2))
    if len(wrong):
        s, m = (int(i) for i in wrong[0])
        raise BadInput(
            f"{who}: node '{automaton.label(m)}' plays {automaton.chances[s, m].tolist()}; "
            "probabilities must lie in [0, 1] and sum to 1"
        )
