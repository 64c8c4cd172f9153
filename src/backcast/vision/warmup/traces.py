"""Warm-start traces put together from parts, with mistakes that get corrected (2505.15966, section 4 and appendix C).

A trace is: an analysis of the whole, a sentence that says what will be looked at, the operation, its result, an
analysis of what it shows, the answer in a box. Only the two analyses are written (by a rule, or by a model that is
shown whole and part); the rest is assembled and really carried out, so that a trace cannot pass over an operation that
failed.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from backcast.core.errors import BadInput
from backcast.lm.base import Sampling
from backcast.lm.sight import Call, Sight, Turn
from backcast.vision.looker.boxes import Box
from backcast.vision.looker.desk import Desk, View
from backcast.vision.looker.loop import Ask, Look, begin
from backcast.vision.looker.settings import PRESETS, LookSettings
from backcast.vision.problems.problem import VisualProblem
from backcast.vision.warmup.mix import IMAGE, VIDEO, Aim, Kind, elsewhere, other_frames, quota, too_large

BRIDGES = {
    "zoom_in": "Let me look closer at this part of the image.",
    "select_frames": "Let me look closer at these frames.",
}
AFTER = {
    "elsewhere": "What I need is not in this part.",
    "large": "What I need is in here, but it is still too small.",
    "frames": "What I need is not in these frames.",
}
"""The fixed sentences (in our words): before an operation, and after one that went wrong."""
_WHAT = {False: "image", True: "video"}


def _never(problem: VisualProblem) -> bool:  # noqa: ARG001
    return False


class Writer(Protocol):
    """Writes the two analyses."""

    def whole(self, problem: VisualProblem, desk: Desk) -> str:
        """What the whole shows, and that the answer needs a closer look."""
        ...

    def part(self, problem: VisualProblem, view: View) -> str:
        """What the part shows, on the way to the answer, which follows in a box."""
        ...

    def plain(self, problem: VisualProblem, desk: Desk) -> str:
        """What the whole shows, on the way to the answer, where no closer look is needed."""
        ...


class RuleWriter:
    """Analyses without a model, from the question alone."""

    def whole(self, problem: VisualProblem, desk: Desk) -> str:
        """Says what is asked for, and that it is too small."""
        what = "frames" if desk.media.video else "image"
        return f"The question is: {problem.question} In the {what} as given this is too small to tell."

    def part(self, problem: VisualProblem, view: View) -> str:  # noqa: ARG002
        """Says that it can be told now."""
        return f"Here it can be told: {problem.answer}."

    def plain(self, problem: VisualProblem, desk: Desk) -> str:
        """Says what is asked for, and that it can be told as it is."""
        what = "frames" if desk.media.video else "image"
        return f"The question is: {problem.question} In the {what} as given it can be told: {problem.answer}."


class ModelWriter:
    """Analyses by any model that sees; asked once for the whole and once for the part, never for the answer's box.

    A reply that holds a box or a call would break the trace; it is asked for again with another seed, ``tries`` times,
    and then BadInput is raised.
    """

    def __init__(self, lm: Sight, sampling: Sampling | None = None, tries: int = 3) -> None:
        self.lm, self.sampling, self.tries = lm, sampling or Sampling(0.7, 0.95, 256), tries

    def whole(self, problem: VisualProblem, desk: Desk) -> str:
        """Asks for an analysis of the given images."""
        order = (
            f"{problem.prompt}\n\nDescribe in two or three sentences what is to be seen that bears on this question, "
            "and say which part must be looked at more closely. Do not answer the question."
        )
        return self._ask(desk.opening(order))

    def part(self, problem: VisualProblem, view: View) -> str:
        """Asks for an analysis of the part, with the answer given."""
        order = (
            f"{problem.prompt}\n\nThis is the part of the image that tells. The right answer is: {problem.answer}. "
            "Explain in one or two sentences how this part shows it."
        )
        return self._ask((view.picture, "\n", order))

    def plain(self, problem: VisualProblem, desk: Desk) -> str:
        """Asks for an analysis of the given images, with the answer given."""
        order = (
            f"{problem.prompt}\n\nThe right answer is: {problem.answer}. Explain in two or three sentences how it can "
            "be told without a closer look."
        )
        return self._ask(desk.opening(order))

    def _ask(self, parts: tuple[Any, ...]) -> str:
        from dataclasses import replace

        for attempt in range(self.tries):
            sampling = replace(self.sampling, seed=self.sampling.seed + attempt)
            text = self.lm.reply([[Turn("user", parts)]], (), sampling)[0].text.strip()
            if text and "\\boxed" not in text and "<tool_call>" not in text:
                return text
        raise BadInput(f"'{self.lm.name}' wrote no usable analysis in {self.tries} attempts; use another model")


@dataclass(frozen=True)
class WarmTrace:
    """One conversation to learn from."""

    problem: VisualProblem
    kind: Kind
    turns: tuple[Turn, ...]
    right: tuple[bool, ...]
    """For each turn whether it is the assistant's and right: what is learnt."""
    tools: tuple[Mapping[str, Any], ...]
    """Offered with it."""
    views: tuple[View, ...] = field(default=(), repr=False, compare=False)
    """Every image shown, given ones first."""

    def row(self) -> dict[str, Any]:
        """As a row of training data: messages with text and image parts, the images in order, ``train`` per message."""
        messages = [
            {
                "role": turn.role,
                "content": [
                    {"type": "text", "text": part} if isinstance(part, str) else {"type": "image"}
                    for part in turn.parts
                ],
            }
            for turn in self.turns
        ]
        images = [picture for turn in self.turns for picture in turn.pictures]
        return {"messages": messages, "images": images, "train": list(self.right), "kind": self.kind}


def synthesise(
    problems: Sequence[VisualProblem],
    writer: Writer | None = None,
    settings: LookSettings = PRESETS["strict"],
    seed: int = 0,
    mixes: Mapping[str, Mapping[Kind, float]] | None = None,
    aim: Aim | None = None,
    plain: Callable[[VisualProblem], bool] = _never,
) -> tuple[list[WarmTrace], list[str]]:
    """(a trace for each problem in the shares of the mixes ``image`` and ``video``, notes on those that were left out).

    A problem needs its box (images) or its moments (videos). One whose reference leaves no room for the mistake that
    fell to it gets a single pass instead, and a note says so. ``aim`` is how boxes are written, if not
    as the reference's own. Problems that are ``plain`` get a trace without a look, half of them without tools.
    """
    chosen = {"image": IMAGE, "video": VIDEO, **(mixes or {})}
    usable, notes = [], []
    for problem in problems:
        media = problem.media(settings.frames)
        known = bool(problem.moments) if media.video else problem.box is not None
        if known or plain(problem):
            usable.append((problem, media.video))
        else:
            notes.append(f"{problem.id}: where the answer is to be seen is not known; left out")
    kinds = {
        video: iter(quota(sum(v == video for p, v in usable if not plain(p)), chosen[_WHAT[video]], seed))
        for video in (False, True)
    }
    traces = []
    for problem, video in usable:
        kind: Kind = "text-only" if plain(problem) else next(kinds[video])
        chance = random.Random(f"{seed}|{problem.id}")
        offered = kind != "no-tools" and (kind != "text-only" or chance.random() < 0.5)
        trace = build(problem, kind, chance, writer or RuleWriter(), settings, aim, offered)
        if trace is None:
            notes.append(f"{problem.id}: no room for '{kind}'; a single pass instead")
            trace = build(problem, "single-pass", chance, writer or RuleWriter(), settings, aim)
        assert trace is not None, "a single pass needs no room"
        traces.append(trace)
    return traces, notes


def build(
    problem: VisualProblem,
    kind: Kind,
    chance: random.Random,
    writer: Writer,
    settings: LookSettings = PRESETS["strict"],
    aim: Aim | None = None,
    offered: bool = True,
) -> WarmTrace | None:
    """One trace of a kind; None if there is no room for its mistake. Without ``offered`` there are no tools in it.

    Raises BadInput if the right operation itself fails on the problem (a box outside the image, or too small).
    """
    look = begin(Ask(problem.media(settings.frames), problem.prompt, problem.id), settings, offered)
    right = [False] * len(look.turns)
    tools = tuple(settings.calling.tools(look.desk.names, settings.box_frame)) if offered else ()
    if kind in ("text-only", "no-tools"):
        _say(look, right, writer.plain(problem, look.desk) + f"\n\n\\boxed{{{problem.answer}}}", True)
        return WarmTrace(problem, kind, tuple(look.turns), tuple(right), tools, tuple(look.views))
    steps = _operations(problem, kind, look, chance, aim)
    if steps is None:
        return None
    text = writer.whole(problem, look.desk)
    for operation, after in steps:
        wrong = bool(after)
        bridge = BRIDGES[operation.name]
        _say(look, right, f"{text} {bridge}\n{_written(operation, settings)}", not wrong)
        result = look.desk.carry_out(operation)
        if result.error:
            raise BadInput(f"{problem.id}: the operation of its trace fails ({result.error}); check its box")
        look.turns.append(Turn("tool" if settings.mode == "strict" else "user", result.parts))
        right.append(False)
        text = AFTER.get(after, "")
    _say(look, right, f"{writer.part(problem, result.views[0])}\n\n\\boxed{{{problem.answer}}}", True)
    return WarmTrace(problem, kind, tuple(look.turns), tuple(right), tools, tuple(look.views))


def _operations(
    problem: VisualProblem, kind: Kind, look: Look, chance: random.Random, aim: Aim | None
) -> list[tuple[Call, str]] | None:
    """The calls of a trace in order, each with what follows it if it is wrong; the last is right."""
    desk, found = look.desk, list[tuple[Call, str]]()
    if desk.media.video:
        if kind == "reselect":
            others = other_frames(problem.moments, desk.given, chance)
            if others is None:
                return None
            found.append((Call("select_frames", {"target_frames": others}), "frames"))
        return [*found, (Call("select_frames", {"target_frames": list(problem.moments)}), "")]
    assert problem.box is not None
    size = desk.media.images[0].size
    reference = Box(*problem.box, frame="own")
    right = aim.at(reference, size) if aim else _readable(reference, desk)
    for wrong, after in _mistakes(kind, (reference, right), desk, chance, aim):
        if wrong is None:
            return None
        found.append((_zoom(wrong, desk), after))
    return [*found, (_zoom(right, desk), "")]


def _mistakes(
    kind: Kind, boxes: tuple[Box, Box], desk: Desk, chance: random.Random, aim: Aim | None
) -> list[tuple[Box | None, str]]:
    """The wrong boxes of a kind, and what follows each; None for one that there is no room for."""
    size, (reference, right) = desk.media.images[0].size, boxes
    padded = reference.padded(desk.settings.padding, size)
    count = {"recrop-once": 1, "recrop-twice": 2}.get(kind, 0)
    if kind == "further-zoom":
        large = too_large(right if aim else reference, size, chance)
        return [(aim.widened(large, size) if aim and large else large, "large")]
    if aim:
        return [(aim.elsewhere(padded, size, chance), "elsewhere") for _ in range(count)]
    return [(elsewhere(padded, size, chance, desk.settings.smallest), "elsewhere") for _ in range(count)]


def _readable(reference: Box, desk: Desk) -> Box:
    """The reference, grown to the smallest part that may be looked at."""
    size, least = desk.media.images[0].size, desk.settings.smallest
    grow = [max(0.0, least - side) / 2 for side in (reference.x2 - reference.x1, reference.y2 - reference.y1)]
    x = min(max(0.0, reference.x1 - grow[0]), max(0.0, size[0] - least)) if grow[0] else reference.x1
    y = min(max(0.0, reference.y1 - grow[1]), max(0.0, size[1] - least)) if grow[1] else reference.y1
    return Box(
        x,
        y,
        max(reference.x2, x + least) if grow[0] else reference.x2,
        max(reference.y2, y + least) if grow[1] else reference.y2,
        "own",
    )


def _zoom(box: Box, desk: Desk) -> Call:
    view = desk.views[0]
    numbers = box.in_frame(desk.settings.box_frame, view.size, view.picture.size).numbers
    digits = 3 if desk.settings.box_frame == "unit" else 0
    rounded = [round(number, digits) if digits else round(number) for number in numbers]
    return Call("zoom_in", {"bbox_2d": rounded, "target_image": 1})


def _written(call: Call, settings: LookSettings) -> str:
    """A call as the family writes it."""
    name = settings.calling.renamed.get(call.name, call.name)
    if settings.family == "mini-o3":
        return (
            f"<grounding>{json.dumps({'bbox_2d': call.arguments['bbox_2d'], 'source': 'original_image'})}</grounding>"
        )
    arguments = dict(call.arguments)
    if settings.family == "deepeyes":
        arguments = {"bbox_2d": arguments["bbox_2d"], "label": "part"}
    return f"<tool_call>\n{json.dumps({'name': name, 'arguments': arguments})}\n</tool_call>"


def _say(look: Look, right: list[bool], text: str, good: bool) -> None:
    look.turns.append(Turn("assistant", (text.strip(),)))
    right.append(good)
