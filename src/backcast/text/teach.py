"""Questions as the trainer takes them, the rule reward, and the judgement of what training brought."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backcast.core import stats
from backcast.core.run import Gap, StageResult, Table, View
from backcast.core.trace import Trace, TraceLog
from backcast.core.vitals import Vital
from backcast.lm.base import LM, Sampling
from backcast.text.answers import Answers, asked, baselines, by_generation, by_likelihood
from backcast.text.problems.question import Question
from backcast.text.score import judge, option_reward

METRIC = "1 - accuracy"


@dataclass(frozen=True)
class Taught:
    """A question as a training stage asks for it (``learn.questions.Asked``)."""

    question: Question

    @property
    def id(self) -> str:
        """The question's id."""
        return self.question.id

    @property
    def prompt(self) -> str:
        """Context, question, options, and how to answer."""
        return asked(self.question)

    @property
    def answer(self) -> str:
        """The letter, or the answer itself."""
        return self.question.answer

    def right(self, text: str) -> bool:
        """Whether a reply ends in the right answer."""
        return judge(self.question, text).value == 1.0

    def row(self, chat: bool) -> dict[str, Any]:
        """The row of a data set: prompt, answer, kind and options."""
        prompt = [{"role": "user", "content": self.prompt}] if chat else self.prompt
        return {
            "prompt": prompt,
            "answer": self.answer,
            "kind": self.question.kind,
            "options": list(self.question.options),
        }


def rule_reward(
    completions: Sequence[Any], answer: Sequence[str], kind: Sequence[str], options: Sequence[Any], **_: Any
) -> list[float]:
    """1.0 for a right answer by the rule of its kind, else 0.0: AlphaMed's whole reward. TRL's signature."""
    found = []
    for given, known, rule, texts in zip(completions, answer, kind, options, strict=True):
        if rule == "choice":
            found += option_reward([given], [known], [texts or ()])
        else:
            said = given if isinstance(given, str) else str(given[-1]["content"])
            found.append(float(judge(Question("", "", known, rule), said).value == 1.0))  # type: ignore[arg-type]
    return found


@dataclass(frozen=True)
class Examination:
    """How models are judged before and after."""

    answer_tokens: int = 256
    """Most tokens of a written answer."""
    likelihood: bool = True
    """Also weigh the options by the likelihood of their letters, which needs no form to be kept."""
    limit: int | None = 200
    """Most questions of each set that are answered in writing; none: all. Likelihoods are taken on all."""
    seed: int = 0
    """Of the bootstrap."""

    def __post_init__(self) -> None:
        if self.answer_tokens < 1 or (self.limit is not None and self.limit < 1):
            raise ValueError("answer-tokens and limit must be at least 1")


def examine(
    folder: Path, models: tuple[LM, LM], sets: Mapping[str, Sequence[Question]], how: Examination
) -> StageResult:
    """Both models (after, before) answer every set: paired gaps, unparsed answers, and what blind answering gets."""
    gaps, vitals, rows = [], [], []
    (folder / "traces.jsonl").unlink(missing_ok=True)
    log = TraceLog(folder / "traces.jsonl")
    for name, questions in sets.items():
        pairs = [_written(models, questions, how)]
        choices = [question for question in questions if question.kind == "choice"]
        if how.likelihood and choices:
            pairs.append((by_likelihood(choices, models[0]), by_likelihood(choices, models[1])))
        for after, before in pairs:
            gaps.append(_gap(name, after, before, how.seed))
            rows.append(_row(name, after, before))
        log.append(_traces(name, pairs[0][0]))
        vitals.append(_unparsed(name, *pairs[0]))
    columns = ["set", "by", "n", "random", "majority", "before", "after", "unparsed before", "unparsed after"]
    return StageResult(
        gaps=gaps,
        vitals=vitals,
        tables=[Table("Accuracy beside answering blindly", columns, rows)],
        views=[View("answer", f"{folder.name}/traces.jsonl")],
    )


def _written(models: tuple[LM, LM], questions: Sequence[Question], how: Examination) -> tuple[Answers, Answers]:
    sampling = Sampling(0.0, 1.0, how.answer_tokens)
    some = questions[: how.limit]
    return by_generation(some, models[0], sampling), by_generation(some, models[1], sampling)


def _unparsed(name: str, after: Answers, before: Answers) -> Vital:
    share, earlier = (found.unparsed / len(found.questions) for found in (after, before))
    meaning = f"Answers of the trained model that cannot be read; before training {earlier:.3f}."
    return Vital(f"judge/unparsed, {name}", share, None, 0.2, meaning)


def _gap(name: str, after: Answers, before: Answers, seed: int) -> Gap:
    change = stats.paired(1 - after.right, 1 - before.right, seed)
    values = (float(1 - before.right.mean()), float(1 - after.right.mean()))
    return Gap("judge", f"{METRIC}, {name}, by {after.how}", *values, change.low, change.high, change.n, paired=True)


def _row(name: str, after: Answers, before: Answers) -> list[Any]:
    blind = baselines(after.questions)
    share = [found.accuracy().value for found in (before, after)]
    return [name, after.how, len(after.questions), *blind.values(), *share, before.unparsed, after.unparsed]


def _traces(name: str, answers: Answers) -> list[Trace]:
    rows = zip(answers.questions, answers.replies, strict=True)
    found = []
    for question, reply in rows:
        record = {"prompt": asked(question), "answer": question.answer, "set": name}
        found.append(Trace(f"{name}/{question.id}", question.id, "answer", reply, judge(question, reply), record))
    return found
