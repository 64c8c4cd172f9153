"""What of a conversation is learnt, token by token: found from the spans of its turns, never by counting marks."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from backcast.core.errors import BadInput
from backcast.lm.local_sight import LocalSight
from backcast.lm.sight import Tool, Turn

IGNORED = -100
"""The label of a token that is not learnt (PyTorch's cross-entropy)."""
Rule = Literal["right", "last-two"]
"""right: the assistant's turns that are marked right, and no others. last-two: the authors' code, which keeps the last
two turns of the assistant (of one without a call, the last), right or not, each with its role's header."""


@dataclass(frozen=True)
class Masked:
    """One conversation as the model reads it."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    """As ``ids`` where a token is learnt, else ``IGNORED``."""
    text: str
    """What was tokenised, with pictures as single marks."""


def kept(turns: Sequence[Turn], right: Sequence[bool], rule: Rule = "right") -> list[bool]:
    """For each turn whether it is learnt, by the rule."""
    if len(turns) != len(right):
        raise ValueError(f"{len(turns)} turns and {len(right)} marks")
    if rule == "right":
        return [turn.role == "assistant" and bool(good) for turn, good in zip(turns, right, strict=True)]
    mine = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
    last = set(mine[-2:])
    return [number in last for number in range(len(turns))]


def spans(
    lm: LocalSight, turns: Sequence[Turn], tools: Sequence[Tool], learnt: Sequence[bool], header: bool = False
) -> list[tuple[int, int]]:
    """Characters of the rendered conversation that are learnt: each turn's text and the mark that ends it.

    With ``header`` also the mark and the role that begin it.
    Raises BadInput if the template writes a conversation's beginning differently once more follows (some drop
    thinking), since what is learnt would not be what is later read.
    """
    whole = lm.render(turns, tools, opened=False)
    found = []
    for number, (turn, good) in enumerate(zip(turns, learnt, strict=True)):
        if not good:
            continue
        before = lm.render(turns[:number], tools, opened=True)
        behind = lm.render(turns[: number + 1], tools, opened=False).rstrip("\n ")
        if not whole.startswith(before) or not whole.startswith(behind) or turn.text not in whole[len(before) :]:
            raise BadInput(
                f"the chat template of '{lm.name}' changes earlier turns once others follow, so their tokens cannot be "
                "learnt as they are read; give a template that keeps them"
            )
        start = lm.render(turns[:number], tools, opened=False) if header else before
        found.append((len(start), len(behind)))
    return found


def mask(
    lm: LocalSight, turns: Sequence[Turn], right: Sequence[bool], tools: Sequence[Tool] = (), rule: Rule = "right"
) -> Masked:
    """The conversation tokenised, with labels on what is learnt. Raises BadInput as ``spans`` does."""
    learnt = kept(turns, right, rule)
    text = lm.render(turns, tools, opened=False)
    pictures = [picture for turn in turns for picture in turn.pictures]
    inputs, offsets, shifts = lm.encode_with_offsets(text, pictures)
    wanted = [
        (_moved(start, shifts), _moved(end, shifts))
        for start, end in spans(lm, turns, tools, learnt, rule == "last-two")
    ]
    ids = inputs["input_ids"][0].tolist()
    labels = [
        token if any(start < end <= high and start >= low for low, high in wanted) else IGNORED
        for token, (start, end) in zip(ids, offsets, strict=True)
    ]
    return Masked(tuple(ids), tuple(labels), text)


def _moved(position: int, shifts: Sequence[tuple[int, int]]) -> int:
    """A character's place once the marks before it have been replaced by what stands for the pictures."""
    return position + sum(grown for end, grown in shifts if end <= position)
