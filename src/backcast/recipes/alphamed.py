"""AlphaMed (2505.17952): reasoning from rules and chosen questions alone, without any worked solution."""

import math
import os
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.core.run import Plan, Run, Stage, StageResult
from backcast.learn.stages import Training
from backcast.recipes import curate, reer
from backcast.recipes.estimate import Work, check, memory
from backcast.text.curate import Curation
from backcast.text.problems import Question, read_questions, refuse_free, refuse_leaks, split, without_leaks
from backcast.text.teach import Examination

FILES, MODELS = ("problems", "test", "out_of_domain"), ("model",)

TRAINING = Training(
    steps=40, prompts=4, group=8, micro=8, learning_rate=1e-5, longest=256, lora=16, measured=64, save_every=5
)
"""40 steps are those of the paper's figures; the rest is ours, sized for a small model on a CPU: the paper's learning
rate, batch and answers per question are not stated where it could be read."""


@dataclass(frozen=True)
class Settings:
    """Difficulty labelled, questions chosen, GRPO on a 0/1 reward, judged in and out of domain."""

    problems: str = ""
    """A question file in any known layout; a share of it is held out and judged as "in domain"."""
    test: str = ""
    """A question file that is only judged on, in place of the held-out share; the training set must hold none of it."""
    out_of_domain: tuple[str, ...] = ()
    """Further question files that are only judged on, each under its own name."""
    model: str = "smollm2"
    """The model to train: alias, folder, .gguf or hub id. It also labels the difficulty."""
    limit: int | None = None
    """Only the first so many problems."""
    curation: Curation = field(default_factory=lambda: Curation(per_level=40))
    """How difficulty is labelled and the training set drawn (200 a level in the paper's subsets; ours: 40)."""
    train: Training = field(default_factory=lambda: TRAINING)
    """GRPO with the 0/1 reward of the right option, and no other."""
    judging: Examination = field(default_factory=Examination)
    """How the model is judged before and after."""
    cache: bool = True
    """Remember every model call of labelling and judging, so that nothing is asked twice."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 4:
            raise ValueError(f"limit must be at least 4, found {self.limit}: some questions are held out")
        if self.curation.group != self.train.group:
            object.__setattr__(self, "curation", replace(self.curation, group=self.train.group))


def plan(settings: Settings) -> list[Plan]:
    """What the stages are expected to take; raises BadInput for questions or a model that cannot be used."""
    check(settings.model)
    learn, sets = questions(settings)
    training, how = settings.train, settings.judging
    labelled = Work(sampled=len(learn) * settings.curation.answers * settings.curation.answer_tokens * 0.6)
    rows = training.steps * training.prompts * training.group
    tokens = rows * (training.longest * 0.6)
    taught = Work(sampled=tokens, trained=tokens * 2)
    judged = sum(min(len(some), how.limit or math.inf) for some in sets.values())
    work = Work(sampled=2 * judged * how.answer_tokens * 0.6, scored=2 * sum(map(len, sets.values())) * 250)
    room = memory(settings.model)
    name = settings.model
    return [
        Plan("label", f"{len(learn)} questions", labelled.seconds(name), room),
        Plan("draw", f"{settings.curation.per_level} of each level", 1, 0.5),
        Plan(
            "grpo",
            f"{training.steps} steps, {rows} answers",
            taught.seconds(settings.model),
            memory(settings.model, True),
        ),
        Plan("judge", f"{judged} questions in {len(sets)} sets, 2 models", work.seconds(settings.model), 2 * room),
    ]


def questions(settings: Settings) -> tuple[list[Question], dict[str, list[Question]]]:
    """(to learn from, sets to judge on by name). Raises BadInput if the former hold any of the latter."""
    found = _read(settings)
    refuse_free(found)
    if settings.test:
        learn, held = found, read_questions(settings.test)
    else:
        learn, held = split(found, settings.train.heldout, settings.train.seed)
        # A file may hold a question twice; then the one that is held out stays, and nothing is learnt from the other.
        learn = without_leaks(learn, held)
    sets = {"in domain": held}
    for name in settings.out_of_domain:
        sets[Path(name).stem] = read_questions(name)
    if len(sets) != 1 + len(settings.out_of_domain):
        raise BadInput("two out-of-domain files have the same name; rename one")
    for some in sets.values():
        refuse_free(some)
        refuse_leaks(learn, some)
    if not learn:
        raise BadInput(f"{settings.problems}: every question repeats a held-out one; give more, or a --test file")
    return learn, sets


def _read(settings: Settings) -> list[Question]:
    if not settings.problems:
        raise BadInput("no problems named; give a question file with --problems")
    return read_questions(settings.problems, settings.curation.seed)[: settings.limit]


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``label``, ``draw``, ``grpo`` and ``judge``; returns the accuracies and the model's folder."""
    learn, sets = questions(settings)
    repeated = 0 if settings.test else len(_read(settings)) - len(learn) - len(sets["in domain"])
    note = f"{repeated} questions left out, which held-out ones repeat" if repeated else ""
    chosen = curate.curate(run, _curation(settings), learn, note)
    pool = run.stages[-2].result.outputs["pool"]
    taught = teach(run, chosen, sets["in domain"], settings)
    judge(run, Path(taught.result.outputs["model"]), sets, settings)
    return {
        "pool": pool,
        "drawn": run.stages[1].result.outputs["drawn"],
        "missing": run.stages[1].result.outputs["missing"],
        "left_out": repeated,
        "model": taught.result.outputs["model"],
    }


def teach(run: Run, chosen: Path, held: list[Question], settings: Settings) -> Stage:
    """The stage ``grpo`` on the drawn questions, which leaves the run's ``model`` folder with its card."""
    from backcast.lm.models import resolve

    def work(folder: Path) -> StageResult:
        from backcast.learn.stages import train
        from backcast.report.card import Card, card
        from backcast.text.teach import Taught, rule_reward

        learn = [Taught(question) for question in read_questions(chosen)]
        watched = [Taught(question) for question in held]
        parts = {"reward_funcs": rule_reward}
        sets = (learn, watched)
        found = train(folder, resolve(settings.model), sets, settings.train, lambda: parts, None)
        data = [f"{len(learn)} questions of {Path(settings.problems).name}, by their difficulty for {settings.model}"]
        about = Card("Taught by the right option alone (AlphaMed)", settings.model, data=data, lineage=found.lineage)
        write_atomic(folder / "model" / "README.md", card(about))
        place = run.folder / "model"
        if place.exists():  # of an earlier attempt, or of other settings, whose stage has been set aside
            shutil.rmtree(place)
        os.replace(folder / "model", place)
        # Measured on few questions and against nothing: the judgement that follows has the figures that count.
        return replace(found, gaps=(), outputs={**found.outputs, "model": str(place)})

    mark = {"train": settings.train.__dict__, "model": reer.model_mark(settings.model), "held": [q.id for q in held]}
    return run.stage("grpo", work, mark, [chosen])


def judge(run: Run, model: Path, sets: dict[str, list[Question]], settings: Settings) -> Stage:
    """The stage ``judge``: every set answered by the trained model and the untouched one."""

    def work(folder: Path) -> StageResult:
        from backcast.text.teach import examine

        models = (reer.load(str(model), settings.cache), reer.load(settings.model, settings.cache))
        return examine(folder, models, sets, settings.judging)

    files = [name for name in (settings.problems, settings.test, *settings.out_of_domain) if name]
    return run.stage("judge", work, {"judging": settings.judging.__dict__, "sets": list(sets)}, [model, *files])


def _curation(settings: Settings) -> curate.Settings:
    return curate.Settings(
        questions=settings.problems,
        model=settings.model,
        curation=settings.curation,
        limit=settings.limit,
        cache=settings.cache,
    )
