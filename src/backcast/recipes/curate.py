"""Curation, the data side of AlphaMed (2505.17952): label difficulty with a model, then draw a balanced set."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.run import Plan, Run
from backcast.recipes import reer
from backcast.recipes.estimate import Work, check, memory
from backcast.text.curate import Curation, draw_stage, label_stage, read_labels
from backcast.text.problems import Question, read_questions, refuse_free, refuse_leaks

FILES, MODELS = ("questions", "test"), ("model",)


@dataclass(frozen=True)
class Settings:
    """Which questions still teach this model."""

    questions: str = ""
    """A question file in any known layout (JSON Lines, JSON, CSV, parquet)."""
    model: str = "smollm2"
    """The model that answers, and whose difficulty is measured: alias, folder, .gguf, hub id, or a server."""
    test: str = ""
    """A question file that must not be trained on: the run stops if the pool holds any of it."""
    limit: int | None = None
    """Only the first so many questions."""
    shuffle: bool = False
    """Put the options of every question into another order, by the seed."""
    curation: Curation = field(default_factory=Curation)
    """How questions are labelled and drawn."""
    cache: bool = True
    """Remember every model call, so that nothing is asked twice."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be at least 1, found {self.limit}")


def plan(settings: Settings) -> list[Plan]:
    """What the two stages are expected to take; raises BadInput for questions or a model that cannot be used."""
    check(settings.model)
    count = len(pool(settings))
    drawn = count * settings.curation.answers
    work = Work(sampled=drawn * settings.curation.answer_tokens * 0.6, scored=count * 200)
    what = f"{count} questions, {drawn} answers"
    return [
        Plan("label", what, work.seconds(settings.model), memory(settings.model)),
        Plan("draw", f"{settings.curation.per_level} of each level", 1, 0.5),
    ]


def pool(settings: Settings) -> list[Question]:
    """The questions to choose from, shuffled if asked; raises BadInput if they hold any of the test set."""
    if not settings.questions:
        raise BadInput("no questions named; give a file with --questions")
    found = read_questions(settings.questions, settings.curation.seed)[: settings.limit]
    refuse_free(found)
    if settings.test:
        refuse_leaks(found, read_questions(settings.test))
    return [question.shuffled(settings.curation.seed) for question in found] if settings.shuffle else found


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``label`` and ``draw``; returns the pool's figures and the file of drawn questions."""
    drawn = curate(run, settings, pool(settings))
    label, found = run.stages[-2].result.outputs, run.stages[-1].result.outputs
    return {
        "pool": label["pool"],
        "duplicates": len(label["duplicates"]),
        "unparsed_rate": label["unparsed_rate"],
        "drawn": found["drawn"],
        "missing": found["missing"],
        "questions": str(drawn),
    }


def curate(run: Run, settings: Settings, questions: Sequence[Question], note: str = "") -> Path:
    """The stages ``label`` and ``draw`` on ``questions``; the file of drawn questions. ``note`` joins the lineage."""
    mark = {"curation": settings.curation.__dict__, "shuffle": settings.shuffle, "limit": settings.limit}
    labelled = run.stage(
        "label",
        lambda folder: label_stage(
            folder, questions, reer.load(settings.model, settings.cache), settings.curation, note
        ),
        {**mark, "model": reer.model_mark(settings.model)},
        [settings.questions],
    )
    labels = labelled.folder / "traces.jsonl"
    drawn = run.stage(
        "draw",
        lambda folder: draw_stage(folder, read_labels(labelled.folder, questions), settings.curation),
        settings.curation.__dict__,
        [labels],
    )
    return drawn.folder / "questions.jsonl"


def reach(settings: Settings) -> None:
    """Tries the server, if the model is one; it need not be able to score."""
    from backcast.lm.endpoint import EndpointLM
    from backcast.lm.models import is_endpoint

    if is_endpoint(settings.model):
        EndpointLM(settings.model).close()
