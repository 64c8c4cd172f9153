"""A finite stochastic game: what every other file of this room asks its questions about."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.games.numbers import check_discount, floats

ROW_TOLERANCE = 1e-9


@dataclass(frozen=True, eq=False)
class StochasticGame:
    """Players 1..n move at the same time in a state; the joint action pays everybody and draws the next state.

    Definition 1 of the constant-memory paper (2505.07008): (N, S, {A_i}, T, {R_i}), all finite, discounted.
    Joint actions are numbered in C order, the first player's action being the most significant digit.
    """

    name: str
    players: tuple[str, ...]
    states: tuple[str, ...]
    actions: tuple[tuple[str, ...], ...]
    rewards: np.ndarray
    """Shape (n players, S, joint actions): expected payoff of the step; numbers may be Fractions."""
    indptr: np.ndarray
    """Shape (S * joint + 1,): row s * joint + a of the transition kernel is indptr[row]:indptr[row + 1]."""
    next_state: np.ndarray
    """Shape (nonzeros,): the states each row may lead to."""
    probability: np.ndarray
    """Shape (nonzeros,): their probabilities; numbers may be Fractions."""
    start: np.ndarray
    """Shape (S,): where play begins."""
    discount: Any = 0.9
    landing: np.ndarray | None = field(default=None)
    """Shape (n players, nonzeros) when the payoff depends on the next state, R(s, a, s'); ``rewards`` is its mean."""
    team: Any = field(default=None)
    """Where seat 1 is a team (``memory.team.two_seats``): the game of many players, and the learner's seat in it."""

    def __post_init__(self) -> None:
        _validate(self)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Number of actions of each player."""
        return tuple(len(names) for names in self.actions)

    @cached_property
    def joint(self) -> int:
        """Number of joint actions."""
        return int(np.prod(self.sizes))

    @cached_property
    def payoff(self) -> np.ndarray:
        """Expected payoffs as floats, shape (n, S, joint)."""
        return floats(self.rewards)

    @cached_property
    def kernel(self) -> np.ndarray:
        """Transition probabilities as floats, aligned with ``next_state``."""
        return floats(self.probability)

    @cached_property
    def digits(self) -> np.ndarray:
        """Shape (joint, n): the action of each player in each joint action."""
        return np.stack(np.unravel_index(np.arange(self.joint), self.sizes), axis=1).astype(np.int32)

    def joint_label(self, joint: int, first: int = 0) -> str:
        """Returns the joint action in words, ``CD`` or ``up,left``, with player ``first`` named first."""
        return joint_label(self.actions, joint, first)

    def player_index(self, player: int | str) -> int:
        """Returns the seat (0-based) of a player given by name or number."""
        if isinstance(player, int):
            if 0 <= player < len(self.players):
                return player
            raise BadInput(f"player: {player} is not a seat of '{self.name}'; seats are 0..{len(self.players) - 1}")
        if player in self.players:
            return self.players.index(player)
        raise BadInput(f"player: '{player}' does not play '{self.name}'{nearest(player, self.players)}")


def joint_label(actions: Sequence[Sequence[str]], joint: int, first: int = 0) -> str:
    """Returns a joint action in words; letters are joined without a comma when every action is one letter."""
    order = [first, *(seat for seat in range(len(actions)) if seat != first)]
    digits = np.unravel_index(joint, tuple(len(names) for names in actions))
    short = all(len(name) == 1 for names in actions for name in names)
    return ("" if short else ",").join(actions[seat][int(digits[seat])] for seat in order)


def from_rows(
    name: str,
    actions: Sequence[Sequence[str]],
    rewards: Any,
    rows: Any = None,
    **rest: Any,
) -> StochasticGame:
    """Returns a game from payoffs (n, S, joint) and transition rows ``rows[s][a] = {next state index: probability}``.

    ``rows`` may be left out for one state. ``rest``: players, states, start (index or vector), discount, and
    landing ``landing[s][a][next] = (payoff of each player, ...)`` which then takes the place of ``rewards``.
    """
    names = tuple(tuple(part) for part in actions)
    joint = int(np.prod([len(part) for part in names]))
    states = tuple(rest.get("states", ("0",)))
    if rows is None:
        if len(states) != 1:
            raise BadInput(f"game '{name}': {len(states)} states and no transitions; give one row per state and action")
        rows = [[{0: 1}] * joint]
    landing = rest.get("landing")
    indptr, following, chance, paid = [0], [], [], []
    for s in range(len(states)):
        for a in range(joint):
            for target, p in sorted(rows[s][a].items()):
                if p != 0:
                    following.append(target)
                    chance.append(p)
                    paid.append(landing[s][a][target] if landing else None)
            indptr.append(len(following))
    start = rest.get("start", 0)
    if isinstance(start, int):
        start = [int(s == start) for s in range(len(states))]
    shape_after = None
    if landing:
        shape_after = np.array(paid, dtype=object).T
        rewards = _mean_landing(shape_after, chance, indptr, (len(names), len(states), joint))
    return StochasticGame(
        name=name,
        players=tuple(rest.get("players", [f"player {seat + 1}" for seat in range(len(names))])),
        states=states,
        actions=names,
        rewards=np.asarray(rewards),
        indptr=np.asarray(indptr, dtype=np.int64),
        next_state=np.asarray(following, dtype=np.int32),
        probability=np.asarray(chance),
        start=np.asarray(start),
        discount=rest.get("discount", 0.9),
        landing=shape_after,
    )


def _mean_landing(landing: np.ndarray, chance: list[Any], indptr: list[int], shape: tuple[int, int, int]) -> np.ndarray:
    """R(s, a) = sum over s' of T(s' | s, a) R(s, a, s')."""
    rewards = np.zeros(shape, dtype=object)
    flat = rewards.reshape(shape[0], -1)
    for row in range(flat.shape[1]):
        for entry in range(indptr[row], indptr[row + 1]):
            flat[:, row] += landing[:, entry] * chance[entry]
    return rewards


def _validate(game: StochasticGame) -> None:
    """Raises BadInput with the first thing wrong, in words."""
    who, n, size = f"game '{game.name}'", len(game.players), len(game.states)
    check_discount(game.discount)
    for kind, names in (("players", game.players), ("states", game.states), *(("actions", a) for a in game.actions)):
        if len(names) == 0 or len(set(names)) != len(names):
            raise BadInput(f"{who}: {kind} {list(names)} must be present and all different")
    for names in game.actions:
        for name in names:
            if not name or name == "*" or any(sign in name for sign in " ,:\t\n"):
                raise BadInput(
                    f"{who}: action '{name}'; names of actions hold no space, comma or colon, and are not '*'"
                )
    if len(game.actions) != n:
        raise BadInput(f"{who}: {n} players but action lists for {len(game.actions)}; give one list per player")
    wanted = (n, size, game.joint)
    if game.rewards.shape != wanted:
        raise BadInput(
            f"{who}: payoffs have shape {game.rewards.shape}; expected {wanted} (players, states, joint actions)"
        )
    if not np.isfinite(game.payoff).all():
        raise BadInput(f"{who}: a payoff is not finite; give finite numbers")
    if len(game.indptr) != size * game.joint + 1 or len(game.next_state) != len(game.probability):
        raise BadInput(f"{who}: the transition arrays do not fit {size} states and {game.joint} joint actions")
    start = floats(game.start)
    if start.shape != (size,) or (start < 0).any() or abs(start.sum() - 1) > ROW_TOLERANCE:
        raise BadInput(f"{who}: start {start.tolist()} is not a distribution over the {size} states")
    _validate_rows(game, who)


def _validate_rows(game: StochasticGame, who: str) -> None:
    if len(game.next_state) and (game.next_state.min() < 0 or game.next_state.max() >= len(game.states)):
        raise BadInput(f"{who}: a transition leads outside the {len(game.states)} states")
    total = np.concatenate([[0.0], np.cumsum(game.kernel)])
    sums = total[game.indptr[1:]] - total[game.indptr[:-1]]
    exact_sums = np.add.reduceat(game.kernel, game.indptr[:-1]) if (np.diff(game.indptr) > 0).all() else sums
    wrong = np.flatnonzero(~(np.abs(exact_sums - 1) <= ROW_TOLERANCE))
    if len(wrong):
        s, a = divmod(int(wrong[0]), game.joint)
        raise BadInput(
            f"{who}: transitions from state '{game.states[s]}' under action '{game.joint_label(a)}' sum to "
            f"{exact_sums[wrong[0]]:.12g}; the probabilities of a row must sum to 1"
        )
    if (game.kernel < 0).any():
        entry = int(np.flatnonzero(game.kernel < 0)[0])
        s, a = divmod(int(np.searchsorted(game.indptr, entry, side="right") - 1), game.joint)
        raise BadInput(
            f"{who}: state '{game.states[s]}' under action '{game.joint_label(a)}' has probability "
            f"{game.kernel[entry]:g}; probabilities are never negative"
        )
