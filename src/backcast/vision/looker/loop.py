"""The conversation: a model looks, asks to look closer, is shown what it asked for, and answers."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from backcast.core.problem import content_id
from backcast.lm.base import Sampling
from backcast.lm.chat import last_answer, split_thinking
from backcast.lm.sight import Reply, Sight, Tool, Turn
from backcast.vision.looker.desk import Desk, Result, View
from backcast.vision.looker.settings import PRESETS, LookSettings
from backcast.vision.media import Media

Stop = Literal["answer", "calls", "images", "tokens", "length"]
"""Why a conversation ended: no further request; too many calls, images or tokens; a reply that was cut off."""

GUIDE = {
    "strict": (
        "Look at what you are given and decide whether you must look closer: {tools}. Think step by step, and give the "
        "final answer in \\boxed{{}}."
    ),
    "off": "Think step by step, and give the final answer in \\boxed{}.",
}
"""What follows the question, with and without tools (in our words)."""
NAMED = {"zoom_in": "zoom_in shows a part of an image larger", "select_frames": "select_frames shows frames larger"}

BEHIND_TOOL = 0.9
"""Temperature of the turns after a tool's result, relative to the first (Pixel Reasoner's code)."""


@dataclass(frozen=True)
class Ask:
    """One question about images or a video."""

    media: Media
    question: str
    id: str = ""


@dataclass
class Look:
    """One conversation, from the question to the answer."""

    ask: Ask
    desk: Desk
    turns: list[Turn]
    tools: bool = True
    """Whether there are any; a request in a conversation without tools is refused."""
    results: list[Result] = field(default_factory=list)
    """What became of each call, in order; refused ones included."""
    calls: int = 0
    """Calls made, failed and refused ones included (the n of the reward's penalty)."""
    served: int = 0
    """Calls carried out, failed ones included."""
    tokens: int = 0
    """Of the conversation, as the model last read it, with its last reply."""
    stop: Stop | None = None
    answer: str | None = None
    """What the last reply states, or all of it where it states nothing; None if it ended in a request."""
    refused: bool = False
    """Whether the last word has been given."""

    @property
    def views(self) -> list[View]:
        """Every image shown, by number."""
        return self.desk.views

    @property
    def unresolved(self) -> bool:
        """Whether the last call failed and none succeeded after it."""
        return bool(self.results) and bool(self.results[-1].error)

    @property
    def used(self) -> bool:
        """Whether any call was made: the indicator of pixel-space reasoning (2505.15966)."""
        return self.calls > 0

    def steps(self) -> list[dict[str, Any]]:
        """One row a step: ``tool``, ``box`` (pixels of the given image), ``frame`` (counted from 1, of a video),
        ``image`` (its number), ``error``; of several frames, one row each."""
        rows: list[dict[str, Any]] = []
        for result in self.results:
            base: dict[str, Any] = {"tool": result.call.name, "box": None, "frame": None, "image": None}
            if not result.views:
                rows.append({**base, "error": result.error})
            for view in result.views:
                zoomed = view.tool == "zoom_in"
                rows.append(
                    {
                        **base,
                        "box": list(view.box.outward()) if zoomed else None,
                        "frame": view.source + 1 if self.desk.media.video else None,
                        "image": view.number,
                        "error": None,
                    }
                )
        return rows


class Looking:
    """Questions on their way through a model, in lock step: those still open form one batch."""

    def __init__(
        self,
        lm: Sight,
        settings: LookSettings = PRESETS["strict"],
        sampling: Sampling | None = None,
        tools: bool = True,
    ) -> None:
        """``tools=False`` asks without tools (``notool``)."""
        cell = getattr(lm, "cell", None)
        self.lm, self.tools = lm, tools
        self.settings = settings.for_cell(cell) if cell and settings.mode == "strict" else settings
        self.sampling = replace(sampling or Sampling(0.0), max_tokens=self.settings.reply_tokens)

    def look(self, asks: Sequence[Ask]) -> list[Look]:
        """A conversation about each of ``asks``, in order."""
        looks = [self._begin(ask) for ask in asks]
        with getattr(self.lm, "remembering", nullcontext)():  # a local model need not read a conversation twice
            self._look(looks)
        return looks

    def _look(self, looks: Sequence[Look]) -> None:
        while active := [look for look in looks if look.stop is None]:
            batches: dict[tuple[tuple[str, ...], bool], list[Look]] = {}
            for look in active:
                later = bool(look.results) and self.settings.mode == "authors"
                batches.setdefault((look.desk.names, later), []).append(look)
            for (names, later), batch in batches.items():
                self._turn(batch, names, later)

    def _begin(self, ask: Ask) -> Look:
        return begin(ask, self.settings, self.tools)

    def _turn(self, batch: Sequence[Look], names: tuple[str, ...], later: bool) -> None:
        settings, sampling = self.settings, self.sampling
        tools: list[Tool] = settings.calling.tools(names, settings.box_frame) if self.tools else []
        if later:
            sampling = replace(sampling, temperature=sampling.temperature * BEHIND_TOOL)
        replies = self.lm.reply([look.turns for look in batch], tools, sampling)
        for look, reply in zip(batch, replies, strict=True):
            take(look, reply, settings)


def begin(ask: Ask, settings: LookSettings, tools: bool = True) -> Look:
    """The conversation as it stands before the model's first turn."""
    desk = Desk(ask.media, settings)
    if tools:
        renamed = settings.calling.renamed
        said = "; ".join(NAMED[name].replace(name, renamed.get(name, name)) for name in desk.names)
        guide = GUIDE["strict"].format(tools=said)
    else:
        guide = GUIDE["off"]
    turns = [Turn("user", desk.opening(f"{ask.question}\n\n{guide}"))]
    if tools and settings.calling.told:
        turns.insert(0, Turn("system", (settings.calling.told,)))
    ask = ask if ask.id else replace(ask, id=content_id(ask.media.name, ask.question))
    return Look(ask, desk, turns, tools)


def take(look: Look, reply: Reply, settings: LookSettings) -> None:
    """Adds a model's reply to a conversation and, if it asks for something, what it gets.

    The order of the checks is Pixel Reasoner's: no request, calls served, images, tokens.
    """
    family = settings.calling
    look.turns.append(Turn("assistant", (reply.text,), reply.calls))
    look.tokens = reply.prompt_tokens + reply.tokens
    calls = [family.ours(call) for call in reply.calls or family.parse(reply.text)]
    if not calls:
        look.stop = "answer" if reply.finished else "length"
        look.answer = last_answer(reply.text) or split_thinking(reply.text)[1] or None
        return
    for at, call in enumerate(calls):
        look.calls += 1
        why = _full(look, settings)
        if why is not None:
            stop, words = why
            rest = [look.desk.refuse(open, words) for open in calls[at:]]
            look.calls += len(rest) - 1
            look.results += rest
            if stop == "tokens" or look.refused or not (settings.last_word and settings.mode == "strict"):
                look.stop = stop
                return
            look.refused = True
            _answer(look, rest)
            return
        look.served += 1
        result = look.desk.carry_out(call)
        look.results.append(result)
        _answer(look, [result])


def _full(look: Look, settings: LookSettings) -> tuple[Stop, str] | None:
    """Which limit a further request meets, and how the model is told; None if it meets none."""
    if not look.tools:
        return "calls", "there are no tools in this conversation; answer now, from what you have seen"
    if look.served >= settings.calls:
        return "calls", f"all {settings.calls} calls are used up; answer now, from what you have seen"
    if look.desk.counted > settings.images:
        return "images", f"more than {settings.images} images were shown; answer now, from what you have seen"
    if look.tokens > settings.tokens:
        return "tokens", f"the conversation is longer than {settings.tokens} tokens"
    return None


def _answer(look: Look, results: Sequence[Result]) -> None:
    for result in results:
        authors = look.desk.settings.mode == "authors" and not result.call.id
        look.turns.append(Turn("user" if authors else "tool", result.parts, answers=result.call.id))
