"""The door to the Axelrod library: import a live player as an automaton, and believe it only after a replay.

Optional (``pip install axelrod``). The named players of ``memory.zoo`` need nothing of it.
"""

from typing import Any

import numpy as np

from backcast.core.errors import BadInput, WorkFailed, nearest
from backcast.games.memory.automaton import Automaton
from backcast.games.memory.windows import memory_one
from backcast.games.memory.zoo import from_mealy
from backcast.games.problems import StochasticGame

MOVES = 250
"""Random moves of the replay."""


def import_player(game: StochasticGame, name: str, seat: int = 1, moves: int = MOVES, seed: int = 0) -> Automaton:
    """Returns the library's player called ``name`` as an automaton that was replayed against random moves.

    Memory-one players and finite-state machines are supported. Raises BadInput when the library or the player is
    missing or has another form, and WorkFailed when the replay finds that the player does not play by its table.
    """
    axl = _library()
    if game.sizes != (2, 2) or len(game.players) != 2:
        raise BadInput(f"axelrod: needs two players with two actions; '{game.name}' has {game.sizes}")
    known = {strategy.name.lower(): strategy for strategy in axl.all_strategies}
    if name.lower() not in known:
        raise BadInput(f"axelrod: no player '{name}'{nearest(name.lower(), known)}")
    kind = known[name.lower()]
    player = kind()
    if hasattr(player, "fsm"):
        automaton = _machine(game, player, seat, name)
    elif hasattr(player, "_four_vector"):
        automaton = _vector(axl, game, player, seat, name)
    else:
        raise BadInput(
            f"axelrod: '{name}' is neither a memory-one player nor a finite-state machine; write its automaton as JSON"
        )
    replay(axl, kind, automaton, moves, seed)
    return automaton


def _library() -> Any:
    try:
        import axelrod
    except ImportError:
        raise BadInput("axelrod: the library is not installed; pip install axelrod (torch first)") from None
    return axelrod


def _machine(game: StochasticGame, player: Any, seat: int, name: str) -> Automaton:
    table = {
        (int(state), move.name): (int(target), output.name)
        for (state, move), (target, output) in player.fsm.state_transitions.items()
    }
    first = (int(player.initial_state), player.initial_action.name)
    return from_mealy(game, seat, first, table, name)


def _vector(axl: Any, game: StochasticGame, player: Any, seat: int, name: str) -> Automaton:
    player.set_match_attributes(length=-1, game=axl.Game(), noise=0)
    chances = {own.name + other.name: float(p) for (own, other), p in player._four_vector.items()}
    first = float(player._initial.name == "C")
    return memory_one(game, seat, first, [chances[key] for key in ("CC", "CD", "DC", "DD")], name)


def replay(axl: Any, kind: Any, automaton: Automaton, moves: int, seed: int) -> None:
    """Plays the library's player against random moves and compares with the automaton, move by move.

    Where the automaton flips a coin only the certain moves can be compared, and the frequencies of the others (to
    5 standard errors). Raises WorkFailed at the first difference.
    """
    rng = np.random.default_rng(seed)
    player, opponent = (
        kind(),
        axl.MockPlayer([axl.Action.C if rng.random() < 0.5 else axl.Action.D for _ in range(moves)]),
    )
    match = axl.Match((player, opponent), turns=moves, seed=seed)
    node, surprise, variance = automaton.start, 0.0, 0.0
    for turn, (own, other) in enumerate(match.play(), 1):
        chance = float(automaton.chances[0, node, 0])
        played = own.name == "C"
        if chance in (0.0, 1.0) and played != (chance == 1.0):
            raise WorkFailed(
                f"axelrod: '{automaton.name}' left its table at turn {turn} of the replay; it cannot be imported"
            )
        surprise += played - chance
        variance += chance * (1 - chance)
        digits = ["CD".index(own.name), "CD".index(other.name)]
        first, second = digits if automaton.player == 0 else digits[::-1]
        joint = 2 * first + second
        node = int(automaton.next[0, node, joint])
    if variance > 0 and abs(surprise) > 5 * variance**0.5 + 1:
        raise WorkFailed(
            f"axelrod: '{automaton.name}' cooperated {surprise:+.0f} times more than its table in {moves} turns"
        )
