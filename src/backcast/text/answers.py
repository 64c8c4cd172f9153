"""A model's answers to questions: by what it writes, or by how likely it finds each option."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from typing import Any, Literal, TypeVar

import numpy as np

from backcast.core import stats
from backcast.core.errors import BadInput
from backcast.core.parallel import pmap
from backcast.lm.base import LM, Completion, Prompt, Sampling, Scoring
from backcast.text.problems.question import Question, refuse_free
from backcast.text.score import choose, judge

Form = Literal["letter", "text"]

ASK_LETTER = "Answer with the letter of the right option."
ASK_TEXT = "Answer with the text of the right option."
OPENING = "The answer is"
"""How the assistant's turn begins when options are scored by their likelihood."""


@dataclass(frozen=True)
class Answers:
    """One model's answers; every field is in the questions' order."""

    questions: tuple[Question, ...]
    how: str
    """``generation``, ``likelihood of the letter`` or ``likelihood of the text``."""
    right: np.ndarray
    """float64, shape (n,): 1.0 or 0.0; an unparsed answer is 0.0."""
    chosen: tuple[str | None, ...]
    """The letter (or stated answer); None where nothing could be read."""
    tokens: np.ndarray | None = None
    """Tokens written, shape (n,); None where nothing was."""
    replies: tuple[str, ...] = field(default=(), repr=False)
    nll: tuple[tuple[float, ...], ...] = field(default=(), repr=False)
    """Per option, of a likelihood: nats per token."""

    @property
    def unparsed(self) -> int:
        """Answers in which nothing could be read."""
        return sum(chosen is None for chosen in self.chosen)

    def accuracy(self) -> stats.Interval:
        """The share of right answers with its Wilson interval."""
        return stats.wilson(int(self.right.sum()), len(self.right))

    def by(self, key: Callable[[Question], Any]) -> dict[str, dict[str, Any]]:
        """Accuracy with its interval for every value of ``key`` (a subject, a level) that is not empty."""
        groups: dict[str, list[float]] = {}
        for question, right in zip(self.questions, self.right, strict=True):
            name = key(question)
            if name not in ("", None):
                groups.setdefault(str(name), []).append(float(right))
        found = {name: stats.wilson(int(sum(some)), len(some)) for name, some in sorted(groups.items())}
        return {name: {"value": i.value, "low": i.low, "high": i.high, "n": i.n} for name, i in found.items()}


def by_generation(
    questions: Sequence[Question],
    model: LM,
    sampling: Sampling,
    boxed: bool = True,
    ask: Callable[[Question], str] | None = None,
) -> Answers:
    """Lets the model write an answer to each question and reads it (``score.judge``); ``ask`` words the question.

    Raises BadInput for a ``free`` question.
    """
    refuse_free(questions)
    ask = ask or asked
    prompts = _chunks([Prompt((("user", ask(question)),)) for question in questions])
    drawn = list(chain(*pmap(partial(_write, model, sampling), prompts, label=f"{model.name} answers", size=len)))
    scores = [judge(question, one.text, boxed) for question, one in zip(questions, drawn, strict=True)]
    chosen = [
        choose(one.text, question.options, boxed)
        if question.kind == "choice"
        else (None if score.parts.get("unparsed") else one.text)
        for question, one, score in zip(questions, drawn, scores, strict=True)
    ]
    return Answers(
        questions=tuple(questions),
        how="generation",
        right=np.array([score.value or 0.0 for score in scores]),
        chosen=tuple(chosen),
        tokens=np.array([one.tokens for one in drawn]),
        replies=tuple(one.text for one in drawn),
    )


Asked = TypeVar("Asked")


def _chunks(some: Sequence[Asked]) -> list[Sequence[Asked]]:
    """Sixteen at a time, wherever they are worked on: what is in a batch decides the last bits of its results."""
    return [some[start : start + 16] for start in range(0, len(some), 16)]


def _write(model: LM, sampling: Sampling, prompts: Sequence[Prompt]) -> list[Completion]:
    return [completions[0] for completions in model.sample(prompts, 1, sampling)]


def _weigh(model: LM, items: Sequence[Scoring]) -> list[tuple[float, ...]]:
    return [tuple(row.nll for row in rows) for rows in model.logprobs(items)]


def asked(question: Question) -> str:
    """The question as it is put to a model that is to write its answer."""
    if question.kind == "choice":
        return question.prompt()
    return question.prompt(r"Reason step by step, then put the final answer into \boxed{}.")


def by_likelihood(questions: Sequence[Question], model: LM, form: Form = "letter") -> Answers:
    """Takes the option that the model finds likeliest, as its letter or as its full text (mean per token).

    The options of a question share its prompt, which is computed once. Equal likelihoods go to the first option.
    Raises BadInput for a question that is no choice.
    """
    if other := next((question for question in questions if question.kind != "choice"), None):
        raise BadInput(f"question '{other.id}' is no choice; only options have likelihoods to compare")
    asked = _chunks([scoring(question, form) for question in questions])
    nll = list(chain(*pmap(partial(_weigh, model), asked, label=f"{model.name} weighs options", size=len)))
    chosen = tuple(q.letters[int(np.argmin(row))] for q, row in zip(questions, nll, strict=True))
    right = np.array([float(letter == q.answer) for letter, q in zip(chosen, questions, strict=True)])
    return Answers(tuple(questions), f"likelihood of the {form}", right, chosen, nll=tuple(nll))


def scoring(question: Question, form: Form) -> Scoring:
    """What is asked of a model to weigh the options of one question."""
    ask = ASK_LETTER if form == "letter" else ASK_TEXT
    texts = question.letters if form == "letter" else question.options
    prompt = Prompt((("user", question.prompt(ask)),), OPENING)
    # From 1 on: a token that holds the space alone says nothing of the option.
    return Scoring(prompt, tuple(f" {text}" for text in texts), (1,) * len(texts))


def baselines(questions: Sequence[Question]) -> dict[str, float | None]:
    """What answering without reading gets: a letter at random, and the commonest letter of this set every time."""
    choices = [question for question in questions if question.kind == "choice"]
    if not choices:
        return {"random": None, "majority": None}
    counts: dict[str, int] = {}
    for question in choices:
        counts[question.answer] = counts.get(question.answer, 0) + 1
    chance = float(np.mean([1 / len(question.options) for question in choices]))
    return {"random": chance, "majority": max(counts.values()) / len(choices)}


def figures(answers: Answers) -> dict[str, Any]:
    """The object of ``--json``: metric, value, interval, n, unparsed, and what stands beside them."""
    found = answers.accuracy()
    parts: Mapping[str, Any] = {
        **baselines(answers.questions),
        "unparsed_rate": answers.unparsed / len(answers.questions),
        "mean_tokens": None if answers.tokens is None else float(answers.tokens.mean()),
    }
    return {
        "metric": f"accuracy, by {answers.how}",
        "value": found.value,
        "low": found.low,
        "high": found.high,
        "n": found.n,
        "unparsed": answers.unparsed,
        "parts": dict(parts),
        "subjects": answers.by(lambda question: question.subject),
        "levels": answers.by(lambda question: question.level),
    }
