"""What a language model thinks of the legal strings of a grammar, from log-probabilities of forced continuations.

Works through the LM protocol alone, so that a model in this process and one behind a server are scored alike. What
texts share is run once by the model (``lm.local``); each text is tokenised whole, as it would be written.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

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
    """Share of an answer's probability below which a beginning is not followed."""


def chances(lm: Scorer, asks: Sequence[Ask]) -> list[np.ndarray]:
    """(S,) probability of each string of each slot: tokens renormalised over the legal ones, as ``grammar.Trie`` does.

    All slots of one prompt go to the model together. A slot with one string costs nothing.
    """
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
        for path, slot, each in zip(paths, slots, chances(lm, asks), strict=True):
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
