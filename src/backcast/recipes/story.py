"""The story: outcomes -> reasoning (REER) -> SFT -> GRPO with replay and planning credit -> packed; judged at each."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from backcast.core.errors import BadInput, nearest
from backcast.core.params import bounded
from backcast.core.run import Plan, Run
from backcast.learn.sft.settings import SMALL as SMALL_SFT
from backcast.learn.sft.settings import SFTSettings
from backcast.learn.stages import Training
from backcast.lm.models import is_endpoint
from backcast.reasons.pairs import read_pairs
from backcast.reasons.settings import SMALL, Search
from backcast.reasons.writing import Judging
from backcast.recipes import reer, story_judge, story_train

FILES, MODELS = ("pairs", "held_out", "problems"), ("model", "scorer", "judge")

GRPO = Training(
    steps=6, prompts=2, group=8, micro=16, learning_rate=5e-4, longest=32, lora=16, heldout=0.3, save_every=2
)
"""Ours: what two minutes on two idle cores allow a model of 135M parameters."""


@dataclass(frozen=True)
class Settings:
    """From known-good answers to a model that reasons towards such answers, in a few bits a weight."""

    budget: Literal["small", "medium", "paper"] = "small"
    """Which sizes the other settings began with: small (minutes on two cores, the defaults), medium (a GPU, or a night
    on a CPU), paper (the papers' own). On the command line or in a file it sets all that is not named beside it."""
    pairs: str = reer.BUNDLED
    """Known-good answers to search: JSON Lines of {id?, prompt, answer}; "bundled" takes the package's own."""
    held_out: str = reer.BUNDLED
    """Pairs that are only judged on, in the same form."""
    problems: str = reer.BUNDLED
    """Verifiable problems for GRPO: JSON Lines of {id?, prompt, answer, kind: numeric|choice|exact, worked?}; a share
    of them (grpo.heldout) is only judged on. Where ``worked`` holds the thinking, the warm start learns it, and the
    problem is used for nothing else. A reply is read from its last <answer> block, LaTeX box or "answer is ..."; one
    without any must be the bare answer."""
    model: str = "smollm2"
    """The model to improve, which also proposes the thinking: alias, folder, .gguf or hub id."""
    scorer: str | None = None
    """Scores the texts during the search (default: the model itself)."""
    judge: str | None = None
    """Another model, which scores first and found thinking, and the held-out texts of every stage (default: the
    scorer, if that is another model)."""
    limit: int | None = 7
    """Only the first so many pairs."""
    held_out_limit: int | None = 4
    """Only the first so many held-out pairs."""
    validation: int = 1
    """So many of the searched items are kept out of training, to watch it."""
    search: Search = field(default_factory=lambda: SMALL)
    """The search; see backcast reason."""
    sft: SFTSettings = field(default_factory=lambda: replace(SMALL_SFT, samples=1, sample_tokens=192))
    """The warm start."""
    grpo: Training = field(default_factory=lambda: GRPO)
    """GRPO on the problems."""
    replay: float = 1.0
    """Exponent of |A| by which rows are replayed for those that teach nothing (VL-Rethinker: 1)."""
    planning: float = 0.2
    """Share of |A| added on planning tokens (HICRA: 0.2); 0 switches it off."""
    temperature: float = 0.7
    """At which problems are answered, in GRPO and when judged (ours; the papers': 1)."""
    answers: int = 2
    """Answers to each held-out problem when judged."""
    bits: int = 4
    """Bits a weight of the packed model (WGM, our preset); embedding and head take 8."""
    jobs: int = 1
    """Tensors packed at a time, in processes; the result does not depend on it."""
    judging: Judging = field(default_factory=lambda: Judging(thinking_tokens=48))
    """How the models think when they are judged."""
    cache: bool = True
    """Remember every model call, so that nothing is asked twice."""

    def __post_init__(self) -> None:
        if is_endpoint(self.model):
            raise ValueError(f"a server cannot be trained: '{self.model}'; give the model's folder, alias or hub id")
        bounded(self, "validation replay", 0)
        bounded(self, "limit held_out_limit answers jobs", 1)
        bounded(self, "temperature", 0, above=True)
        bounded(self, "bits", 1, 8)
        if not 0 <= self.planning < 1:
            raise ValueError(f"planning must be in [0, 1), found {self.planning}: from 1 on, blame would become credit")


BUDGETS = ("small", "medium", "paper")


def budgeted(name: str) -> Settings:
    """The settings that a budget begins with; raises BadInput for an unknown one."""
    if name not in BUDGETS:
        raise BadInput(f"unknown budget '{name}'{nearest(name, BUDGETS)}")
    if name == "small":
        return Settings()
    if name == "medium":
        return Settings(
            budget="medium",
            limit=200,
            held_out_limit=50,
            validation=2,
            sft=replace(SMALL_SFT, max_length=2048),
            grpo=replace(GRPO, steps=200, prompts=8, micro=64, learning_rate=1e-4, longest=128, save_every=20),
            answers=8,
            judging=Judging(samples=2),
        )
    paper = Training(
        steps=200, prompts=64, group=8, micro=8, learning_rate=1e-6, longest=2048, heldout=0.1, measured=2000
    )
    return Settings(
        budget="paper",
        limit=None,
        held_out_limit=None,
        validation=2,
        search=Search(),
        sft=SFTSettings(),
        grpo=paper,
        temperature=1.0,
        answers=8,
        judging=Judging(samples=4, thinking_tokens=4096),
    )


def demo(model: str, quick: bool) -> Settings:
    """The sizes of ``backcast demo``: under ten minutes on two idle cores, under three with ``quick``."""
    if not quick:
        return Settings(model=model, jobs=2)
    return Settings(
        model=model,
        jobs=2,
        limit=3,
        held_out_limit=2,
        search=replace(SMALL, max_steps=2, expansions=2, proposal_tokens=32),
        sft=replace(SMALL_SFT, samples=0, epochs=1.0),
        grpo=replace(GRPO, steps=2, group=6, micro=12, measured=10),
        answers=2,
        judging=Judging(thinking_tokens=24),
    )


def plan(settings: Settings) -> list[Plan]:
    """What the stages are expected to take; raises BadInput for inputs that cannot be used."""
    held_out = _held_out(settings)
    searching = reer.plan(search_settings(settings))
    searched = len(read_pairs(reer.pairs_file(settings.pairs, "search"))[: settings.limit])
    rows = searched - settings.validation
    if rows < 1:
        raise BadInput(f"--validation {settings.validation} leaves none of {searched} pairs to train on; lower it")
    learn, held = story_train.problems(settings)
    judged = story_judge.plan_line(settings, held_out, held)
    return [
        *searching,
        judged("start"),
        story_train.plan_sft(settings, rows),
        judged("sft"),
        story_train.plan_grpo(settings, learn),
        judged("grpo"),
        story_train.plan_compress(settings),
        judged("compress"),
    ]


def search_settings(settings: Settings) -> reer.Settings:
    """The part of the settings that the search takes."""
    names = ("pairs", "model", "scorer", "judge", "limit", "search", "cache")
    return reer.Settings(**{name: getattr(settings, name) for name in names})


def reach(settings: Settings) -> None:
    """Tries the servers, as ``reer.reach``."""
    reer.reach(search_settings(settings))


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """Search, export, then ``sft``, ``grpo`` and ``compress``, each followed by a judgement of what it left.

    Returns where the trained model, the packed one and the data are.
    """
    held_out = _held_out(settings)
    reer.search(run, search_settings(settings))
    dataset = reer.export(run).folder / "dataset"
    judge = story_judge.Judge(run, settings, held_out, story_train.problems(settings)[1])
    judge("start", settings.model)
    warm = story_train.sft(run, dataset, settings)
    judge("sft", str(warm))
    trained = story_train.grpo(run, warm, settings)
    judge("grpo", str(trained))
    packed = story_train.compress(run, trained, settings)
    judge("compress", str(packed), last=True)
    return {"model": str(trained), "packed": str(packed), "dataset": str(dataset)}


def _held_out(settings: Settings) -> list[Any]:
    return read_pairs(reer.pairs_file(settings.held_out, "heldout"))[: settings.held_out_limit]
