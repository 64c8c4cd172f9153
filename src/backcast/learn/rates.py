"""How often a model answers each question right: several sampled answers a question, and what that says of a change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from backcast.core import stats
from backcast.core.problem import Score
from backcast.core.run import Gap
from backcast.core.trace import Trace
from backcast.learn.questions import Asked
from backcast.lm.base import LM, Prompt, Sampling

METRIC = "1 - accuracy, held-out problems"


@dataclass(frozen=True)
class Rates:
    """The answers to some questions, and which of them were right."""

    ids: tuple[str, ...]
    right: np.ndarray
    """Booleans of shape (questions, answers)."""
    replies: tuple[tuple[str, ...], ...]
    """The answers themselves, in the same order."""

    @property
    def missed(self) -> np.ndarray:
        """Share of wrong answers of each question, shape (questions,)."""
        return np.asarray(1.0 - self.right.mean(axis=1))

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"ids": list(self.ids), "right": self.right.tolist(), "replies": [list(some) for some in self.replies]}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "Rates":
        """The inverse of ``to_dict``."""
        replies = tuple(tuple(some) for some in record["replies"])
        return cls(tuple(record["ids"]), np.array(record["right"], dtype=bool), replies)


def pass_rates(lm: LM, questions: Sequence[Asked], answers: int, sampling: Sampling) -> Rates:
    """``answers`` sampled answers of ``lm`` to each question, judged by the question's own rule."""
    drawn = lm.sample([Prompt((("user", question.prompt),)) for question in questions], answers, sampling)
    replies = tuple(tuple(one.text for one in some) for some in drawn)
    right = [[question.right(text) for text in some] for question, some in zip(questions, replies, strict=True)]
    return Rates(tuple(question.id for question in questions), np.array(right, dtype=bool), replies)


def rate_gap(stage: str, mine: Rates, base: Rates | None, seed: int = 0, note: str = "") -> Gap:
    """The gap of ``mine``, beside ``base`` on the same questions if there is one.

    The interval is a bootstrap over questions, so that several answers to one question do not pass for several
    questions.
    """
    if base is None:
        found, baseline = stats.bootstrap(mine.missed, seed), None
    else:
        found, baseline = stats.paired(mine.missed, base.missed, seed), float(base.missed.mean())
    value = float(mine.missed.mean())
    return Gap(stage, METRIC, baseline, value, found.low, found.high, found.n, paired=base is not None, note=note)


def rate_traces(questions: Sequence[Asked], mine: Rates, base: Rates | None = None) -> list[Trace]:
    """One trace a question: its first answer, the share of right ones, and what ``base`` answered first."""
    found = []
    for i, question in enumerate(questions):
        score = Score(float(mine.right[i].mean()), reference=1.0)
        data: dict[str, Any] = {
            "prompt": question.prompt,
            "answer": question.answer,
            "answers": list(mine.replies[i]),
        }
        if base is not None:
            data |= {"untouched_answers": list(base.replies[i]), "untouched_right": float(base.right[i].mean())}
        found.append(Trace(question.id, question.id, "answer", mine.replies[i][0], score, data))
    return found
