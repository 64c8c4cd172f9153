"""The baseline that OOTSM argues against: one stage, one prompt, one answer that writes all frames with all objects.

A decoder of the size of one of the two stages reads the scene as stage 1 does and writes, token by token under a
grammar, "frame 1, object, its predicates, object, ..., frame 2, ..., end". What does not fit into the budget of tokens
is cut off, in training and in forecasts; frames that were not written take the last one that was, as the authors' code
fills them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from backcast.core.progress import Progress
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.ootsm.decoder import Block
from backcast.scenes.ootsm.descent import Descent
from backcast.scenes.ootsm.encode import ABSENT, Encoder
from backcast.scenes.ootsm.settings import Settings
from backcast.scenes.problems.clip import Clips, Frame
from backcast.scenes.problems.vocabulary import Vocabulary

END = ABSENT
"""Nothing follows; the mark is not used in a scene's prompt."""
BUDGET = 256
"""Tokens of prompt and answer together; the two stages read at most 112 of one prompt and its questions."""


class Writer(nn.Module):
    """Token numbers (B, L), 0 pads on the right, and the length of each prompt, to logits (B, L, tokens)."""

    def __init__(self, tokens: int, width: int, layers: int, dropout: float, budget: int = BUDGET) -> None:
        super().__init__()
        self.budget = budget
        self.embed = nn.Embedding(tokens, width)
        self.place = nn.Embedding(2 * budget, width)
        self.blocks = nn.ModuleList(Block(width, 4, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.bias = nn.Parameter(torch.zeros(tokens))
        for table in (self.embed, self.place):
            nn.init.normal_(table.weight, std=width**-0.5)

    def forward(self, tokens: Tensor, prompts: Tensor) -> Tensor:
        """Places count from the prompt's end, backwards and forwards."""
        length = tokens.shape[1]
        x = self.embed(tokens) + self.place(torch.arange(length) - prompts[:, None] + self.budget)
        mask = torch.ones(length, length).tril().bool() & (tokens != 0)[:, None, :]
        mask |= torch.eye(length).bool()
        for block in self.blocks:
            x = block(x, mask[:, None])
        out: Tensor = nn.functional.linear(self.norm(x), self.embed.weight, self.bias)
        return out


def answer(future: Sequence[Frame], encoder: Encoder) -> list[int]:
    """The tokens of all frames to come, in order; objects and predicates ascend."""
    found: list[int] = []
    for h, frame in enumerate(future, 1):
        found.append(encoder.ahead(h))
        for o in sorted(frame.objects):
            found += [encoder.thing(o), *(encoder.predicate(r) for r in frame.objects[o])]
    return [*found, END]


@dataclass
class Place:
    """Where a writer is in its answer, and what the grammar lets follow."""

    encoder: Encoder
    frames: int
    """How many are asked for."""
    frame: int = 0
    """The one being written, from 1."""
    thing: int = -1
    held: list[int] = field(default_factory=list)
    """Predicates of the thing, ascending."""

    def allowed(self) -> list[int]:
        """Tokens that may follow; the last of them ends the frame where that is possible."""
        if self.frame == 0:
            return [self.encoder.ahead(1)]
        words, found = self.encoder.vocabulary, []
        if self.thing >= 0:
            found = [self.encoder.predicate(r) for r in self._labels(words)]
            if not self.whole():
                return found
        found += [self.encoder.thing(o) for o in words.candidates if o > self.thing]
        return [*found, END if self.frame == self.frames else self.encoder.ahead(self.frame + 1)]

    def _labels(self, words: Vocabulary) -> Iterator[int]:
        last = self.held[-1] if self.held else -1
        for group, ids in zip(words.groups, words.slices, strict=True):
            mine = any(ids.start <= r < ids.stop for r in self.held)
            yield from (r for r in range(max(ids.start, last + 1), ids.stop) if not (mine and group.arity == "one"))
            if not (mine or group.allow_empty) and ids.stop > last:
                return  # a group that must have a label is not passed over

    def whole(self) -> bool:
        """Whether the thing has a label of every group that must have one."""
        words = self.encoder.vocabulary
        pairs = zip(words.groups, words.slices, strict=True)
        return all(g.allow_empty or any(ids.start <= r < ids.stop for r in self.held) for g, ids in pairs)

    def write(self, token: int) -> None:
        """Takes the next token, one of those allowed."""
        first = self.encoder.thing(0)
        if token >= self.encoder.predicate(0):
            self.held.append(token - self.encoder.predicate(0))
        elif token >= first:
            self.thing, self.held = token - first, []
        else:
            self.frame, self.thing, self.held = self.frame + 1, -1, []


@dataclass
class SingleStage:
    """A forecaster that writes its whole answer at once; a score is the probability of the token that was written."""

    encoder: Encoder
    writer: Writer = field(repr=False)
    """Its ``budget`` is the most tokens that prompt and answer may take together."""
    truncated: int = 0
    """Answers so far that did not fit into the budget."""

    @torch.no_grad()
    def forecast(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> GraphForecast:
        """The likeliest token at every step."""
        words = self.encoder.vocabulary
        objects = np.zeros((len(index), len(words.objects)))
        predicates = np.zeros((*objects.shape, len(words.predicates)))
        tokens = self.encoder.scene(seen)
        prompt, place = torch.tensor([len(tokens)]), Place(self.encoder, len(index))
        while len(tokens) < self.writer.budget and (len(tokens) == int(prompt) or tokens[-1] != END):
            legal = place.allowed()
            p = self.writer(torch.tensor([tokens]), prompt)[0, -1, legal].softmax(-1)
            best = int(p.argmax())
            tokens.append(legal[best])
            if tokens[-1] != END:
                place.write(tokens[-1])
            if place.held and tokens[-1] >= self.encoder.predicate(0):
                predicates[place.frame - 1, place.thing, place.held[-1]] = float(p[best])
            elif place.thing >= 0:
                objects[place.frame - 1, place.thing] = float(p[best])
        if tokens[-1] != END:
            self.truncated += 1
            if place.thing >= 0 and not place.whole():
                objects[place.frame - 1, place.thing] = 0.0
            objects[place.frame :] = objects[place.frame - 1]
            predicates[place.frame :] = predicates[place.frame - 1]
        return GraphForecast(name, np.array(index), objects, predicates, objects > 0)


def fit_single(clips: Clips, settings: Settings = Settings(), budget: int = BUDGET) -> SingleStage:  # noqa: B008
    """Fits a writer for as many steps as both stages of one member take together, on the same draws of clips.

    Answers are cut off where prompt and answer have ``budget`` tokens. Raises ValueError for a budget that a prompt
    alone may fill.
    """
    encoder = Encoder(clips.vocabulary)
    if budget <= encoder.limit:
        raise ValueError(f"a budget of {budget} tokens: a prompt alone may take {encoder.limit}")
    torch.manual_seed(settings.seed)
    rng = np.random.default_rng([settings.seed, 3])
    writer = Writer(encoder.size, settings.width, settings.layers, settings.dropout, budget)
    steps = 2 * settings.steps
    descent = Descent(writer, settings.rate, steps)
    usable = [clip for clip in clips.clips if len(clip.frames) > 1]
    writer.train()
    with Progress("single stage", steps) as progress:
        for _ in range(steps):
            picked = [usable[i] for i in rng.integers(0, len(usable), settings.batch)]
            cuts = [int(rng.integers(1, len(clip.frames))) for clip in picked]
            pairs = zip(picked, cuts, strict=True)
            rows = [(encoder.scene(c.frames[:cut]), answer(c.frames[cut:], encoder)) for c, cut in pairs]
            loss = _loss(writer, rows)
            descent.step(loss, "single stage")
            progress.advance(loss=f"{loss.item():.4f}")
    return SingleStage(encoder, writer.eval())


def _loss(writer: Writer, rows: list[tuple[list[int], list[int]]]) -> Tensor:
    """Cross-entropy of the answers' tokens; rows of like length side by side, as little padded as may be."""
    total, count = torch.zeros(()), 0
    rows = sorted(rows, key=lambda row: len(row[0]) + len(row[1]))
    for start in range(0, len(rows), 6):
        some = rows[start : start + 6]
        texts = [torch.tensor((prompt + said)[: writer.budget]) for prompt, said in some]
        prompts = torch.tensor([len(prompt) for prompt, _ in some])
        tokens = nn.utils.rnn.pad_sequence(texts, batch_first=True)
        logits = writer(tokens[:, :-1], prompts)
        truth = tokens[:, 1:].clone()
        truth[torch.arange(1, tokens.shape[1])[None] < prompts[:, None]] = 0
        total = total + cross_entropy(logits.flatten(0, 1), truth.flatten(), ignore_index=0, reduction="sum")
        count += int((truth != 0).sum())
    return total / max(count, 1)
