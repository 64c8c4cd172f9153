"""Question: a text problem with a known answer that a rule can check."""

import hashlib
import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from string import ascii_uppercase
from typing import Any, Literal

from backcast.core.errors import BadInput
from backcast.core.problem import Score

Kind = Literal["choice", "numeric", "exact", "free"]
LETTERS = ascii_uppercase
"""Names of options; a question has 2 to 26."""

BOXED = r"Reason step by step, then put the letter of the right option into \boxed{}."
"""How a multiple-choice question asks for its answer (AlphaMed's prompt, in our words)."""


@dataclass(frozen=True)
class Question:
    """A question and its answer. Made by a reader, which has checked it; by hand, call ``checked()``."""

    id: str
    question: str
    answer: str
    """A letter for ``choice``, else the answer itself."""
    kind: Kind = "choice"
    """``choice``; ``numeric`` and ``exact`` (a formula or a word); ``free``: a text that no rule can judge."""
    options: tuple[str, ...] = ()
    """Texts of the options, A first; only of a ``choice``."""
    context: str = ""
    """What is to be read before the question, such as an abstract."""
    subject: str = ""
    level: int | None = None
    """Difficulty, 1 (easy) to 6, where it is known."""
    item: dict[str, Any] = field(default_factory=dict, compare=False)
    """The other columns of the input."""

    @property
    def letters(self) -> str:
        """The letters of its options, ``"ABCD"`` for four."""
        return LETTERS[: len(self.options)]

    @property
    def right(self) -> str:
        """The text of the right answer."""
        return self.options[LETTERS.index(self.answer)] if self.kind == "choice" else self.answer

    def checked(self) -> "Question":
        """Itself. Raises BadInput for an empty question, fewer than 2 or more than 26 options, an empty option, two
        that read alike, or an answer letter that names none of them."""
        if not self.question.strip():
            raise BadInput("empty question; give a text or remove it")
        if self.kind != "choice":
            if not self.answer.strip():
                raise BadInput("empty answer; every question needs a known one")
            if self.kind == "numeric" and not re.search(r"\d|\\(?:pi|infty|sqrt)|[∞π½]|^-?e$", self.answer):
                raise BadInput(f"answer '{self.answer[:40]}' is no number; give one, or kind exact")
            return self
        if not 2 <= len(self.options) <= len(LETTERS):
            raise BadInput(f"{len(self.options)} options; a choice has 2 to {len(LETTERS)}")
        if empty := [letter for letter, text in zip(self.letters, self.options, strict=True) if not text.strip()]:
            raise BadInput(f"option {empty[0]} is empty; give a text or leave it out")
        seen: dict[str, str] = {}
        for letter, text in zip(self.letters, self.options, strict=True):
            other = seen.setdefault(folded(text), letter)
            if other != letter:
                raise BadInput(f"options {other} and {letter} are the same ('{text.strip()[:40]}'); one must go")
        if self.answer not in self.letters or len(self.answer) != 1:
            raise BadInput(f"answer '{self.answer}' is none of the options {', '.join(self.letters)}")
        return self

    def prompt(self, instruction: str = BOXED) -> str:
        """The question as it is put to a model: context, question, lettered options, instruction."""
        options = "\n".join(f"{letter}. {text}" for letter, text in zip(self.letters, self.options, strict=True))
        return "\n\n".join(part for part in (self.context, self.question, options, instruction) if part)

    def shuffled(self, seed: int) -> "Question":
        """The same question with its options in another order, which ``seed`` and its id decide."""
        if self.kind != "choice":
            return self
        order = list(range(len(self.options)))
        random.Random(_number(self.id, seed)).shuffle(order)
        answer = LETTERS[order.index(LETTERS.index(self.answer))]
        return replace(self, options=tuple(self.options[i] for i in order), answer=answer)

    def score(self, outcome: str) -> Score:
        """1.0 or 0.0 against a reference of 1.0; ``parts`` tells an unparsable reply from a wrong one.

        The value is None for ``free``, which no rule can check.
        """
        from backcast.text.score import judge

        return judge(self, outcome)

    def row(self) -> dict[str, Any]:
        """The plain JSON object that the readers take back."""
        plain = {"id": self.id, "question": self.question, "answer": self.answer, "context": self.context}
        more: dict[str, Any] = {"subject": self.subject, "level": self.level}
        if self.kind == "choice":
            more["options"] = list(self.options)
        else:
            plain["prompt"] = plain.pop("question")
            more["kind"] = self.kind
        return {**plain, **{key: value for key, value in more.items() if value not in ("", None)}}


def folded(text: str) -> str:
    """Case and white space taken out: two texts that read alike are equal."""
    return " ".join(text.split()).casefold()


def refuse_free(questions: Sequence[Question]) -> None:
    """Raises BadInput for a ``free`` question: no rule can judge its answer, and it must not count as wrong."""
    if free := [question.id for question in questions if question.kind == "free"]:
        raise BadInput(
            f"{len(free)} of {len(questions)} questions are of kind free, such as '{free[0]}', "
            "which no rule can judge; leave them out, or judge them as writing"
        )


def by_id(questions: Sequence[Question], where: str) -> dict[str, Question]:
    """The questions by their id; raises BadInput for an id that comes twice."""
    found: dict[str, Question] = {}
    for question in questions:
        if question.id in found:
            raise BadInput(f"{where}: the id '{question.id}' comes twice; ids must differ")
        found[question.id] = question
    return found


def _number(name: str, seed: int) -> int:
    # Python's own hash differs between processes.
    return int.from_bytes(hashlib.sha256(f"{seed}\x1f{name}".encode()).digest()[:8], "big")
