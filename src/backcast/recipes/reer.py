"""REER (2509.06160): search the reasoning that makes known-good texts likely, and write it as training data."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from backcast.core.params import bounded
from backcast.core.run import Plan, Run, Stage, StageResult
from backcast.core.trace import TraceLog
from backcast.lm.base import LM
from backcast.lm.cache import CachedLM, CallCache
from backcast.lm.models import is_endpoint
from backcast.reasons.pairs import Pair, read_pairs, read_texts
from backcast.reasons.reer import visits
from backcast.reasons.settings import SMALL, Search
from backcast.recipes.estimate import CHARACTERS_PER_TOKEN, Work, check, memory

BUNDLED = "bundled"
"""Instead of a file: the writing pairs that ship with the package."""


FILES, MODELS = ("pairs",), ("model", "scorer", "judge")


@dataclass(frozen=True)
class Settings:
    """REER: the reasoning that makes known-good texts likely."""

    pairs: str = BUNDLED
    """JSON Lines of {id?, prompt, answer}, or of {id?, text} with requests = "write"; "bundled": the package's own."""
    model: str = "smollm2"
    """Proposes thinking: alias, folder, .gguf, hub id, or http(s)://host:port/v1#name."""
    scorer: str | None = None
    """Scores the texts (default: the model itself)."""
    judge: str | None = None
    """Another model, which scores first and final thinking at the end and has no say in the search."""
    requests: Literal["given", "write"] = "given"
    """write: the file holds bare texts, and the model writes the request to each."""
    limit: int | None = None
    """Only the first so many items."""
    search: Search = field(default_factory=lambda: SMALL)
    """The search itself; the defaults are those of the preset for small models."""
    cache: bool = True
    """Remember every model call, so that nothing is asked twice."""

    def __post_init__(self) -> None:
        bounded(self, "limit", 1)


def plan(settings: Settings) -> list[Plan]:
    """What the two stages are expected to take."""
    for name in filter(None, (settings.model, settings.scorer, settings.judge)):
        check(name)
    path = pairs_file(settings.pairs, "search")
    pairs = (read_texts if settings.requests == "write" else read_pairs)(path)[: settings.limit]
    search, answers = settings.search, sum(len(pair.answer) for pair in pairs) / CHARACTERS_PER_TOKEN
    visited = sum(visits(pair, search) for pair in pairs)
    drawn = visited * search.expansions * len([kind for kind in search.proposals if kind != "delete"])
    whole = answers / max(1, len(pairs)) + 200
    work = Work(
        sampled=drawn * min(search.proposal_tokens, 400), scored=(drawn + 4 * len(pairs)) * whole + visited * 300
    )
    what = f"{len(pairs)} texts, {visited} visits, {drawn} candidates"
    return [
        Plan("search", what, work.seconds(settings.model), memory(settings.model)),
        Plan("export", "training data with its card", 1, 0.5),
    ]


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``search`` and ``export``; returns the figures of the search and where its files are."""
    asked = search(run, settings)
    found, exported = run.stages[-1], export(run)
    figures = dict(found.result.outputs)
    figures["cached_calls"] = max(0, figures["calls"] - asked) if settings.cache else 0
    paths = {"traces": str(found.folder / "traces.jsonl"), "dataset": str(exported.folder / "dataset")}
    return {**figures, **paths}


def reach(settings: Settings) -> None:
    """Asks every server named whether it is there and, if it is to score, whether it can. Raises BadInput if not."""
    from backcast.lm.base import Prompt, Scoring
    from backcast.lm.endpoint import EndpointLM

    scoring = {settings.scorer or settings.model, settings.judge}
    for name in filter(is_endpoint, {settings.model, *filter(None, scoring)}):
        server = EndpointLM(name)
        try:
            if name in scoring:
                server.logprobs([Scoring(Prompt((("user", "Say hello."),)), ("Hello.",), (0,))])
        finally:
            server.close()


def search(run: Run, settings: Settings) -> int:
    """The stage ``search``; returns how many calls really went to a model (0 when it had been done before)."""
    path = pairs_file(settings.pairs, "search")
    read = read_texts if settings.requests == "write" else read_pairs
    pairs = read(path)[: settings.limit]
    names = (settings.model, settings.scorer, settings.judge)
    marks = [model_mark(name) for name in names if name is not None]
    misses: list[int] = []

    def work(folder: Path) -> StageResult:
        return _search(folder, pairs, settings, misses)

    run.stage(
        "search", work, {"settings": settings.search.__dict__, "requests": settings.requests, "models": marks}, [path]
    )
    return sum(misses)


def export(run: Run) -> Stage:
    """The stage ``export``: the training data that follow from the traces of the stage before."""
    from backcast.reasons.export import write_dataset

    traces = run.stages[-1].folder / "traces.jsonl"
    lineage = run.stages[-1].result.lineage

    def work(folder: Path) -> StageResult:
        found = list(TraceLog(traces))
        write_dataset(folder / "dataset", found, lineage)
        kept = sum(trace.outcome is not None for trace in found)
        return StageResult(lineage=[f"{kept} rows of training data in {folder.name}/dataset"], outputs={"rows": kept})

    return run.stage("export", work, None, [traces])


def pairs_file(named: str, split: Literal["search", "heldout"]) -> Path:
    """The file of pairs that a setting names: a path, or the bundled split."""
    if named == BUNDLED:
        return Path(str(resources.files("backcast.data"))) / "writing" / f"{split}.jsonl"
    return Path(named)


def model_mark(model: str) -> list[str]:
    """What a stage's fingerprint knows of a model without loading it: its name, and the content of its files."""
    from backcast.lm.models import content_hash, resolve, weight_files

    if is_endpoint(model):
        return [model]
    return [model, *(content_hash(path) for path in weight_files(resolve(model)))]


def load(model: str, cached: bool) -> LM:
    """The model, behind the call cache unless told otherwise."""
    from backcast.lm.models import load as load_model

    lm = load_model(model)
    return CachedLM(lm, CallCache()) if cached else lm


def _search(folder: Path, pairs: Sequence[Pair], settings: Settings, misses: list[int]) -> StageResult:
    from backcast.reasons import Models, search_stage
    from backcast.reasons.propose import write_requests

    scorer = settings.scorer or settings.model
    names = dict.fromkeys(name for name in (settings.model, scorer, settings.judge) if name)
    loaded = {name: load(name, settings.cache) for name in names}
    judge = loaded[settings.judge] if settings.judge else None
    models = Models(loaded[settings.model], loaded[scorer], judge)
    try:
        if settings.requests == "write":
            pairs = write_requests(pairs, models.generator, settings.search)
        found = search_stage(folder, pairs, models, settings.search)
        line = f"{len(pairs)} known-good texts ({Path(settings.pairs).name}) -> the reasoning that makes them likely"
        return replace(found, lineage=[line, *found.lineage])
    finally:
        misses += [lm.misses for lm in loaded.values() if isinstance(lm, CachedLM)]
