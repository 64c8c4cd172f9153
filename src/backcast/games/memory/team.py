"""Games of many players as games of two: the learner, and a team of everybody else that moves as one.

Mixtures, environments and agents are written for two seats; through this view they serve any number. Nothing is lost:
a window of joint actions is the same window, and a team's draw is a draw of one strategy for each of its members.
"""

from collections.abc import Sequence
from itertools import product as combinations

import numpy as np

from backcast.core.errors import BadInput
from backcast.games.memory.automaton import Automaton
from backcast.games.problems.game import StochasticGame

BETWEEN = "&"
"""Between the strategies of a team, in seat order: ``tft&allc``."""
NODES = 200_000


def two_seats(game: StochasticGame, player: int) -> tuple[StochasticGame, int]:
    """Returns the game as one of two seats and the learner's seat in it: itself for two players, else the team view.

    In the view the learner sits in seat 0 and the team in seat 1; the team's actions are the joint actions of its
    members (named in seat order) and its payoff the sum of theirs.
    """
    if not 0 <= player < len(game.players):
        raise BadInput(f"player {player + 1}: '{game.name}' has players 1 to {len(game.players)}")
    if len(game.players) == 2:
        return game, player
    if len(game.players) == 1:
        raise BadInput(f"'{game.name}' has one player; there is nobody to respond to")
    seats = [player, *members(game, player)]
    others = tuple(game.actions[seat] for seat in seats[1:])
    order = _numbers(game, player)
    rows = (np.arange(len(game.states))[:, None] * game.joint + order[None, :]).ravel()
    lengths = np.diff(game.indptr)[rows]
    ends = np.cumsum(lengths)
    entry = np.arange(int(ends[-1])) + np.repeat(game.indptr[:-1][rows] - (ends - lengths), lengths)
    rewards = game.rewards[:, :, order]
    landing = None if game.landing is None else game.landing[:, entry]
    view = StochasticGame(
        name=game.name,
        players=(game.players[player], BETWEEN.join(game.players[seat] for seat in seats[1:])),
        states=game.states,
        actions=(game.actions[player], _moves(others)),
        rewards=np.stack([rewards[player], rewards[seats[1:]].sum(axis=0)]),
        indptr=np.concatenate([[0], ends]),
        next_state=game.next_state[entry],
        probability=game.probability[entry],
        start=game.start,
        discount=game.discount,
        landing=None if landing is None else np.stack([landing[player], landing[seats[1:]].sum(axis=0)]),
        team=(game, player),
    )
    return view, 0


def members(game: StochasticGame, player: int) -> list[int]:
    """Returns the seats of everybody but ``player``."""
    return [seat for seat in range(len(game.players)) if seat != player]


def _moves(actions: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """Names of the team's actions: letters side by side (CD), longer names with & between them (north&stay)."""
    between = "" if all(len(name) == 1 for names in actions for name in names) else BETWEEN
    return tuple(between.join(names) for names in combinations(*actions))


def _numbers(game: StochasticGame, player: int) -> np.ndarray:
    """Joint action of the game for every joint action of the view (own action first, then the others in seat order)."""
    return np.moveaxis(np.arange(game.joint).reshape(game.sizes), player, 0).ravel()


def together(view: StochasticGame, parts: Sequence[Automaton], name: str = "") -> Automaton:
    """Returns the team that plays the given strategies of the original game side by side, each flipping its own coins.

    Only the tuples of nodes that joint actions can lead to are kept. Raises BadInput beyond 200 000 of them.
    """
    if view.team is None:
        raise BadInput(f"'{view.name}' has two players; a team needs more")
    game, player = view.team
    parts = sorted((part.check(game) for part in parts), key=lambda part: part.player)
    if [part.player for part in parts] != members(game, player):
        raise BadInput(
            f"team: seats {[part.player + 1 for part in parts]} are filled; player {player + 1} of '{game.name}' faces "
            f"seats {[seat + 1 for seat in members(game, player)]}"
        )
    name = name or BETWEEN.join(part.name for part in parts)
    order = _numbers(game, player)
    layers = max(len(part.next) for part in parts)
    nodes, following = _walk(parts, order, layers, name)
    table = np.array(nodes)
    states = max(len(part.play) for part in parts)
    play = np.ones((states, len(nodes), 1), dtype=object if any(p.play.dtype == object for p in parts) else float)
    for j, part in enumerate(parts):
        rows = np.broadcast_to(part.play, (states, *part.play.shape[1:]))[:, table[:, j]]
        play = (play[..., :, None] * rows[..., None, :]).reshape(states, len(nodes), -1)
    labels = tuple(" & ".join(t.label(m) for t, m in zip(parts, row, strict=True)) for row in nodes)
    return Automaton(1, view.actions, play, following, 0, name, labels, states=view.states)


def _walk(
    parts: Sequence[Automaton], order: np.ndarray, layers: int, name: str
) -> tuple[list[tuple[int, ...]], np.ndarray]:
    """Tuples of nodes, breadth first, and where every joint action of the view leads, (layers, nodes, joint)."""
    nodes = [tuple(part.start for part in parts)]
    place = {nodes[0]: 0}
    steps: list[list[list[int]]] = []
    for node in nodes:
        rows = []
        for s in range(layers):
            after = np.stack([part.next[s % len(part.next), m][order] for part, m in zip(parts, node, strict=True)], 1)
            row = []
            for key in map(tuple, after.tolist()):
                if key not in place:
                    place[key] = len(nodes)
                    nodes.append(key)
                row.append(place[key])
            rows.append(row)
        steps.append(rows)
        if len(nodes) > NODES:
            raise BadInput(f"team '{name}': more than {NODES} nodes; use strategies with smaller memories")
    return nodes, np.swapaxes(np.array(steps, dtype=np.int32), 0, 1)


def split_team(view: StochasticGame, text: str) -> list[tuple[str, int]]:
    """Returns (strategy in words, seat) for every member; one name alone stands for all of them.

    Raises BadInput when there are neither one nor as many names as members.
    """
    game, player = view.team
    seats = members(game, player)
    words = [part.strip() for part in text.split(BETWEEN)]
    if len(words) == 1:
        words *= len(seats)
    if len(words) != len(seats):
        raise BadInput(
            f"opponent '{text}': {len(words)} strategies for {len(seats)} other players; write "
            f"{BETWEEN.join(['NAME'] * len(seats))}, in seat order, or one name for all"
        )
    return list(zip(words, seats, strict=True))
