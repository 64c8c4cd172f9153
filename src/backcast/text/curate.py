"""Choosing the questions that still teach (AlphaMed): label difficulty with a model, then draw a balanced set.

Difficulty is a model's own: n answers to each question at temperature 1, and how many are right. What was labelled with
another model, prompt or temperature is another label.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean
from typing import Any

from backcast.core.files import write_atomic
from backcast.core.progress import Progress
from backcast.core.run import Curve, StageResult, Table, View
from backcast.core.trace import Trace, TraceLog
from backcast.core.vitals import Vital, must_act
from backcast.lm.base import LM, Prompt, Sampling
from backcast.text.answers import asked
from backcast.text.pool import Draw, Labelled, draw, duplicates, summary
from backcast.text.problems.question import Question
from backcast.text.score import judge

TRACES = "traces.jsonl"


@dataclass(frozen=True)
class Curation:
    """How questions are labelled and drawn; n = 5 and six levels are AlphaMed's, by a secondary source."""

    answers: int = 5
    """Answers drawn per question, n; levels are n + 1 - (right ones), so 1 to n + 1."""
    temperature: float = 1.0
    """Of these answers (unknown in the paper; ours)."""
    answer_tokens: int = 256
    """Most tokens of one answer."""
    per_level: int = 200
    """Questions drawn of each level (1,200 in six levels, as each of AlphaMed's subsets has)."""
    levels: tuple[int, ...] = ()
    """Levels that are drawn from, 1 (always right) to answers + 1 (never); none named: all."""
    group: int = 8
    """Answers per question in training, for the forecast of effective groups."""
    duplicate_share: float = 0.8
    """Two questions that share so much of their 3-grams are one; 1 keeps all but equal ones."""
    as_given: bool = False
    """Put questions as they are, without a word on the form of the answer (not for choices)."""
    batch: int = 16
    """Questions answered together."""
    seed: int = 0
    """Of answers and draw."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int and field.name != "seed" and value < 1:
                raise ValueError(f"{field.name} must be at least 1, found {value}")
        if self.group < 2:
            raise ValueError(f"group must be at least 2, found {self.group}: one answer has nothing to compare with")
        top = self.answers + 1
        if not all(1 <= level <= top for level in self.levels):
            raise ValueError(f"levels must lie in 1..{top} for {self.answers} answers, found {list(self.levels)}")
        if not 0 < self.duplicate_share <= 1:
            raise ValueError(f"duplicate_share must lie in (0, 1], found {self.duplicate_share}")

    @property
    def band(self) -> tuple[int, ...]:
        """The levels that are drawn from, each once, in order."""
        return tuple(sorted(set(self.levels))) or tuple(range(1, self.answers + 2))


def label_stage(
    folder: Path, questions: Sequence[Question], model: LM, settings: Curation, note: str = ""
) -> StageResult:
    """Lets the model answer each question ``answers`` times, keeps the answers as traces, and counts.

    For use as the work of ``Run.stage``: questions whose trace is on disk are not asked again.
    """
    log = TraceLog(folder / TRACES)
    repeated = duplicates(questions, settings.duplicate_share)
    kept = [question for question in questions if question.id not in repeated]
    done = {trace.problem for trace in log}
    left = [question for question in kept if question.id not in done]
    with Progress("labelling questions", len(kept)) as progress:
        progress.advance(len(kept) - len(left))
        for start in range(0, len(left), settings.batch):
            some = left[start : start + settings.batch]
            log.append(_label(some, model, settings))
            progress.advance(len(some))
    pool = read_labels(folder, kept)
    said = summary(pool, settings.group)
    unread = sum(one.unparsed for one in pool) / sum(one.n for one in pool)
    return StageResult(
        vitals=_vitals(said, unread),
        curves=[_curve(pool, settings)],
        tables=_tables(said, repeated),
        views=[View("answer", f"{folder.name}/{TRACES}")],
        lineage=[
            f"{len(questions)} questions, {len(repeated)} near-duplicates left out; {settings.answers} answers each by "
            f"{model.name} at temperature {settings.temperature:g} -> levels 1 to {settings.answers + 1}",
            *filter(None, [note]),
        ],
        outputs={"pool": said, "duplicates": repeated, "unparsed_rate": unread},
    )


def read_labels(folder: Path, questions: Sequence[Question]) -> list[Labelled]:
    """The labels that ``label_stage`` left in ``folder``, in the order of ``questions``."""
    found = {trace.problem: trace.data for trace in TraceLog(folder / TRACES)}
    rows = [(question, found[question.id]) for question in questions if question.id in found]
    return [Labelled(q, row["correct"], row["n"], row["unparsed"], row["tokens"]) for q, row in rows]


def draw_stage(folder: Path, pool: Sequence[Labelled], settings: Curation) -> StageResult:
    """Draws the balanced set and writes it as ``questions.jsonl`` into ``folder``, each with level and count."""
    drawn = draw(pool, settings.per_level, settings.band, settings.seed)
    must_act("curation", len(drawn.chosen), len(pool))
    picture = _picture(pool, drawn, settings)
    counts = [{"correct": one.correct, "answers": one.n} for one in drawn.chosen]
    rows = [{**question.row(), **count} for question, count in zip(drawn.questions(), counts, strict=True)]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "questions.jsonl", "".join(lines))
    write_atomic(folder / "pool.svg", picture)
    said = summary(drawn.chosen, settings.group)
    return StageResult(
        vitals=[
            Vital(
                "curated/effective share",
                said["effective"]["expected"],  # type: ignore[index]
                0.2,
                None,
                f"Expected share of groups of {settings.group} with right and wrong answers; near 0, little is learnt.",
            )
        ],
        tables=[_shortfall(drawn, settings)],
        pictures=[f"{folder.name}/pool.svg"],
        lineage=[f"{len(drawn.chosen)} questions of levels {_band(settings)} -> {folder.name}/questions.jsonl"],
        outputs={
            "drawn": said,
            "missing": {str(k): v for k, v in drawn.missing.items()},
            "questions": str(folder / "questions.jsonl"),
        },
    )


def _label(questions: Sequence[Question], model: LM, settings: Curation) -> list[Trace]:
    sampling = Sampling(settings.temperature, 1.0, settings.answer_tokens, settings.seed)
    texts = [_put(question, settings) for question in questions]
    prompts = [Prompt((("user", text),)) for text in texts]
    traces = []
    for question, text, drawn in zip(questions, texts, model.sample(prompts, settings.answers, sampling), strict=True):
        scores = [judge(question, one.text) for one in drawn]
        record = {
            "correct": int(sum(score.value or 0.0 for score in scores)),
            "n": len(scores),
            "unparsed": int(sum(score.parts["unparsed"] or 0.0 for score in scores)),
            "tokens": fmean(one.tokens for one in drawn),
            "answers": [one.text for one in drawn],
            "right": question.answer,
            "model": model.name,
            "fingerprint": model.fingerprint,
            "temperature": settings.temperature,
            "prompt": text,
        }
        first = next((i for i, score in enumerate(scores) if score.value), 0)
        traces.append(Trace(question.id, question.id, "answer", drawn[first].text, scores[first], record))
    return traces


def _put(question: Question, settings: Curation) -> str:
    bare = settings.as_given and question.kind != "choice"
    return question.prompt("") if bare else asked(question)


def _vitals(said: dict[str, Any], unread: float) -> list[Vital]:
    return [
        Vital("pool/pass rate", said["pass_rate"], 0.02, 0.98, "Share of right answers; at 0 or 1 no level differs."),
        Vital("pool/unparsed", unread, None, 0.5, "Answers without a readable choice; high, it measures form."),
        Vital(
            "pool/effective share",
            said["effective"]["expected"],
            0.1,
            None,
            "Expected share of groups that hold right and wrong answers, before any choice.",
        ),
    ]


def _curve(pool: Sequence[Labelled], settings: Curation) -> Curve:
    """The forecast for other group sizes: how many answers a question needs before it teaches."""
    from backcast.text.pool import forecast

    sizes = sorted({2, 4, 8, 16, 32, settings.group})
    found = {name: [[g, forecast(pool, g)[name] or 0.0] for g in sizes] for name in ("plain", "expected")}
    return Curve("Effective groups", "answers per question", "share with right and wrong answers", found)


def _tables(said: dict[str, Any], repeated: dict[str, str]) -> list[Table]:
    by_level = said["effective_by_level"]
    levels = [[level, count, by_level.get(level)] for level, count in said["levels"].items()]
    rows = [[name, count, count / said["n"]] for name, count in list(said["subjects"].items())[:30]]
    return [
        Table("Levels", ["level (1: all right)", "questions", "groups that will teach, expected"], levels),
        Table("Subjects", ["subject", "questions", "share"], rows, f"entropy {said['subject_entropy']:.3f} nats"),
        Table("Right answers by letter", ["letter", "questions"], [[k, v] for k, v in said["letters"].items()]),
        Table("Near-duplicates left out", ["question", "repeats"], [[k, v] for k, v in list(repeated.items())[:50]]),
    ]


def _shortfall(drawn: Draw, settings: Curation) -> Table:
    counts = {level: sum(one.level == level for one in drawn.chosen) for level in settings.band}
    rows = [[level, settings.per_level, count, drawn.missing.get(level, 0)] for level, count in counts.items()]
    return Table("Drawn", ["level", "asked for", "drawn", "missing"], rows)


def _picture(pool: Sequence[Labelled], drawn: Draw, settings: Curation) -> str:
    from backcast.report.bars import Bar, bars
    from backcast.text.pool import forecast

    rows = []
    for level in range(1, settings.answers + 2):
        here = [one for one in pool if one.level == level]
        teaches = forecast(here, settings.group)["expected"]
        note = "" if teaches is None else f"{teaches:.0%} will teach"
        rows.append(Bar(f"level {level}", len(here), sum(one.level == level for one in drawn.chosen), note))
    return bars(f"The pool by difficulty; dark: drawn ({len(drawn.chosen)} of {len(pool)})", rows)


def _band(settings: Curation) -> str:
    return ", ".join(map(str, settings.band))
