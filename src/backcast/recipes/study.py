"""AlphaMed's three guided questions (2505.17952): what do amount, variety and difficulty of the questions do?"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backcast.core.run import Plan, Run, Stage, StageResult
from backcast.learn.stages import Training
from backcast.recipes import alphamed, reer
from backcast.recipes.estimate import Work, check, memory
from backcast.text.curate import Curation, label_stage, read_labels
from backcast.text.problems import Question, read_questions
from backcast.text.study import ARMS, arm_sets, check_arms, compare_stage, sets_stage, wanted
from backcast.text.teach import Examination

FILES, MODELS = ("problems", "test"), ("model",)


@dataclass(frozen=True)
class Settings:
    """The same GRPO budget on sets of questions that differ in amount, variety or difficulty."""

    problems: str = ""
    """A question file in any known layout; a share of it is held out and judged on."""
    test: str = ""
    """A question file that is only judged on, in place of the held-out share; no arm may hold any of it."""
    model: str = "smollm2"
    """The model to train: alias, folder, .gguf or hub id. It also labels the difficulty."""
    arms: tuple[str, ...] = tuple(ARMS)
    """mixed, and any of few (amount), narrow (variety), easy and hard (difficulty)."""
    size: int = 120
    """Questions of an arm (1,200 in the paper's subsets; ours: 120); few has a quarter."""
    seeds: int = 2
    """Trainings of each arm; their seeds count up from that of the training."""
    limit: int | None = None
    """Only the first so many problems."""
    curation: Curation = field(default_factory=Curation)
    """How difficulty is labelled; per-level and levels have no part in this."""
    train: Training = field(default_factory=lambda: replace(alphamed.TRAINING, measured=16))
    """GRPO with the 0/1 reward of the right option, the same for every arm."""
    judging: Examination = field(default_factory=Examination)
    """How every model is judged."""
    cache: bool = True
    """Remember every model call of labelling and judging, so that nothing is asked twice."""

    def __post_init__(self) -> None:
        check_arms(self.arms)
        if min(self.size, self.seeds) < 1:
            raise ValueError(f"size and seeds must be at least 1, found {self.size} and {self.seeds}")
        least = min(wanted(arm, self.size) for arm in self.arms)
        if least < self.train.prompts:
            raise ValueError(f"an arm would have {least} questions, and a step takes {self.train.prompts}; raise size")
        if self.limit is not None and self.limit < 4:
            raise ValueError(f"limit must be at least 4, found {self.limit}: some questions are held out")
        if self.curation.group != self.train.group:
            object.__setattr__(self, "curation", replace(self.curation, group=self.train.group))


def plan(settings: Settings) -> list[Plan]:
    """What the stages are expected to take; raises BadInput for questions or a model that cannot be used."""
    check(settings.model)
    learn, held = questions(settings)
    training, how, name = settings.train, settings.judging, settings.model
    labelled = Work(sampled=len(learn) * settings.curation.answers * settings.curation.answer_tokens * 0.6)
    tokens = training.steps * training.prompts * training.group * training.longest * 0.6
    taught = Work(sampled=tokens, trained=tokens * 2).seconds(name)
    judged = Work(sampled=min(len(held), how.limit or math.inf) * how.answer_tokens * 0.6, scored=len(held) * 250)
    runs = len(settings.arms) * settings.seeds
    return [
        Plan("label", f"{len(learn)} questions", labelled.seconds(name), memory(name)),
        Plan("sets", f"{len(settings.arms)} arms of {settings.size}", 1, 0.5),
        Plan("train", f"{runs} trainings of {training.steps} steps", runs * taught, memory(name, True)),
        Plan("compare", f"{len(held)} questions, {runs + 1} models", (runs + 1) * judged.seconds(name), memory(name)),
    ]


def questions(settings: Settings) -> tuple[list[Question], list[Question]]:
    """(to learn from, held out); raises BadInput if the former hold any of the latter."""
    asked = alphamed.Settings(
        problems=settings.problems, test=settings.test, limit=settings.limit, train=settings.train
    )
    learn, sets = alphamed.questions(asked)
    return learn, sets["in domain"]


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``label``, ``sets``, one an arm and seed, and ``compare``; returns a row an arm and way of judging."""
    learn, held = questions(settings)
    labelled = _label(run, learn, settings)
    pool = read_labels(labelled.folder, learn)
    seeded = (settings.size, settings.train.seed)
    sets = run.stage(
        "sets",
        lambda folder: sets_stage(folder, arm_sets(pool, settings.arms, *seeded), settings.size, settings.train.group),
        [list(settings.arms), *seeded, settings.train.group],
        [labelled.folder / "traces.jsonl"],
    )
    models: dict[str, list[Path]] = {}
    for seed in range(settings.train.seed, settings.train.seed + settings.seeds):
        for arm in settings.arms:
            taught = _teach(run, arm, seed, sets.folder / f"{arm}.jsonl", held, settings)
            models.setdefault(arm, []).append(Path(taught.result.outputs["model"]))
    found = _compare(run, models, held, settings)
    return {"pool": labelled.result.outputs["pool"], "arms": found.result.outputs["arms"]}


def _label(run: Run, learn: list[Question], settings: Settings) -> Stage:
    return run.stage(
        "label",
        lambda folder: label_stage(folder, learn, reer.load(settings.model, settings.cache), settings.curation),
        [settings.curation.__dict__, reer.model_mark(settings.model), [question.id for question in learn]],
        [settings.problems],
    )


def _teach(run: Run, arm: str, seed: int, chosen: Path, held: list[Question], settings: Settings) -> Stage:
    from backcast.lm.models import resolve

    training = replace(settings.train, seed=seed)

    def work(folder: Path) -> StageResult:
        from backcast.learn.stages import train
        from backcast.text.teach import Taught, rule_reward

        sets = [Taught(question) for question in read_questions(chosen)], [Taught(question) for question in held]
        found = train(folder, resolve(settings.model), sets, training, lambda: {"reward_funcs": rule_reward}, None)
        # Measured on few questions and against nothing: the comparison at the end has the figures that count.
        return replace(found, gaps=())

    mark = [training.__dict__, reer.model_mark(settings.model), [question.id for question in held]]
    return run.stage(f"{arm}-{seed}", work, mark, [chosen])


def _compare(run: Run, models: dict[str, list[Path]], held: list[Question], settings: Settings) -> Stage:
    def work(folder: Path) -> StageResult:
        from backcast.text.study import answer

        def judged(model: str) -> Any:
            return answer(reer.load(model, settings.cache), held, settings.judging)

        before = judged(settings.model)
        after = {arm: [judged(str(model)) for model in some] for arm, some in models.items()}
        return compare_stage(folder, before, after, settings.judging.seed)

    mark = [settings.judging.__dict__, reer.model_mark(settings.model), [question.id for question in held]]
    return run.stage("compare", work, mark, [model for some in models.values() for model in some])
