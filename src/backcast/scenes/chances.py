"""What a language model thinks of the legal strings of a grammar, from log-probabilities of forced continuations.

Works through the LM protocol alone, so that a model in this process and one behind a server are scored alike. What
texts share is run once by the model (``lm.local``); each text is tokenised whole, as it would be written. A model in
this process also tells how it would cut a text, so that of many names only the likely beginnings are gone on with.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from backcast.core.errors import BadInput
from backcast.lm.base import Prompt, Scoring, TokenScores
from backcast.scenes.grammar import Labelling, Listing, bare
from backcast.scenes.render import END

Node = tuple[tuple[int, int, str], ...]


class Scorer(Protocol):
    """The half of the LM protocol that is needed here."""

    def logprobs(self, items: Sequence[Scoring]) -> list[list[TokenScores]]:
        """As ``LM.logprobs``."""
        ...


@dataclass(frozen=True)
class Ask:
    """One slot: what may stand there, after a prompt and what is said already."""

    prompt: Prompt
    said: str
    strings: tuple[str, ...]


@dataclass(frozen=True)
class Beam:
    """How many beginnings of an answer are followed; what the others would add is left out."""

    width: int = 3
    """Beginnings of one answer followed at once."""
    floor: float = 0.02
    """Share of an answer's probability below which a beginning, of an answer or of a name, is not followed."""


def chances(lm: Scorer, asks: Sequence[Ask], floors: Sequence[float] = ()) -> list[np.ndarray]:
    """(S,) probability of each string of each slot: tokens renormalised over the legal ones, as ``grammar.Trie`` does.

    All slots of one prompt go to the model together. A slot with one string costs nothing. With ``floors``, one a
    slot, strings whose common beginning is less likely share its probability alike, where the model can be asked so.
    """
    if any(floor > 0 for floor in floors) and hasattr(lm, "offsets"):
        descended = _descended(lm, asks, floors)
        if descended is not None:
            return descended
    found = [np.ones(len(ask.strings)) for ask in asks]
    by_prompt: dict[Prompt, list[int]] = {}
    for i, ask in enumerate(asks):
        if len(ask.strings) > 1:
            by_prompt.setdefault(ask.prompt, []).append(i)
    items = [
        Scoring(
            prompt,
            tuple(asks[i].said + string for i in mine for string in asks[i].strings),
            tuple(len(asks[i].said) for i in mine for _ in asks[i].strings),
        )
        for prompt, mine in by_prompt.items()
    ]
    for mine, item, scores in zip(by_prompt.values(), items, lm.logprobs(items) if items else [], strict=True):
        start = 0
        for i in mine:
            end = start + len(asks[i].strings)
            found[i] = shares(item.continuations[start:end], scores[start:end])
            start = end
    return found


class _Tree:
    """The pieces of one slot's strings, and how likely the model came to every beginning so far."""

    def __init__(self, ask: Ask, offsets: Sequence[Sequence[tuple[int, int]]]) -> None:
        self.ask = ask
        texts = [ask.said + string for string in ask.strings]
        self.paths = [
            tuple((start, end, text[start:end]) for start, end in row) for text, row in zip(texts, offsets, strict=True)
        ]
        self.onward: dict[Node, list[Node]] = {}
        for path in self.paths:
            for depth in range(len(path)):
                kids = self.onward.setdefault(path[:depth], [])
                if path[: depth + 1] not in kids:
                    kids.append(path[: depth + 1])
        self.mass: dict[Node, float] = {(): 1.0}

    def tells(self) -> bool:
        """Whether the pieces are the strings, and none ends where another goes on."""
        return all(
            path and path not in self.onward and self.text(path) == self.ask.said + string
            for path, string in zip(self.paths, self.ask.strings, strict=True)
        )

    def text(self, node: Node) -> str:
        """What is said up to the end of a beginning."""
        return self.ask.said[: node[0][0]] + "".join(piece for _, _, piece in node)

    def forced(self, node: Node) -> Node:
        """The end of what follows a beginning in any case."""
        while len(self.onward.get(node, ())) == 1:
            (kid,) = self.onward[node]
            self.mass[kid] = self.mass[node]
            node = kid
        return node

    def found(self) -> np.ndarray:
        """(S,) probabilities; strings behind a beginning that was not followed share what it has."""
        ends = [max(depth for depth in range(len(path) + 1) if path[:depth] in self.mass) for path in self.paths]
        stops = [path[:end] for path, end in zip(self.paths, ends, strict=True)]
        return np.array([self.mass[stop] / stops.count(stop) for stop in stops])


def _descended(lm: Any, asks: Sequence[Ask], floors: Sequence[float]) -> list[np.ndarray] | None:
    """Piece by piece from the strings' beginnings; None where the model cuts a text otherwise than was thought."""
    trees = [_Tree(ask, lm.offsets([ask.said + string for string in ask.strings], len(ask.said))) for ask in asks]
    if any(not tree.tells() for tree in trees):
        return None
    live = [(i, tree.forced(())) for i, tree in enumerate(trees)]
    while live := [(i, node) for i, node in live if node in trees[i].onward]:
        by_prompt: dict[Prompt, list[tuple[int, Node, Node]]] = {}
        for i, node in live:
            by_prompt.setdefault(asks[i].prompt, []).extend((i, node, kid) for kid in trees[i].onward[node])
        items = [
            Scoring(prompt, tuple(trees[i].text(kid) for i, _, kid in rows), tuple(len(asks[i].said) for i, *_ in rows))
            for prompt, rows in by_prompt.items()
        ]
        logs: dict[tuple[int, Node], dict[Node, float]] = {}
        for rows, scores in zip(by_prompt.values(), lm.logprobs(items), strict=True):
            for (i, node, kid), one in zip(rows, scores, strict=True):
                if one.offsets != tuple((start, end) for start, end, _ in kid):
                    return None
                logs.setdefault((i, node), {})[kid] = float(one.logprobs[-1])
        live = []
        for (i, node), row in logs.items():
            tree, total = trees[i], np.logaddexp.reduce(list(row.values()))
            for kid, log in row.items():
                tree.mass[kid] = tree.mass[node] * float(np.exp(log - total))
                if tree.mass[kid] >= floors[i]:
                    live.append((i, tree.forced(kid)))
    return [tree.found() for tree in trees]


def shares(texts: Sequence[str], scores: Sequence[TokenScores]) -> np.ndarray:
    """(S,) probabilities of texts that begin alike: their tokens form a trie whose nodes are renormalised."""
    paths = [
        tuple((start, end, text[start:end]) for start, end in one.offsets)
        for text, one in zip(texts, scores, strict=True)
    ]
    children: dict[Node, dict[Node, float]] = {}
    for path, one in zip(paths, scores, strict=True):
        for depth, log in enumerate(one.logprobs.tolist()):
            children.setdefault(path[:depth], {})[path[: depth + 1]] = log
    for path, text in zip(paths, texts, strict=True):
        if not path or path in children:
            raise BadInput(f"the tokens of '{text}' begin another name's; use other names")
    # A node with one child says nothing: its token follows by the grammar.
    log = {
        child: value - (np.logaddexp.reduce(list(row.values())) if len(row) > 1 else value)
        for row in children.values()
        for child, value in row.items()
    }
    return np.exp([sum(log[path[: depth + 1]] for depth in range(len(path))) for path in paths])


@dataclass(frozen=True)
class _Path:
    answer: int
    """Number of the request."""
    chosen: tuple[str, ...]
    mass: float


def marginals(
    lm: Scorer,
    asked: Sequence[tuple[Prompt, Listing | Labelling]],
    beam: Beam = Beam(),
) -> list[dict[tuple[int, str], float]]:
    """For each request of one frame: the probability that its answer holds a name, by (number of the group, name).

    P(name) = sum over beginnings of P(beginning) P(name next | beginning), exact when every beginning is followed: as
    names ascend, none comes twice. A name of a group is weighed by the beginnings that reach the group. All requests
    go on side by side, so asking one is the same as asking many.
    """
    found: list[dict[tuple[int, str], float]] = [{} for _ in asked]
    entered: list[dict[int, float]] = [{} for _ in asked]
    paths = [_Path(i, request.slot(()), 1.0) for i, (_, request) in enumerate(asked)]
    while paths:
        slots = [asked[path.answer][1].slot(path.chosen) for path in paths]
        asks = [Ask(asked[path.answer][0], "".join(path.chosen), slot) for path, slot in zip(paths, slots, strict=True)]
        onward: list[list[_Path]] = [[] for _ in asked]
        floors = [beam.floor / path.mass for path in paths] if beam.floor else []
        for path, slot, each in zip(paths, slots, chances(lm, asks, floors), strict=True):
            i, group = path.answer, sum(string.endswith("; ") for string in path.chosen)
            if path.chosen[-1].endswith("; ") or len(path.chosen) == 1:
                entered[i][group] = entered[i].get(group, 0.0) + path.mass
            for string, p in zip(slot, (path.mass * each).tolist(), strict=True):
                key = (group, bare(string))
                found[i][key] = found[i].get(key, 0.0) + p
                if not string.endswith("\n"):
                    onward[i].append(_Path(i, (*path.chosen, string), p))
        paths = [path for mine in onward for path in _followed(mine, beam)]
    return [
        {(group, name): min(p / weights[group], 1.0) for (group, name), p in each.items() if name != END}
        for each, weights in zip(found, entered, strict=True)
    ]


def _followed(paths: Iterable[_Path], beam: Beam) -> list[_Path]:
    """The likeliest paths; the likeliest one always."""
    ranked = sorted(paths, key=lambda path: -path.mass)
    return [path for n, path in enumerate(ranked[: beam.width]) if n == 0 or path.mass >= beam.floor]
