"""The grammar of one request: exactly these frames, known names in the vocabulary's order, then the end; and scores.

Names ascend, as in every text of ``render``: a graph has one text, nothing is named twice.

A text is a sequence of slots, each with the strings that may stand there; a string ends with its separator, so none is
the beginning of another ("in;" and "in_front_of;"). A trie over the tokens of a slot's strings gives the legal tokens
and, from a model's log-probabilities renormalised over them, the probability of every string.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from backcast.core.errors import BadInput
from backcast.scenes.problems.vocabulary import Vocabulary
from backcast.scenes.render import END, NONE, NOTHING


class TokenModel(Protocol):
    """A causal language model, one token at a time."""

    def encode(self, text: str) -> list[int]:
        """The tokens of a piece of text."""
        ...

    def next(self, tokens: Sequence[int]) -> np.ndarray:
        """Log-probabilities (V,) of the token after ``tokens``."""
        ...


@dataclass(frozen=True)
class Listing:
    """Stage 1's answer: the objects of exactly these frames."""

    vocabulary: Vocabulary
    frames: tuple[int, ...]

    def slot(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """What may follow the strings chosen so far; nothing when the answer is complete."""
        frame, items = _position(chosen)
        if frame == len(self.frames):
            return () if chosen and chosen[-1] == END else (END,)
        if items is None:
            return (f"Frame {self.frames[frame]}: ",)
        names = _after(items, [self.vocabulary.objects[o] for o in self.vocabulary.candidates])
        more = [f"{name}, " for name in names[:-1]]
        return (*more, *(f"{name}\n" for name in names), *((f"{NOTHING}\n",) if not items else ()))


@dataclass(frozen=True)
class Labelling:
    """Stage 2's answer: the labels of one object in exactly these frames."""

    vocabulary: Vocabulary
    frames: tuple[int, ...]

    def slot(self, chosen: Sequence[str]) -> tuple[str, ...]:
        """What may follow the strings chosen so far; nothing when the answer is complete."""
        frame, items = _position(chosen)
        if frame == len(self.frames):
            return () if chosen and chosen[-1] == END else (END,)
        if items is None:
            return (f"Frame {self.frames[frame]}: ",)
        number = sum(item.endswith("; ") for item in items)
        group = self.vocabulary.groups[number]
        close = "\n" if number == len(self.vocabulary.groups) - 1 else "; "
        since = items[_last_close(items) :]
        names = _after(since, group.predicates)
        more = [f"{name}, " for name in names[:-1]] if group.arity == "many" else []
        none = (f"{NONE}{close}",) if group.allow_empty and not since else ()
        return (*more, *(f"{name}{close}" for name in names), *none)


def _position(chosen: Sequence[str]) -> tuple[int, list[str] | None]:
    """How many frames are complete, and the items of the one begun (None: none is)."""
    done = sum(text.endswith("\n") for text in chosen)
    since = list(chosen)
    for i in range(len(chosen) - 1, -1, -1):
        if chosen[i].endswith("\n"):
            since = list(chosen[i + 1 :])
            break
    return done, (since[1:] if since and since[0] != END else None)


def _after(items: Sequence[str], names: Sequence[str]) -> Sequence[str]:
    """The names that stand after the last one said."""
    return names[names.index(bare(items[-1])) + 1 :] if items else names


def bare(string: str) -> str:
    """A slot's string without what separates it from the next."""
    return string.rstrip(",; \n")


def _last_close(items: Sequence[str]) -> int:
    return max((i + 1 for i, item in enumerate(items) if item.endswith("; ")), default=0)


class Trie:
    """The strings of a slot as token sequences; raises BadInput when one is the beginning of another."""

    def __init__(self, model: TokenModel, strings: Sequence[str]) -> None:
        self.root: dict[int, object] = {}
        for string in strings:
            tokens = model.encode(string)
            node = self.root
            for token in tokens[:-1]:
                step = node.setdefault(token, {})
                if not isinstance(step, dict):
                    raise BadInput(f"the tokens of '{string}' go on where those of '{step}' end; use other names")
                node = step
            if not tokens or tokens[-1] in node:
                raise BadInput(f"the tokens of '{string}' begin another name's; use other names")
            node[tokens[-1]] = string

    def probabilities(self, model: TokenModel, prefix: Sequence[int]) -> dict[str, float]:
        """The probability of each string after ``prefix``, legal tokens renormalised at every node; they sum to 1."""
        found: dict[str, float] = {}

        def walk(node: dict[int, object], tokens: list[int], log: float) -> None:
            share = self._legal(model, node, tokens) if len(node) > 1 else dict.fromkeys(node, 0.0)
            for token, step in node.items():
                if isinstance(step, dict):
                    walk(step, [*tokens, token], log + share[token])
                else:
                    found[str(step)] = math.exp(log + share[token])

        walk(self.root, list(prefix), 0.0)
        return found

    @staticmethod
    def _legal(model: TokenModel, node: dict[int, object], tokens: list[int]) -> dict[int, float]:
        ids = list(node)
        logs = model.next(tokens)[ids].astype(float)
        logs = logs - np.logaddexp.reduce(logs)
        return dict(zip(ids, logs.tolist(), strict=True))


def sample(
    model: TokenModel, prompt: str, request: Listing | Labelling, rng: np.random.Generator, temperature: float = 1.0
) -> str:
    """A text of the request's grammar drawn from the model, token by token; parses by construction."""
    tokens, chosen = model.encode(prompt), list[str]()
    while strings := request.slot(chosen):
        node: object = Trie(model, strings).root
        while isinstance(node, dict):
            ids = list(node)
            token = ids[0]
            if len(ids) > 1:
                logs = model.next(tokens)[ids].astype(float) / temperature
                token = ids[int(rng.choice(len(ids), p=np.exp(logs - np.logaddexp.reduce(logs))))]
            tokens.append(token)
            node = node[token]
        chosen.append(str(node))
    return "".join(chosen)


def likelihood(model: TokenModel, prompt: str, request: Listing | Labelling, chosen: Sequence[str]) -> float:
    """Log-probability of the chosen strings under model and grammar: forced continuation, slot by slot."""
    tokens, log = model.encode(prompt), 0.0
    for i, string in enumerate(chosen):
        strings = request.slot(chosen[:i])
        if string not in strings:
            raise BadInput(
                f"'{string.strip()}' may not stand there; legal: {', '.join(s.strip() for s in strings[:6])}"
            )
        log += math.log(max(Trie(model, strings).probabilities(model, tokens)[string], 1e-300))
        tokens += model.encode(string)
    return log
