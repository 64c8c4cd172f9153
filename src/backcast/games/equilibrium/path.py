"""What a profile really plays: two that differ only in windows play never reaches are one to any onlooker."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backcast.games.memory.automaton import Automaton
from backcast.games.problems.game import StochasticGame
from backcast.games.solve.evaluate import evaluate
from backcast.games.solve.product import Chain

SHOWN = 6
"""Steps, or joint actions, named at most."""


@dataclass(frozen=True)
class OnPath:
    """The play of a profile from the start."""

    words: str
    """``CC for ever``, ``DC, then CC for ever``, ``CD DC in turn``, or shares of joint actions where chance plays."""
    key: tuple[Any, ...]
    """Equal for profiles that behave alike wherever play gets."""


def on_path(game: StochasticGame, profile: Sequence[Automaton], discount: Any) -> OnPath:
    """Returns what a profile of automata plays from the start; player 1 is named first."""
    found = evaluate(game, profile, discount)
    chain = found.chain
    if _certain(chain):
        steps, back = _walk(chain)
        labels = [game.joint_label(joint) for joint in steps]
        return OnPath(_words(labels[:back], labels[back:]), (tuple(steps[:back]), tuple(steps[back:])))
    share = found.frequencies.sum(axis=0)
    order = [joint for joint in np.argsort(-share, kind="stable").tolist() if share[joint] > 5e-4]
    said = [f"{game.joint_label(joint)} {share[joint]:.1%}" for joint in order[:SHOWN]]
    if len(order) == 1:
        said = [f"{game.joint_label(order[0])} for ever"]
    cells = np.column_stack([chain.state, chain.memory, np.round(chain.joint_play * 1e6)])
    more = [f"{len(order) - SHOWN} more"] if len(order) > SHOWN else []
    return OnPath(", ".join(said + more), tuple(map(tuple, cells.tolist())))


def _certain(chain: Chain) -> bool:
    """Whether nothing is left to chance."""
    once = np.count_nonzero(chain.joint_play > 1 - 1e-12, axis=1) == 1
    moves = np.diff(chain.transition.tocsr().indptr) == 1
    return bool(once.all() and moves.all() and np.count_nonzero(chain.start) == 1)


def _walk(chain: Chain) -> tuple[list[int], int]:
    """Joint actions until a lifted state comes back, and the step at which the round that repeats begins."""
    at, seen = int(chain.start.argmax()), dict[int, int]()
    steps: list[int] = []
    while at not in seen:
        seen[at] = len(steps)
        steps.append(int(chain.joint_play[at].argmax()))
        at = int(chain.transition.indices[chain.transition.indptr[at]])
    back, period = seen[at], len(steps) - seen[at]
    # the same round may begin earlier in words than in windows: DD from the empty window on is DD for ever
    while back and steps[back - 1] == steps[back - 1 + period]:
        back -= 1
        steps.pop()
    short = next(
        k for k in range(1, period + 1) if period % k == 0 and steps[back:] == steps[back : back + k] * (period // k)
    )
    return steps[: back + short], back


def _words(first: Sequence[str], round_: Sequence[str]) -> str:
    again = f"{round_[0]} for ever" if len(round_) == 1 else f"{_some(round_)} in turn"
    return f"{_some(first)}, then {again}" if first else again


def _some(steps: Sequence[str]) -> str:
    return " ".join(steps[:SHOWN]) + (f" ... ({len(steps)} steps)" if len(steps) > SHOWN else "")
