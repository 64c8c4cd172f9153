"""Judging between the stages of the story: held-out texts and held-out problems, beside the untouched model."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backcast.core.files import write_atomic, write_json
from backcast.core.run import Gap, Plan, Run, StageResult, Table, View
from backcast.core.vitals import Vital
from backcast.learn.questions import Question
from backcast.learn.rates import Rates, pass_rates, rate_gap, rate_traces
from backcast.lm.base import Sampling
from backcast.reasons.pairs import Pair
from backcast.reasons.writing import OwnThinking, own_thinking, writing_result, writing_traces
from backcast.recipes import reer
from backcast.recipes.estimate import Work, memory
from backcast.recipes.story_train import problems_file

if TYPE_CHECKING:
    from backcast.recipes.story import Settings

STORED = "judged.json"
"""What a judgement found, for those that come after it."""


@dataclass(frozen=True)
class Judged:
    """One model under the same questions as all others of the run."""

    name: str
    megabytes: float
    texts: OwnThinking
    """The held-out texts, scored by the model itself."""
    second: OwnThinking | None
    """The same, scored by another model, if the run has one at hand."""
    problems: Rates

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        second = None if self.second is None else _plain(self.second)
        said = {"name": self.name, "megabytes": self.megabytes}
        return {**said, "texts": _plain(self.texts), "second": second, "problems": self.problems.to_dict()}

    @classmethod
    def read(cls, path: Path) -> "Judged":
        """The inverse of ``to_dict``, from a file."""
        record = json.loads(path.read_text())
        second = None if record["second"] is None else _thinking(record["second"])
        texts, problems = _thinking(record["texts"]), Rates.from_dict(record["problems"])
        return cls(record["name"], record["megabytes"], texts, second, problems)


@dataclass
class Judge:
    """Judges the models of a run as they come; the first is the one that the others are set against."""

    run: Run
    settings: "Settings"
    texts: Sequence[Pair]
    problems: Sequence[Question]
    before: list[Path] = field(default_factory=list)
    """The files of the judgements so far."""

    def __call__(self, name: str, model: str, last: bool = False) -> None:
        """The stage ``judge-NAME``: what the model of stage ``name`` makes of the held-out texts and problems."""
        settings = self.settings
        names = [model, *filter(None, [second_opinion(settings)])]
        keys = ("judging", "held_out_limit", "answers", "temperature")
        mark = {key: str(getattr(settings, key)) for key in keys}
        asked = [settings.grpo.longest, [question.id for question in self.problems]]
        inputs = [reer.pairs_file(settings.held_out, "heldout"), problems_file(settings.problems), *self.before]
        stage = self.run.stage(
            f"judge-{name}",
            lambda folder: self._work(folder, name, model, last),
            {**mark, "asked": asked, "models": [reer.model_mark(one)[1:] for one in names], "last": last},
            inputs,
        )
        self.before.append(stage.folder / STORED)

    def _work(self, folder: Path, name: str, model: str, last: bool) -> StageResult:
        mine = self._judged(name, model)
        folder.mkdir(parents=True, exist_ok=True)
        earlier = [Judged.read(path) for path in self.before]
        result = StageResult(gaps=self._gaps(mine, earlier), vitals=self._vitals(mine))
        if last:
            result = replace(result, tables=[_table([*earlier, mine])], views=self._traces(folder, mine, earlier[0]))
        write_json(folder / STORED, mine.to_dict())
        return result

    def _judged(self, name: str, model: str) -> Judged:
        import backcast.compress  # noqa: F401  (packed folders load with it)

        how, settings = self.settings.judging, self.settings
        lm, other = reer.load(model, settings.cache), second_opinion(settings)
        texts = own_thinking(self.texts, lm, how)
        second = None if other is None else own_thinking(self.texts, lm, how, reer.load(other, settings.cache))
        sampling = Sampling(settings.temperature, max_tokens=settings.grpo.longest, seed=settings.grpo.seed)
        return Judged(name, _megabytes(model), texts, second, pass_rates(lm, self.problems, settings.answers, sampling))

    def _gaps(self, mine: Judged, earlier: Sequence[Judged]) -> list[Gap]:
        """Problems first, then texts: a rule has the last word on the former, the models themselves on the latter."""
        seed, name = self.settings.judging.seed, mine.name
        if not earlier:
            rows = writing_result(mine.texts, None, "the model itself", seed).gaps
            return [rate_gap(name, mine.problems, None, seed, "untouched model"), *_of(name, rows)]
        start, previous = earlier[0], earlier[-1]
        rows = writing_result(mine.texts, start.texts, "each model itself", seed).gaps
        if mine.second is not None and start.second is not None:
            other = str(second_opinion(self.settings))
            rows = [*rows, writing_result(mine.second, start.second, other, seed).gaps[0]]
        if previous is not start:  # how thinking and no thinking compare is told once, where thinking is learnt
            rows = [rows[0], *rows[4:]]
        found = [rate_gap(name, mine.problems, start.problems, seed), *_of(name, rows)]
        if previous is start:
            return found
        note = f"against the model of stage {previous.name}"
        step = writing_result(mine.texts, previous.texts, "", seed).gaps[0]
        return [
            *found,
            replace(step, stage=name, note=note),
            rate_gap(name, mine.problems, previous.problems, seed, note),
        ]

    def _vitals(self, mine: Judged) -> list[Vital]:
        share = float(mine.problems.right.mean())
        meaning = "share of right answers to held-out problems; near 0 or 1 there is nothing to learn from"
        return [
            *writing_result(mine.texts, None, "").vitals,
            Vital("problems/pass rate", share, 0.02, 0.98, meaning),
        ]

    def _traces(self, folder: Path, mine: Judged, start: Judged) -> list[View]:
        files = {
            "judge": ("texts.jsonl", writing_traces(self.texts, mine.texts, start.texts)),
            "answer": ("answers.jsonl", rate_traces(self.problems, mine.problems, start.problems)),
        }
        for name, traces in files.values():
            write_atomic(folder / name, "".join(trace.to_json() + "\n" for trace in traces))
        return [View(kind, f"{folder.name}/{name}") for kind, (name, _) in files.items()]


def plan_line(settings: "Settings", texts: Sequence[Pair], problems: Sequence[Question]) -> Callable[[str], Plan]:
    """What a judgement is expected to take, as a function of the stage judged."""
    thinking = len(texts) * settings.judging.samples * settings.judging.thinking_tokens
    answered = len(problems) * settings.answers * settings.grpo.longest * 0.6
    scored = len(texts) * (2 + settings.judging.samples) * 450 + len(problems) * 100
    seconds = Work(sampled=thinking + answered, scored=scored).seconds(settings.model)
    what = f"{len(texts)} held-out texts, {len(problems)} held-out problems"
    return lambda name: Plan(f"judge-{name}", what, seconds, memory(settings.model))


def second_opinion(settings: "Settings") -> str | None:
    """Another model than the one that was trained, if the run has one at hand."""
    return settings.judge or (settings.scorer if settings.scorer != settings.model else None)


def _of(stage: str, gaps: Sequence[Gap]) -> list[Gap]:
    return [replace(gap, stage=stage) for gap in gaps]


def _table(judged: Sequence[Judged]) -> Table:
    rows = [[one.name, one.megabytes, float(one.texts.nll.mean()), float(one.problems.right.mean())] for one in judged]
    columns = ["after", "folder, MB", "NLL of the held-out texts, own thinking", "held-out problems right"]
    return Table("The model after every stage", columns, rows, "intervals and n are in the gap table")


def _megabytes(model: str) -> float:
    from backcast.lm.models import resolve

    return sum(path.stat().st_size for path in resolve(model).iterdir() if path.is_file()) / 1e6


def _plain(texts: OwnThinking) -> dict[str, Any]:
    values = asdict(texts)
    return {key: value.tolist() if isinstance(value, np.ndarray) else value for key, value in values.items()}


def _thinking(record: dict[str, Any]) -> OwnThinking:
    arrays = {key: np.array(record[key]) for key in ("nll", "plain", "empty", "closed", "repetition")}
    thinking = tuple(tuple(some) for some in record["thinking"])
    return OwnThinking(ids=tuple(record["ids"]), thinking=thinking, **arrays)
