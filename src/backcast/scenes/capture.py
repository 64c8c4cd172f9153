"""From pixels to graphs: a vision-language model says what it sees in each frame, under the grammar or freely."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backcast.core.progress import Progress
from backcast.lm.base import Prompt, Sampling
from backcast.lm.sight import Sight, Turn
from backcast.scenes.chances import Beam, marginals
from backcast.scenes.grammar import Labelling, Listing
from backcast.scenes.ootsm.prompts import label_groups
from backcast.scenes.problems.clip import Clip, Frame
from backcast.scenes.problems.detector import Detected, discretise
from backcast.scenes.problems.vocabulary import Vocabulary
from backcast.scenes.render import read_graph

if TYPE_CHECKING:
    from backcast.lm.local_sight import LocalSight

LONGEST = 512
"""Tokens of a served model's answer for one frame."""


@dataclass(frozen=True)
class Captured:
    """The graphs of one clip as a model sees them."""

    clip: Clip
    detected: Detected | None
    """Probabilities, where the model's log-probabilities are to be had: a local model."""
    mended: Counter[str] = field(default_factory=Counter)
    """What a free answer needed mending; nothing under the grammar."""
    failures: int = 0
    """Frames whose answer held no readable object though it said something."""


def capture(
    sight: Sight, name: str, frames: Sequence[tuple[int, float | None, Any]], words: Vocabulary, threshold: float = 0.5
) -> Captured:
    """The graphs of ``frames``: (number, seconds, PIL image) each.

    A local model is asked for objects, then for the labels of each, by log-probabilities under the grammar; what is
    more likely than ``threshold`` stands. A served one writes freely and is read leniently.
    """
    from backcast.lm.local_sight import LocalSight

    if isinstance(sight, LocalSight):
        return _scored(sight, name, frames, words, threshold)
    return _read(sight, name, frames, words)


def listing_rules(words: Vocabulary) -> str:
    """What a model is told to list objects."""
    names = ", ".join(words.objects[o] for o in words.candidates)
    return (
        f"Which of these objects does the {words.subject} have to do with in the picture? In order: {names}. "
        "Answer with one line: 'Frame n: ' and the objects in that order, with commas, or 'nothing'."
    )


def labelling_rules(words: Vocabulary, thing: str) -> str:
    """What a model is told to label one object."""
    return (
        f"What holds between the {words.subject} and the object '{thing}' in the picture? Labels, in order: "
        f"{label_groups(words)}. Answer with one line: 'Frame n: ' and the labels of each group in that order, with "
        "commas, groups set apart by semicolons."
    )


def graph_rules(words: Vocabulary) -> str:
    """What a model is told to write a whole graph."""
    names = ", ".join(words.objects[o] for o in words.candidates)
    form = "; ".join(group.name for group in words.groups)
    return (
        f"Which objects does the {words.subject} have to do with in the picture, and how? Objects: {names}. "
        f"Labels: {label_groups(words)}. Answer with one line for each object and nothing else: '- object: {form}', "
        "labels of a group with commas."
    )


def _scored(
    sight: "LocalSight",
    name: str,
    frames: Sequence[tuple[int, float | None, Any]],
    words: Vocabulary,
    threshold: float,
) -> Captured:
    objects = np.zeros((len(frames), len(words.objects)))
    predicates = np.zeros((*objects.shape, len(words.predicates)))
    with Progress("frames", len(frames)) as progress:
        for t, (number, _, image) in enumerate(frames):
            found = _answer(sight, listing_rules(words), image, Listing(words, (number,)))
            for o in words.candidates:
                objects[t, o] = found.get((0, words.objects[o]), 0.0)
            for o in np.flatnonzero(objects[t] > threshold).tolist():
                rules = labelling_rules(words, words.objects[o])
                labels = _answer(sight, rules, image, Labelling(words, (number,)))
                for g, (group, ids) in enumerate(zip(words.groups, words.slices, strict=True)):
                    predicates[t, o, ids] = [labels.get((g, label), 0.0) for label in group.predicates]
            progress.advance()
    detected = Detected(name, np.array([number for number, _, _ in frames]), objects, predicates)
    clip = discretise([detected], words, threshold).clips[0]
    return Captured(_timed(clip, frames), detected)


def _answer(sight: "LocalSight", rules: str, image: Any, request: Listing | Labelling) -> dict[tuple[int, str], float]:
    from backcast.lm.sight_scores import SightScores

    prompt = Prompt((("user", rules),))
    scorer = SightScores(sight, {prompt: [Turn("user", (image, rules))]})
    return marginals(scorer, [(prompt, request)], Beam())[0]


def _read(sight: Sight, name: str, frames: Sequence[tuple[int, float | None, Any]], words: Vocabulary) -> Captured:
    rules = graph_rules(words)
    asked = [[Turn("user", (image, rules))] for _, _, image in frames]
    replies = sight.reply(asked, (), Sampling(temperature=0.0, max_tokens=LONGEST))
    found, mended, failures = [], Counter[str](), 0
    for (number, time, _), reply in zip(frames, replies, strict=True):
        graph, mine = read_graph(reply.text, words)
        mended.update(mine)
        mended["cut off"] += not reply.finished
        failures += not graph and bool(mine)
        found.append(Frame(number, graph, time))
    return Captured(Clip(name, tuple(found)), None, Counter({key: n for key, n in mended.items() if n}), failures)


def _timed(clip: Clip, frames: Sequence[tuple[int, float | None, Any]]) -> Clip:
    timed = tuple(
        Frame(frame.index, frame.objects, time) for frame, (_, time, _) in zip(clip.frames, frames, strict=True)
    )
    return Clip(clip.id, timed)
