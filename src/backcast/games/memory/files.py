"""Strategies as JSON, as the text of a memory-one vector, and as DOT drawings."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.games.memory.automaton import Automaton
from backcast.games.memory.team import split_team, together
from backcast.games.memory.windows import START, Windows, check_size, k_memory, memory_one
from backcast.games.memory.zoo import named_automaton
from backcast.games.numbers import parse_number, rational
from backcast.games.problems.files import split_joint
from backcast.games.problems.game import StochasticGame

KEYS = {"start", "nodes", "memory", "table", "default", "view", "name", "seen_states", "player", "states", "actions"}
Hand = Callable[[Automaton], Automaton]


def load_strategy(game: StochasticGame, source: str, player: int, hand: Hand | None = None) -> Automaton:
    """Returns the strategy of ``player`` that ``source`` names.

    A ``.json`` file (automaton or K-memory table), memory-one text ``first;CC,CD,DC,DD``, or a name of the zoo; in the
    team's seat of ``two_seats`` one for each member (``NAME&NAME``). ``hand``: done to each of them (noise).
    """
    text = str(source)
    if game.team is not None and player == 1:
        original = game.team[0]
        return together(
            game, [load_strategy(original, name, seat, hand) for name, seat in split_team(game, text)], text
        )
    found = _single(game, text, player)
    return hand(found) if hand else found


def _single(game: StochasticGame, text: str, player: int) -> Automaton:
    """One player's strategy, as written."""
    if text.endswith(".json"):
        path = Path(text)
        if not path.is_file():
            raise BadInput(f"opponent: no file '{text}'; give a .json file that exists, a name, or a memory-one vector")
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise BadInput(f"opponent: '{text}' is not JSON: {error}") from None
        return read_strategy(game, content, player, path.stem)
    if ";" in text:
        return parse_memory_one(game, text, player)
    return named_automaton(game, text, player)


def parse_memory_one(game: StochasticGame, text: str, player: int) -> Automaton:
    """Returns the memory-one strategy written ``first;CC,CD,DC,DD`` (own move first; ``C;8/9,1/2,1/3,0`` works too)."""
    first, _, rest = text.partition(";")
    names = game.actions[player]
    head = first.strip()
    where = f"opponent '{text}'"
    p = rational(int(head == names[0])) if head in names and not head.isdigit() else parse_number(head, where)
    return memory_one(game, player, p, [parse_number(part, where) for part in rest.split(",")], text)


def read_strategy(game: StochasticGame, content: Any, player: int, name: str = "automaton") -> Automaton:
    """Returns the strategy of parsed JSON: ``{start, nodes}`` (automaton) or ``{memory, table}`` (K-memory)."""
    if not isinstance(content, dict) or not ("nodes" in content or "table" in content):
        raise BadInput(f"opponent '{name}': expected an object with 'start' and 'nodes', or with 'memory' and 'table'")
    for key in content:
        if key not in KEYS:
            raise BadInput(f"opponent '{name}': unknown key '{key}'{nearest(key, KEYS)}")
    view = content.get("view", "players")
    if view not in ("players", "own first"):
        raise BadInput(f"opponent '{name}': view '{view}' is unknown; choose 'players' or 'own first'")
    reader = _Reader(game, player, str(content.get("name", name)), view == "own first")
    return reader.automaton(content) if "nodes" in content else reader.table(content)


class _Reader:
    """Reads one strategy for one seat of one game, naming exactly what is wrong."""

    def __init__(self, game: StochasticGame, player: int, name: str, own_first: bool):
        self.game, self.player, self.name = game, player, name
        self.where = f"opponent '{name}'"
        seats = range(len(game.actions))
        self.order = [player, *(s for s in seats if s != player)] if own_first else list(seats)

    def joint(self, words: str) -> list[int]:
        """Joint actions a key like ``CD``, ``C,D`` or ``*`` speaks of."""
        shown = tuple(self.game.actions[seat] for seat in self.order)
        parts = split_joint(words, shown, f"{self.where}: next")
        placed = dict(zip(self.order, parts, strict=True))
        fits = np.ones(self.game.joint, dtype=bool)
        for seat, part in placed.items():
            if part != "*":
                fits &= self.game.digits[:, seat] == self.game.actions[seat].index(part)
        return np.flatnonzero(fits).tolist()

    def row(self, given: Any, place: str) -> list[Any]:
        """Probabilities of the own actions from ``{"C": 1}``, ``"C"`` or a list."""
        names = self.game.actions[self.player]
        if isinstance(given, str) and given in names:
            given = {given: 1}
        if isinstance(given, list):
            given = dict(zip(names, given, strict=False)) if len(given) == len(names) else None
        if not isinstance(given, dict) or not given:
            raise BadInput(f"{self.where}: {place} plays {given!r}; give {{action: probability}}")
        for action in given:
            if action not in names:
                raise BadInput(f"{self.where}: {place} plays '{action}'{nearest(action, names)}")
        return [parse_number(given.get(action, 0), f"{self.where}: {place}") for action in names]

    def by_state(self, given: Any) -> list[tuple[str, Any]]:
        """(name of the state for messages, what is said of it), one pair per state, or one pair for all states."""
        states = self.game.states
        told = isinstance(given, dict) and bool(given) and all(key in states for key in given) and len(states) > 1
        if told and all(key in self.game.actions[self.player] for key in given):
            told = not any(
                _is_number(value) for value in given.values()
            )  # states called like actions: {C: 1/2, D: 1/2}
        if told:
            missing = [state for state in states if state not in given]
            if missing:
                raise BadInput(f"{self.where}: nothing is said of state '{missing[0]}'; give every state")
            return [(f" in state '{state}'", given[state]) for state in states]
        return [("", given)]

    def automaton(self, content: dict[str, Any]) -> Automaton:
        """``{start, nodes: {name: {play, next}}}``."""
        nodes = content["nodes"]
        if not isinstance(nodes, dict) or not nodes:
            raise BadInput(f"{self.where}: 'nodes' is empty; give at least one node")
        names = tuple(nodes)
        start = str(content.get("start", names[0]))
        if start not in nodes:
            raise BadInput(f"{self.where}: start '{start}' is not a node{nearest(start, names)}")
        play, following = [], []
        for name in names:
            for key in ("play", "next"):
                if not isinstance(nodes[name], dict) or key not in nodes[name]:
                    raise BadInput(f"{self.where}: node '{name}' has no '{key}'")
            said = self.by_state(nodes[name]["play"])
            play.append([self.row(given, f"node '{name}'{state}") for state, given in said])
            said = self.by_state(nodes[name]["next"])
            following.append([self.steps(given, f"node '{name}'{state}", names) for state, given in said])
        return Automaton(
            self.player,
            self.game.actions,
            _stack(play),
            _stack(following).astype(np.int32),
            names.index(start),
            self.name,
            names,
            states=self.game.states,
        )

    def steps(self, given: Any, place: str, names: tuple[str, ...]) -> list[int]:
        """The next node after every joint action; keys with fewer stars win; BadInput on the first one missing."""
        given = {"*": given} if isinstance(given, str) else given
        if not isinstance(given, dict):
            raise BadInput(f"{self.where}: {place} has next {given!r}; give {{joint action: node}}")
        out: list[int | None] = [None] * self.game.joint
        for words, target in sorted(given.items(), key=lambda item: -len(self.joint(item[0]))):
            if target not in names:
                raise BadInput(
                    f"{self.where}: {place} leads to '{target}' after '{words}'{nearest(str(target), names)}"
                )
            for a in self.joint(words):
                out[a] = names.index(target)
        if None in out:
            missing = self.game.joint_label(out.index(None), self.order[0])
            raise BadInput(f"{self.where}: {place} has no transition for '{missing}'; every joint action needs one")
        return [int(target) for target in out if target is not None]

    def table(self, content: dict[str, Any]) -> Automaton:
        """``{memory, table: {window: play}}``; a window not in the table takes ``default`` where given."""
        memory = content.get("memory")
        if not isinstance(memory, int) or memory < 0:
            raise BadInput(f"{self.where}: memory {memory!r}; give a whole number, 0 or more")
        seen_states = bool(content.get("seen_states", False))
        check_size(self.game, memory, seen_states)
        windows = Windows(self.game.actions, memory, self.game.states if seen_states else ())
        rows = []
        for state, said in self.by_state(content["table"]):
            known = {tuple(self.window(words, windows)): play for words, play in said.items()}
            line = []
            for window in windows:
                play = known.pop(tuple(windows.spell(window)), content.get("default"))
                if play is None:
                    raise BadInput(f"{self.where}: no play for window '{windows.text(window, self.order[0])}'{state}")
                line.append(self.row(play, f"window '{windows.text(window, self.order[0])}'{state}"))
            if known:
                raise BadInput(f"{self.where}: a window of {len(next(iter(known)))} steps exceeds memory {memory}")
            rows.append(line)
        return k_memory(self.game, self.player, memory, np.asarray(rows), self.name, seen_states)

    def window(self, words: str, windows: Windows) -> list[int]:
        """Letters of a window in words."""
        letters = []
        for step in [] if words.strip() in ("", START) else words.split():
            state, colon, joint = step.rpartition(":")
            base = 0
            if windows.states:
                if state not in windows.states:
                    raise BadInput(
                        f"{self.where}: window '{words}' names state '{state}'{nearest(state, windows.states)}"
                    )
                base = windows.states.index(state) * windows.joint
            elif colon:
                raise BadInput(f"{self.where}: window '{words}' holds states; set seen_states to true")
            found = self.joint(joint)
            if len(found) != 1:
                raise BadInput(f"{self.where}: window '{words}' must name one joint action a step")
            letters.append(base + found[0])
        return letters


def _is_number(value: Any) -> bool:
    try:
        parse_number(value)
    except BadInput:
        return False
    return True


def _stack(lines: list[list[Any]]) -> np.ndarray:
    """(nodes, S or 1, k) lists to (S or 1, nodes, k), spreading nodes that speak of all states at once."""
    states = max(len(line) for line in lines)
    full = [line if len(line) == states else line * states for line in lines]
    return np.swapaxes(np.asarray(full), 0, 1)


def to_json(automaton: Automaton) -> dict[str, Any]:
    """Returns the object ``read_strategy`` reads back, exact numbers as text (``"1/3"``)."""
    names = [automaton.label(m) for m in range(automaton.nodes)]
    own = automaton.actions[automaton.player]
    joint = [_joint_words(automaton, a) for a in range(automaton.next.shape[2])]
    nodes: dict[str, Any] = {}
    for m, name in enumerate(names):
        play = [{a: _number(p) for a, p in zip(own, row[m], strict=True) if p != 0} for row in automaton.play]
        steps = [dict(zip(joint, (names[t] for t in row[m]), strict=True)) for row in automaton.next]
        nodes[name] = {"play": _keyed(play, automaton.states), "next": _keyed(steps, automaton.states)}
    return {"name": automaton.name, "player": automaton.player, "start": names[automaton.start], "nodes": nodes}


def _keyed(per_state: list[Any], states: tuple[str, ...]) -> Any:
    return per_state[0] if len(per_state) == 1 else dict(zip(states, per_state, strict=True))


def _joint_words(automaton: Automaton, joint: int) -> str:
    from backcast.games.problems.game import joint_label

    return joint_label(automaton.actions, joint)


def _number(value: Any) -> Any:
    """A JSON number that reads back as the same fraction or float."""
    exact = rational(value)
    if exact.denominator == 1:
        return int(exact)
    return str(exact) if not isinstance(value, float) else float(value)


def to_dot(automaton: Automaton) -> str:
    """Returns the automaton as a Graphviz drawing: nodes say what is played, edges which joint actions lead on."""
    own = automaton.actions[automaton.player]
    lines = [
        f'digraph "{_quoted(automaton.name)}" {{',
        "  rankdir=LR;",
        "  begin [shape=point];",
        f"  begin -> n{automaton.start};",
    ]
    for m in range(automaton.nodes):
        said = " | ".join(_play_words(row[m], own) for row in automaton.chances)
        lines.append(f'  n{m} [label="{_quoted(automaton.label(m))}\\n{_quoted(said)}"];')
    for m in range(automaton.nodes):
        edges: dict[int, list[str]] = {}
        for s, row in enumerate(automaton.next):
            for a, target in enumerate(row[m]):
                prefix = f"{automaton.states[s]}:" if len(automaton.next) > 1 else ""
                edges.setdefault(int(target), []).append(prefix + _joint_words(automaton, a))
        for target, words in edges.items():
            label = "any" if len(words) == automaton.next.shape[2] * len(automaton.next) else ", ".join(words)
            lines.append(f'  n{m} -> n{target} [label="{_quoted(label)}"];')
    return "\n".join([*lines, "}", ""])


def _play_words(row: np.ndarray, own: tuple[str, ...]) -> str:
    return ", ".join(name if p == 1 else f"{name} {p:.3g}" for name, p in zip(own, row, strict=True) if p > 0)


def _quoted(text: str) -> str:
    return re.sub(r'(["\\])', r"\\\1", text)
