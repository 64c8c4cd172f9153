"""Questions about images in the training stages: the model and processor they need, and how they are answered."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backcast.learn.questions import Asked
from backcast.lm.base import Completion, Sampling

BATCH = 16
"""Questions answered at a time while measuring."""


def sees(questions: Sequence[Asked]) -> bool:
    """Whether the questions are about images."""
    return any(getattr(question, "images", ()) for question in questions)


def opened(folder: Path) -> tuple[Any, Any, dict[str, Any]]:
    """(model, processor, generation settings for the trainer) of a vision-language model.

    A model must not write the tokens that stand for pictures: there would be no picture behind them, and TRL's next
    pass would fail. Raises BadInput for a model that takes no pictures.
    """
    from backcast.lm.local_sight import LocalSight

    lm = LocalSight.open(folder, dtype="float32")
    lm.model.requires_grad_(True).train()
    return lm.model, lm.processor, {"suppress_tokens": lm.never} if lm.never else {}


def answers(folder: Path, asked: Sequence[Any], sampling: Sampling) -> list[Completion]:
    """One sampled answer to each question, by a vision-language model."""
    from backcast.lm.local_sight import LocalSight
    from backcast.lm.sight import Turn

    lm, found = LocalSight.open(folder), list[Completion]()
    for first in range(0, len(asked), BATCH):
        part = asked[first : first + BATCH]
        # Pictures before the text, as TRL puts them while training.
        turns = [[Turn("user", (*question.pictures(), question.prompt))] for question in part]
        replies = lm.reply(turns, (), sampling)
        found += [Completion(reply.text, reply.tokens, reply.finished) for reply in replies]
    return found
