"""Games as text problems for a language model: the question in words, the answer verified by exact evaluation."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.problem import Score, content_id
from backcast.games.memory import Automaton, k_memory, minimise
from backcast.games.memory.windows import Windows
from backcast.games.numbers import check_discount
from backcast.games.problems import StochasticGame
from backcast.games.solve import Response, best_response, evaluate
from backcast.games.solve.response import place_words

LINE = re.compile(r"^\s*[-*]?\s*([^\n]+?)\s*:\s*(\S+)\s*$", re.MULTILINE)
ROWS = 400
"""Lines of payoffs and moves a prompt may hold; larger games are no text problems."""


@dataclass(frozen=True, eq=False)
class GameProblem:
    """How should the reader answer this opponent? An outcome is text that names a move for each situation.

    The score is the exact value of the policy it names, and the reference is the best response's, so any answer is
    graded and every optimal one (ties included) is right.
    """

    id: str
    prompt: str
    """Asks for a move in every situation; ``rules`` without the question."""
    rules: str
    game: StochasticGame
    opponent: Automaton
    reply: Response
    windows: dict[str, list[str]]
    """The situations asked about, own move first, and the best moves in each."""
    memory: int

    @property
    def reference(self) -> float:
        """The best response's value."""
        return self.reply.value

    def score(self, outcome: Any) -> Score:
        """Returns the policy's exact value beside the best; value None when a situation is missing or a move
        unknown."""
        strategy = self.parse(str(outcome))
        if strategy is None:
            return Score(None, {}, self.reference)
        values = evaluate(self.game, [strategy, self.opponent], self.reply.discount).values
        value = float(values[strategy.player])
        return Score(value, {"optimal": float(value >= self.reference - 1e-9 * max(1.0, abs(value)))}, self.reference)

    def parse(self, text: str) -> Automaton | None:
        """Returns the policy named by the last ``situation: move`` lines, or None."""
        game, seat = self.game, self.reply.lifted.player
        own = game.actions[seat]
        said = {window.strip(" `*"): move.strip(".,;*`") for window, move in LINE.findall(text)}
        if any(said.get(window) not in own for window in self.windows):
            return None
        windows = Windows(game.actions, self.memory)
        plays = np.zeros((len(game.states), len(windows), len(own)))
        for s in range(len(game.states)):
            for w in windows:
                key = place_words(game.states, s, windows.text(w, seat), self.memory)
                plays[s, w, own.index(said[key]) if key in self.windows else 0] = 1
        return k_memory(game, seat, self.memory, plays, "answer")


def game_problem(game: StochasticGame, opponent: Automaton, discount: Any = None) -> GameProblem:
    """Returns the text problem of best responding to an opponent in a game of two seats (``memory.two_seats`` makes
    one of any).

    The opponent must be a function of the last few steps (its K is what is asked for), and the game short enough to
    be told: BadInput otherwise.
    """
    if len(game.players) != 2:
        raise BadInput(f"text problem: '{game.name}' has {len(game.players)} players; pass it through memory.two_seats")
    rate = check_discount(game.discount if discount is None else discount)
    seat = 1 - opponent.player
    answer = best_response(game, opponent, seat, rate)
    if answer.memory is None:
        raise BadInput(f"text problem: no window of past steps determines '{opponent.name}'; choose another opponent")
    memory = answer.memory if len(game.states) > 1 else max(1, answer.memory)
    asked = answer.actions(None if opponent.memory == memory else memory)
    rules = tell(game, opponent, float(rate))
    prompt = f"{rules}\n{_question(asked)}"
    return GameProblem(content_id(prompt), prompt, rules, game, opponent, answer, asked, memory)


def _question(asked: dict[str, list[str]]) -> str:
    lines = "\n".join(f"{window}: <move>" for window in asked)
    return f"Which move is best in each situation? {SITUATION} Answer with one line per situation:\n{lines}"


SITUATION = (
    "A situation lists the last steps, oldest first, your move before theirs in each; 'start' is before the first step."
)


def tell(game: StochasticGame, opponent: Automaton, rate: float) -> str:
    """Returns the rules of play in words: moves, payoffs, states, discount, and how the opponent decides."""
    seat = 1 - opponent.player
    if len(game.states) * game.joint > ROWS:
        raise BadInput(
            f"text problem: '{game.name}' has {len(game.states) * game.joint} combinations of state and moves; at most "
            f"{ROWS} are told in words, choose a smaller game"
        )
    parts = [
        f"Two players choose at the same time, again and again. Your moves: {', '.join(game.actions[seat])}. "
        f"Their moves: {', '.join(game.actions[1 - seat])}."
    ]
    if game.team is not None:
        parts.append("'They' are several players, named in a fixed order, each deciding alone.")
    for s, state in enumerate(game.states):
        place = f" in state {state}" if len(game.states) > 1 else ""
        parts.append(f"Payoffs of a step{place}:")
        parts += [_row(game, seat, s, a) for a in range(game.joint)]
    if len(game.states) > 1:
        begins = [f"{game.states[s]} {_p(p)}".removesuffix(" 1") for s, p in enumerate(game.start.tolist()) if p]
        parts.append(f"Play begins in state {' or '.join(begins)}.")
    parts.append(f"A step that lies t steps ahead counts {rate:g}^t.")
    parts.append(f"Your opponent follows this rule for ever:\n{describe(opponent)}")
    return "\n".join(parts)


def _row(game: StochasticGame, seat: int, s: int, joint: int) -> str:
    digits = game.digits[joint].tolist()
    line = (
        f"- you {game.actions[seat][digits[seat]]}, they {game.actions[1 - seat][digits[1 - seat]]}: "
        f"{game.payoff[seat, s, joint]:g} for you, {game.payoff[1 - seat, s, joint]:g} for them"
    )
    if len(game.states) == 1:
        return line
    row = s * game.joint + joint
    entries = range(game.indptr[row], game.indptr[row + 1])
    leads = [(game.states[int(game.next_state[e])], game.probability[e]) for e in entries]
    return f"{line}; then " + " or ".join(f"{name} {_p(p)}".removesuffix(" 1") for name, p in leads)


def _p(chance: Any) -> str:
    """A probability in words: ``with probability 1/3``, or 1."""
    return "1" if chance == 1 else f"with probability {chance if not isinstance(chance, float) else f'{chance:.6g}'}"


def describe(automaton: Automaton) -> str:
    """Returns an automaton's rule in sentences, one per node (and state, where it looks at the state)."""
    small, _ = minimise(automaton)
    layers = max(len(small.play), len(small.next))
    lines = [f"It begins in mode {small.start + 1}."]
    for m in range(small.nodes):
        for s in range(layers):
            place = f" in state {small.states[s]}" if layers > 1 else ""
            lines.append(f"Mode {m + 1}{place}: {_mode(small, m, s)}")
    return "\n".join(lines)


def _mode(small: Automaton, m: int, s: int) -> str:
    own = small.actions[small.player]
    row, steps = small.play[s % len(small.play), m], small.next[s % len(small.next), m]
    plays = " or ".join(f"{own[a]} {_p(row[a])}".removesuffix(" 1") for a in range(len(own)) if row[a] > 0)
    leads: dict[int, list[str]] = {}
    sizes = tuple(len(names) for names in small.actions)
    for joint, target in enumerate(steps.tolist()):
        digits = [int(d) for d in np.unravel_index(joint, sizes)]
        if row[digits[small.player]] > 0:
            seats = [1 - small.player, small.player]
            words = [small.actions[seat][digits[seat]] for seat in seats]
            leads.setdefault(int(target), []).append(_joined(words, small.actions))
    if len(leads) == 1 and small.nodes == 1:
        return f"it plays {plays}, always."
    said = "; ".join(f"after {' or '.join(words)} to mode {target + 1}" for target, words in sorted(leads.items()))
    return f"it plays {plays}. Then it goes {said} (your move first)."


def _joined(words: Sequence[str], actions: Sequence[Sequence[str]]) -> str:
    short = all(len(name) == 1 for names in actions for name in names)
    return ("" if short else ",").join(words)


def value_record(game: StochasticGame, opponent: Automaton, discount: Any = None) -> dict[str, Any]:
    """Returns one line of a verifiable-problems file that asks for the best value as a number (kind numeric).

    ``answer`` holds ten digits; ``exact`` the fraction where it was computed.
    """
    rate = check_discount(game.discount if discount is None else discount)
    answer = best_response(game, opponent, 1 - opponent.player, rate)
    prompt = (
        f"{tell(game, opponent, float(rate))}\nWhat is the largest expected sum of discounted payoffs you can reach "
        "from the start? Answer with a number, to at least four digits."
    )
    found = {"id": content_id(prompt), "prompt": prompt, "answer": f"{answer.value:.10g}", "kind": "numeric"}
    return found | ({"exact": str(answer.exact)} if answer.exact is not None else {})


def move_records(problem: GameProblem) -> list[dict[str, Any]]:
    """Returns one line for each situation with a single best move (kind choice, the answer a letter).

    Situations in which every move is best, or several are, are left out: a letter could not be told right from wrong.
    """
    own = problem.game.actions[problem.reply.lifted.player]
    out = []
    for window, moves in problem.windows.items():
        if len(moves) != 1 or len(own) == 1 or len(own) > 26:
            continue
        options = "\n".join(f"{chr(65 + i)}) {name}" for i, name in enumerate(own))
        prompt = (
            f"{problem.rules}\nThe situation is '{window}'. {SITUATION} Which move maximises the expected sum of your "
            f"discounted payoffs from here?\n{options}\nAnswer with a letter."
        )
        answer = chr(65 + own.index(moves[0]))
        out.append({"id": content_id(prompt), "prompt": prompt, "answer": answer, "kind": "choice"})
    return out
