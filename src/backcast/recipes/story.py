"""The story: outcomes -> reasoning (REER) -> a warm start on it (SFT) -> judged on held-out texts."""

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.core.params import bounded
from backcast.core.problem import read_jsonl
from backcast.core.run import Plan, Run, Stage, StageResult, View
from backcast.learn.sft.settings import SMALL as SMALL_SFT
from backcast.learn.sft.settings import SFTSettings
from backcast.lm.models import is_endpoint
from backcast.reasons.pairs import Pair, read_pairs
from backcast.reasons.settings import SMALL, Search
from backcast.reasons.writing import Judging
from backcast.recipes import reer
from backcast.recipes.estimate import Work, memory

FILES, MODELS = ("pairs", "held_out"), ("model", "scorer", "judge")


@dataclass(frozen=True)
class Settings:
    """From known-good answers to a model that reasons towards such answers."""

    pairs: str = reer.BUNDLED
    """Known-good answers to search: JSON Lines of {id?, prompt, answer}; "bundled" takes the package's own."""
    held_out: str = reer.BUNDLED
    """Pairs that are only judged on, in the same form."""
    model: str = "smollm2"
    """The model to improve, which also proposes the thinking: alias, folder, .gguf or hub id."""
    scorer: str | None = None
    """Scores the texts during the search (default: the model itself)."""
    judge: str | None = None
    """Another model, which scores first and found thinking, and the held-out texts of both models (default: the
    scorer, if that is another model)."""
    limit: int | None = None
    """Only the first so many pairs."""
    held_out_limit: int | None = None
    """Only the first so many held-out pairs."""
    validation: int = 2
    """So many of the searched items are kept out of training, to watch it."""
    search: Search = field(default_factory=lambda: SMALL)
    """The search; see backcast reason."""
    sft: SFTSettings = field(default_factory=lambda: SMALL_SFT)
    """The warm start."""
    judging: Judging = field(default_factory=Judging)
    """How the models think when they are judged."""
    cache: bool = True
    """Remember every model call, so that nothing is asked twice."""

    def __post_init__(self) -> None:
        if is_endpoint(self.model):
            raise ValueError(f"a server cannot be trained: '{self.model}'; give the model's folder, alias or hub id")
        bounded(self, "validation", 0)
        bounded(self, "limit held_out_limit", 1)


def demo(model: str, quick: bool) -> Settings:
    """The sizes of ``backcast demo``: under ten minutes on two idle cores, under two with ``quick``."""
    if not quick:
        sft = replace(SMALL_SFT, samples=2, sample_tokens=256)
        judging = Judging(thinking_tokens=224)
        return Settings(model=model, limit=8, held_out_limit=6, validation=1, sft=sft, judging=judging)
    return Settings(
        model=model,
        limit=3,
        held_out_limit=2,
        validation=1,
        search=replace(SMALL, max_steps=2, expansions=2, proposal_tokens=32),
        sft=replace(SMALL_SFT, samples=0),
        judging=Judging(thinking_tokens=48),
    )


def plan(settings: Settings) -> list[Plan]:
    """What the four stages are expected to take."""
    held_out = read_pairs(reer.pairs_file(settings.held_out, "heldout"))[: settings.held_out_limit]
    lines = reer.plan(_search(settings))
    searched = len(read_pairs(reer.pairs_file(settings.pairs, "search"))[: settings.limit])
    rows = searched - settings.validation
    if rows < 1:
        raise BadInput(f"--validation {settings.validation} leaves none of {searched} pairs to train on; lower it")
    tokens = rows * 650 * settings.sft.epochs
    trained = Work(trained=tokens, sampled=settings.sft.samples * settings.sft.sample_tokens)
    thinking = len(held_out) * settings.judging.samples * settings.judging.thinking_tokens
    judged = Work(sampled=2 * thinking, scored=2 * len(held_out) * 3 * 600)
    return [
        *lines,
        Plan(
            "learn",
            f"{rows} traces, {settings.sft.method}",
            trained.seconds(settings.model),
            memory(settings.model, True),
        ),
        Plan(
            "judge",
            f"{len(held_out)} held-out texts, 2 models",
            judged.seconds(settings.model),
            2 * memory(settings.model),
        ),
    ]


def _search(settings: Settings) -> reer.Settings:
    names = ("pairs", "model", "scorer", "judge", "limit", "search", "cache")
    return reer.Settings(**{name: getattr(settings, name) for name in names})


def reach(settings: Settings) -> None:
    """Tries the servers, as ``reer.reach``."""
    reer.reach(_search(settings))


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``search``, ``export``, ``learn`` and ``judge``; returns where the model and the data are."""
    held_out = read_pairs(reer.pairs_file(settings.held_out, "heldout"))[: settings.held_out_limit]
    reer.search(run, _search(settings))
    dataset = reer.export(run).folder / "dataset"
    learn(run, dataset, settings)
    judge(run, held_out, settings)
    return {"model": str(run.folder / "model"), "dataset": str(dataset)}


def learn(run: Run, dataset: Path, settings: Settings) -> Stage:
    """The stage ``learn``: a warm start on the found reasoning, which leaves the run's ``model`` folder."""
    rows_file = dataset / "train.jsonl"

    def work(folder: Path) -> StageResult:
        from backcast.learn.sft import Card, train

        rows = [row for _, row in read_jsonl(rows_file)]
        kept = len(rows) - settings.validation
        if kept < 1:
            raise BadInput(
                f"{len(rows)} items were kept by the search, of which --validation takes {settings.validation}"
            )
        data = f"{kept} traces of {Path(settings.pairs).name} (REER)"
        card = Card("A warm start on found reasoning", settings.model, data=[data])
        result = train(rows[:kept], settings.model, folder / "model", settings.sft, rows[kept:], card)
        _put(folder / "model", run.folder / "model")
        return replace(result, outputs={**result.outputs, "model": str(run.folder / "model")})

    return run.stage(
        "learn", work, {"sft": settings.sft.__dict__, "model": reer.model_mark(settings.model)}, [rows_file]
    )


def judge(run: Run, held_out: Sequence[Pair], settings: Settings) -> Stage:
    """The stage ``judge``: the held-out texts under each model's own thinking, beside the untouched model."""
    other = _second_opinion(settings)
    names = [settings.model, *([other] if other else [])]
    inputs = [reer.pairs_file(settings.held_out, "heldout"), run.folder / "model"]
    mark = {"judging": settings.judging.__dict__, "limit": settings.held_out_limit}
    marks = [reer.model_mark(name) for name in names]

    def work(folder: Path) -> StageResult:
        return _judge(folder, run.folder / "model", held_out, settings)

    return run.stage("judge", work, {**mark, "models": marks}, inputs)


def _judge(folder: Path, model: Path, held_out: Sequence[Pair], settings: Settings) -> StageResult:
    from backcast.reasons.writing import own_thinking, writing_result, writing_traces

    tuned, base = reer.load(str(model), settings.cache), reer.load(settings.model, settings.cache)
    mine, untouched = (own_thinking(held_out, lm, settings.judging) for lm in (tuned, base))
    lines = [trace.to_json() + "\n" for trace in writing_traces(held_out, mine, untouched)]
    write_atomic(folder / "traces.jsonl", "".join(lines))
    result = writing_result(mine, untouched, "each model itself", settings.judging.seed)
    result = replace(result, views=[View("judge", f"{folder.name}/traces.jsonl")])
    name = _second_opinion(settings)
    if name is None:
        return result
    other = reer.load(name, settings.cache)
    mine, untouched = (own_thinking(held_out, lm, settings.judging, other) for lm in (tuned, base))
    second = writing_result(mine, untouched, name, settings.judging.seed)
    return replace(result, gaps=[*result.gaps, second.gaps[0]])


def _second_opinion(settings: Settings) -> str | None:
    """Another model than the one that was trained, if the run has one at hand."""
    return settings.judge or (settings.scorer if settings.scorer != settings.model else None)


def _put(made: Path, place: Path) -> None:
    # The run's model is one plain folder at the top; an older one has been set aside with its stage's settings.
    if place.exists():
        shutil.rmtree(place)
    os.replace(made, place)
