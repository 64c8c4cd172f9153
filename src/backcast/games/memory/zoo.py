"""Players with a name: the memory-one and finite-state players of Axelrod's tournaments as a static table, and bidders.

The vectors and tables below are facts about the players of the Axelrod library (version 4.14.0, MIT licence), read
from it and replayed
against it by ``games.axelrod``; nothing is imported here. Vectors: first move, then P(C) after CC, CD, DC, DD, own
move first.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.games.memory.automaton import Automaton, pure_row, stationary
from backcast.games.memory.windows import memory_one
from backcast.games.numbers import rational
from backcast.games.problems.game import StochasticGame

MEMORY_ONE: dict[str, str] = {
    "allc": "1;1,1,1,1",
    "alld": "0;0,0,0,0",
    "random": "1/2;1/2,1/2,1/2,1/2",
    "tft": "1;1,0,1,0",
    "stft": "0;1,0,1,0",
    "wsls": "1;1,0,0,1",
    "grim-memory-one": "1;1,0,0,0",
    "alternator": "1;0,0,1,1",
    "gtft": "1;1,1/3,1,1/3",
    "firm-but-fair": "1;1,0,1,2/3",
    "joss": "1;9/10,0,9/10,0",
    "naive-prober": "1;9/10,0,9/10,0",
    "soft-joss": "1;1,1/10,1,1/10",
    "stochastic-cooperator": "1;187/200,229/1000,133/500,21/50",
    "stochastic-wsls": "1;19/20,1/20,1/20,19/20",
    "win-shift-lose-stay": "0;0,1,1,0",
    "zd-extort-2": "1;8/9,1/2,1/3,0",
    "zd-extort-2-v2": "1;7/8,7/16,3/8,0",
    "zd-extort-3": "1;11/13,1/2,7/26,0",
    "zd-extort-4": "1;11/17,0,8/17,0",
    "zd-extortion": "1;16/25,9/50,7/25,0",
    "zd-gtft-2": "1;1,1/8,1,1/4",
    "zd-gen-2": "1;1,9/16,1/2,1/8",
    "zd-mischief": "1;4/5,3/5,1/10,0",
    "zd-set-2": "1;3/4,1/4,1/2,1/4",
}
"""Memory-one players of the prisoner's dilemma (first action C)."""

MOORE: dict[str, str] = {
    "grim": "C 0:C>0 0:D>1 1:C>1 1:D>1 / CD",
    "tf2t": "C 0:C>0 0:D>1 1:C>0 1:D>2 2:C>0 2:D>2 / CCD",
    "2tft": "C 0:C>0 0:D>1 1:C>2 1:D>1 2:C>0 2:D>1 / CDD",
}
"""Moore machines: transitions on the other's move, then what each node plays."""

FSM: dict[str, str] = {
    "evolved-fsm-4": "0C 0C0C 0D2D 1C3D 1D0C 2C2D 2D1C 3C3D 3D1D",
    "evolved-fsm-6": "4C 2C2D 2D7D 3C6D 3D4C 4C4C 4D6D 5C2D 5D7D 6C3C 6D5D 7C2C 7D3D",
    "evolved-fsm-16": "0C 0C0C 0D12D 1C3D 1D6C 2C2D 2D14D 3C3D 3D3D 5C12D 5D10D 6C5C 6D12D 7C3D 7D1C 8C5C 8D5C 10C11D "
    "10D8C 11C15D 11D5D 12C8C 12D11D 13C13D 13D7D 14C13D 14D13D 15C15D 15D2C",
    "evolved-fsm-16-noise-05": "0C 0C8C 0D3D 1C13C 1D15D 2C12C 2D3D 3C10C 3D3D 4C5D 4D4D 5C4D 5D10D "
    "6C8C 6D6D 8C2C 8D4D "
    "10C4D 10D1D 11C14D 11D13C 12C13C 12D2C 13C13C 13D6C 14C3D 14D13D 15C5D 15D11C",
    "fortress3": "1D 1C1D 1D2D 2C1D 2D3C 3C3C 3D1D",
    "fortress4": "1D 1C1D 1D2D 2C1D 2D3D 3C1D 3D4C 4C4C 4D1D",
    "predator": "0C 0C0D 0D1D 1C2D 1D3D 2C4C 2D3D 3C5D 3D4C 4C2C 4D6D 5C7D 5D3D 6C7C 6D7D 7C8D 7D7D 8C8D 8D6D",
    "pun1": "1D 1C2C 1D2C 2C1C 2D1D",
    "raider": "0D 0C2D 0D2D 1C1C 1D1D 2C0D 2D3C 3C0D 3D1C",
    "ripoff": "1D 1C2C 1D3C 2C1D 2D3C 3C3C 3D3D",
    "colbert": "0C 0C1C 0D1C 1C2C 1D2C 2C3C 2D3C 3C4C 3D4C 4C5D 4D5D 5C6C 5D6C 6C7C 6D7C 7C7C 7D8D 8C9D 8D9D 9C10C "
    "9D10C 10C7C 10D7C",
    "solution-b1": "1D 1C2D 1D1D 2C2C 2D3C 3C3C 3D3C",
    "solution-b5": "1D 1C2C 1D6D 2C2C 2D3D 3C6C 3D1D 4C3C 4D6D 5C5D 5D4D 6C3C 6D5D",
    "tf1": "0C 0C7C 0D1C 1C11D 1D11D 2C8D 2D8C 3C3C 3D12D 4C6C 4D3C 5C11C 5D8D 6C13D 6D14C 7C4D 7D2D 8C14D 8D8D 9C0C "
    "9D10D 10C8C 10D15C 11C6D 11D5D 12C6D 12D9D 13C9D 13D8D 14C8D 14D13D 15C4C 15D5C",
    "tf2": "0C 0C13D 0D12D 1C3D 1D4D 2C14D 2D9D 3C0C 3D1D 4C1D 4D2D 7C12D 7D2D 8C7D 8D9D 9C8D 9D0D 10C2C 10D15C 11C7D "
    "11D13D 12C3C 12D8D 13C7C 13D10D 14C10D 14D7D 15C15C 15D11D",
    "tf3": "0C 0C0C 0D3C 1C5D 1D0C 2C3C 2D2D 3C4D 3D6D 4C3C 4D1D 5C6C 5D3D 6C6D 6D6D 7C7D 7D5C",
    "thumper": "1C 1C1C 1D2D 2C1D 2D1D",
    "usually-cooperates": "1C 1C1C 1D2C 2C1D 2D1C",
    "usually-defects": "1D 1C2D 1D1D 2C1D 2D1C",
}
"""Mealy machines: first state and move, then (state, other's move) -> (next state, own next move)."""

ALIASES = {
    "cooperator": "allc",
    "always-cooperate": "allc",
    "always-defect": "alld",
    "defector": "alld",
    "tit-for-tat": "tft",
    "suspicious-tft": "stft",
    "suspicious-tit-for-tat": "stft",
    "win-stay-lose-shift": "wsls",
    "pavlov": "wsls",
    "grudger": "grim",
    "generous-tft": "gtft",
    "extort-2": "zd-extort-2",
    "extort2": "zd-extort-2",
    "extort-3": "zd-extort-3",
    "tit-for-2-tats": "tf2t",
    "two-tits-for-tat": "2tft",
    "2-tits-for-tat": "2tft",
}

BIDDERS: dict[str, Callable[[int, int], int]] = {
    "mirror": lambda last, _size: last,
    "undercut": lambda last, _size: max(last - 1, 0),
}
"""Players of any two-player game with equal action lists: the last action when shown the other's last move."""

GENERAL = ("uniform", "first", "last", "lowest", "highest", "mirror", "undercut", "always-ACTION", "greedy", "fleeing")


def names() -> list[str]:
    """Returns the names of all players for two actions (aliases left out)."""
    return [*MEMORY_ONE, *MOORE, *FSM]


def named_automaton(game: StochasticGame, name: str, player: int) -> Automaton:
    """Returns the named player in the given seat; BadInput with the nearest name when there is none."""
    key = name.strip().lower().replace(" ", "-").replace("_", "-")
    key = ALIASES.get(key, key)
    general = _general(game, key, name, player)
    if general is not None:
        return general
    if key not in (*MEMORY_ONE, *MOORE, *FSM):
        known = [*names(), *ALIASES, *GENERAL]
        raise BadInput(
            f"opponent: '{name}' is neither a named player, a .json file nor a memory-one vector{nearest(key, known)}"
        )
    if len(game.actions) != 2 or game.sizes != (2, 2):
        raise BadInput(
            f"opponent '{name}': needs two players with two actions; '{game.name}' has {game.sizes}; try 'mirror'"
        )
    if key in MEMORY_ONE:
        first, rest = MEMORY_ONE[key].split(";")
        return memory_one(game, player, rational(first), [rational(p) for p in rest.split(",")], key)
    if key in MOORE:
        return _moore(game, player, key)
    return _mealy(game, player, key)


def _moore(game: StochasticGame, player: int, key: str) -> Automaton:
    steps, plays = MOORE[key].split(" / ")
    labels = tuple(f"{m}{p}" for m, p in enumerate(plays))
    table = {}
    for step in steps.split()[1:]:
        place, target = step.split(">")
        node, move = place.split(":")
        table[(int(node), "CD".index(move))] = int(target)
    return from_moves(game, player, ["CD".index(p) for p in plays], lambda m, other: table[(m, other)], key, labels)


def _mealy(game: StochasticGame, player: int, key: str) -> Automaton:
    head, *steps = FSM[key].split()
    table = {}
    for step in steps:
        cut = min(i for i, letter in enumerate(step) if letter in "CD")
        table[(int(step[:cut]), step[cut])] = (int(step[cut + 1 : -1]), step[-1])
    return from_mealy(game, player, (int(head[:-1]), head[-1]), table, key)


def from_mealy(
    game: StochasticGame, player: int, first: tuple[int, str], table: dict[tuple[int, str], tuple[int, str]], name: str
) -> Automaton:
    """Returns a Mealy machine (its transitions output the move) as an automaton over (state, pending move)."""
    nodes = [first]
    for node in nodes:
        for move in "CD":
            if (target := table[(node[0], move)]) not in nodes:
                nodes.append(target)
    return from_moves(
        game,
        player,
        ["CD".index(pending) for _, pending in nodes],
        lambda m, other: nodes.index(table[(nodes[m][0], "CD"[other])]),
        name,
        tuple(f"{state}{pending}" for state, pending in nodes),
    )


def from_moves(
    game: StochasticGame,
    player: int,
    plays: list[int],
    step: Callable[[int, int], int],
    name: str,
    labels: tuple[str, ...] | None = None,
) -> Automaton:
    """Returns the pure automaton of a two-player game whose memory moves on the other's action only."""
    size = game.sizes[player]
    moves = game.digits[:, 1 - player]
    following = np.array([[[step(m, int(other)) for other in moves] for m in range(len(plays))]], dtype=np.int32)
    play = np.asarray([[pure_row(size, a) for a in plays]])
    return Automaton(player, game.actions, play, following, 0, name, labels)


def _general(game: StochasticGame, key: str, name: str, player: int) -> Automaton | None:
    """Players any game has, or None."""
    own = game.actions[player]
    size = len(own)
    if key == "uniform":
        return stationary(game, player, np.array([rational(1) / size] * size, dtype=object), "uniform")
    ends: dict[str, Any] = {"first": 0, "lowest": 0, "last": size - 1, "highest": size - 1}
    if key in ends:
        return stationary(game, player, np.array(pure_row(size, ends[key])), key)
    if key.startswith("always-"):
        action = name.strip()[len("always-") :]
        if action not in own:
            raise BadInput(f"opponent '{name}': '{action}' is not an action{nearest(action, own)}")
        return stationary(game, player, np.array(pure_row(size, own.index(action))), name.strip())
    if key in ("greedy", "fleeing") and game.name.startswith("pursuit"):
        return _walker(game, player, key)
    if key in BIDDERS:
        if len(game.actions) != 2 or game.actions[0] != game.actions[1]:
            raise BadInput(
                f"opponent '{name}': needs two players with the same actions; '{game.name}' has {game.sizes}"
            )
        rule = BIDDERS[key]
        return from_moves(game, player, list(range(size)), lambda _m, other: rule(other, size), key).starting(size - 1)
    return None


def _walker(game: StochasticGame, player: int, key: str) -> Automaton:
    from backcast.games.problems.pursuit import fleeing_play, greedy_play

    if (key == "greedy") != (player < 2):
        raise BadInput(
            f"opponent '{key}': in pursuit players 1 and 2 are greedy hunters, and player 3, the prey, is fleeing"
        )
    size = round(len(game.states) ** 0.25)
    rows = greedy_play(size, player) if key == "greedy" else fleeing_play(size)
    return stationary(game, player, rows[:, 0], key)
