"""Which questions to train on: the same budget on sets that differ in amount, variety or difficulty.

These are AlphaMed's three guided questions, at whatever scale there is. Every arm is compared with ``mixed`` on the
same held-out questions.
"""

import json
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from backcast.core import stats
from backcast.core.errors import BadInput, nearest
from backcast.core.files import write_atomic
from backcast.core.run import Gap, StageResult, Table
from backcast.core.vitals import Vital
from backcast.lm.base import LM, Sampling
from backcast.text.answers import Answers, baselines, by_generation, by_likelihood
from backcast.text.pool import Draw, Labelled, entropy, forecast, taking_turns
from backcast.text.problems.question import Question
from backcast.text.teach import METRIC, Examination

MIXED = "mixed"
ARMS = {
    MIXED: "every level in turn, subjects taking turns",
    "few": "amount: the first quarter of mixed",
    "narrow": "variety: the commonest subject alone, every level in turn",
    "easy": "difficulty: the easier half of the levels",
    "hard": "difficulty: the harder half of the levels",
}
"""The arms, and what each asks."""


def check_arms(arms: Sequence[str]) -> None:
    """Raises ValueError for an arm that is not known, that comes twice, or without ``mixed`` and another."""
    if unknown := [arm for arm in arms if arm not in ARMS]:
        raise ValueError(f"unknown arm '{unknown[0]}'{nearest(unknown[0], ARMS)}; known: {', '.join(ARMS)}")
    if MIXED not in arms or len(arms) < 2 or len(set(arms)) < len(arms):
        raise ValueError(f"arms must be '{MIXED}' and others to compare with it, each once; found {', '.join(arms)}")


def arm_sets(pool: Sequence[Labelled], arms: Sequence[str], size: int, seed: int = 0) -> dict[str, list[Labelled]]:
    """The questions of each arm, at most ``size``, drawn by ``seed``.

    Raises BadInput for an arm without questions, or with the very questions of ``mixed``: it would compare nothing.
    """
    mixed = balanced(pool, size, seed)
    subjects = Counter(one.question.subject for one in pool if one.question.subject)
    common = max(subjects, key=lambda name: (subjects[name], name), default=None)
    half = (max((one.n for one in pool), default=0) + 1) // 2
    rules: dict[str, list[Labelled]] = {
        MIXED: mixed,
        "few": mixed[: max(1, size // 4)],
        "narrow": balanced([one for one in pool if common and one.question.subject == common], size, seed),
        "easy": balanced([one for one in pool if one.level <= half], size, seed),
        "hard": balanced([one for one in pool if one.level > half], size, seed),
    }
    known = {one.question.id for one in mixed}
    for arm in arms:
        if not rules[arm]:
            raise BadInput(f"arm '{arm}' ({ARMS[arm]}) finds no question in this pool; leave it out with --arms")
        if arm != MIXED and {one.question.id for one in rules[arm]} == known:
            raise BadInput(f"arm '{arm}' has the questions of '{MIXED}'; give a smaller --size or leave it out")
    return {arm: rules[arm] for arm in arms}


def balanced(pool: Sequence[Labelled], size: int, seed: int = 0) -> list[Labelled]:
    """``size`` questions, the levels in turn; within one, subjects take turns. Every beginning is balanced."""
    levels = []
    for level in sorted({one.level for one in pool}):
        here = [one for one in pool if one.level == level]
        random.Random(f"{seed}/{level}").shuffle(here)
        levels.append(taking_turns(here))
    longest = max(map(len, levels), default=0)
    return [some[i] for i in range(longest) for some in levels if i < len(some)][:size]


def sets_stage(folder: Path, sets: Mapping[str, Sequence[Labelled]], size: int, group: int) -> StageResult:
    """Writes each arm's questions as ``ARM.jsonl`` into ``folder``, and says how the arms differ."""
    folder.mkdir(parents=True, exist_ok=True)
    for arm, some in sets.items():
        lines = [json.dumps(one.row(), ensure_ascii=False) + "\n" for one in Draw(tuple(some), {}).questions()]
        write_atomic(folder / f"{arm}.jsonl", "".join(lines))
    columns = ["arm", "what it asks", "questions", "missing", "mean level", "subject entropy", "groups that will teach"]
    rows = [
        [arm, ARMS[arm], len(some), max(0, wanted(arm, size) - len(some)), *made_of(some, group)]
        for arm, some in sets.items()
    ]
    return StageResult(
        tables=[
            Table("The arms", columns, rows, "entropy in nats; groups: expected share with right and wrong answers")
        ],
        lineage=[f"{len(sets)} arms of at most {size} questions -> {folder.name}/"],
        outputs={arm: [one.question.id for one in some] for arm, some in sets.items()},
    )


def wanted(arm: str, size: int) -> int:
    """How many questions an arm should have."""
    return max(1, size // 4) if arm == "few" else size


def made_of(some: Sequence[Labelled], group: int) -> list[float | None]:
    """Mean level, subject entropy (nats) and expected share of effective groups."""
    names = [one.question.subject for one in some]
    return [fmean(one.level for one in some), entropy(names), forecast(some, group)["expected"]]


def answer(model: LM, questions: Sequence[Question], how: Examination) -> list[Answers]:
    """A model's answers in writing to the first ``how.limit`` questions and, if asked, by likelihood to all choices."""
    found = [by_generation(questions[: how.limit], model, Sampling(0.0, 1.0, how.answer_tokens))]
    choices = [question for question in questions if question.kind == "choice"]
    if how.likelihood and choices:
        found.append(by_likelihood(choices, model))
    return found


def compare_stage(
    folder: Path, before: Sequence[Answers], after: Mapping[str, Sequence[Sequence[Answers]]], seed: int = 0
) -> StageResult:
    """Each arm against the untrained model and against ``mixed``, by every way of answering.

    ``after`` holds, by arm, the answers of each seed's model. An arm's score on a question is the mean over its seeds,
    so intervals are over questions, given these seeds.
    """
    from backcast.report.forest import Estimate, forest

    gaps, rows, pictures, vitals = [], [], [], []
    for i, start in enumerate(before):
        scores = {arm: np.mean([runs[i].right for runs in seeds], axis=0) for arm, seeds in after.items()}
        estimates = []
        for arm, right in scores.items():
            change = stats.paired(1 - right, 1 - start.right, seed)
            name = f"{METRIC}, {arm}, by {start.how}"
            shares = (float(1 - start.right.mean()), float(1 - right.mean()))
            gaps.append(Gap("compare", name, *shares, change.low, change.high, change.n, paired=True))
            beside = stats.paired(right, scores[MIXED], seed)
            each = " ".join(f"{runs[i].right.mean():.3f}" for runs in after[arm])
            shown = [None, None, None] if arm == MIXED else [beside.value, beside.low, beside.high]
            rows.append([arm, start.how, len(right), float(start.right.mean()), float(right.mean()), each, *shown])
            if arm != MIXED and beside.value is not None:
                estimates.append(Estimate(arm, beside.value, beside.low, beside.high))
        picture = folder / f"arms-{i + 1}.svg"
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(
            picture, forest(f"Accuracy above '{MIXED}', by {start.how}", estimates, "difference, 95 % interval")
        )
        pictures.append(f"{folder.name}/{picture.name}")
    for arm, seeds in after.items():
        unread = fmean(runs[0].unparsed / len(runs[0].questions) for runs in seeds)
        vitals.append(
            Vital(f"judge/unparsed, {arm}", unread, None, 0.2, "Answers of the arm's models that cannot be read.")
        )
    columns = ["arm", "by", "n", "before", "after", "each seed", f"above {MIXED}", "low", "high"]
    blind = baselines(before[0].questions)
    note = ", ".join(f"{name} {value:.3f}" for name, value in blind.items() if value is not None)
    note = f"Intervals over questions, of the mean over seeds. Blind: {note or 'no choices'}."
    table = Table(f"Arms beside '{MIXED}'", columns, rows, note)
    return StageResult(
        gaps=gaps, vitals=vitals, tables=[table], pictures=pictures, outputs={"arms": _plain(columns, rows)}
    )


def _plain(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in rows]
