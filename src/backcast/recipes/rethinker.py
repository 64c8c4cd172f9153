"""VL-Rethinker (2504.08837): GRPO with selective sample replay, then with forced rethinking as well."""

from dataclasses import dataclass, field
from typing import Any, Literal

from backcast.core.run import Plan, Run
from backcast.learn.stages import Training
from backcast.recipes.rl import begin, plan_lines, train_stage

FILES, MODELS = ("problems",), ("model",)


@dataclass(frozen=True)
class Settings:
    """VL-Rethinker: replay what still teaches, then think again."""

    problems: str = "world"
    """JSON Lines of {id?, prompt, answer, kind: numeric|choice|exact, image?}; "world": the small world of ours;
    "reasoning-gym:NAME[:SIZE]": generated questions, if that extra is installed. A reply to a question of a file is
    read from its last <answer> block, LaTeX box or "answer is ..."; one without any must be the bare answer."""
    model: str = "world"
    """Alias, folder, .gguf or hub id; "world": a tiny model, warmed up on the small world in about a minute."""
    replay: Literal["ssr", "filter", "authors"] = "ssr"
    """The paper's replay; the filter it is compared with; or what the authors' code did while its replay was on."""
    replay_alpha: float = 1.0
    """Replay chance ~ |A|^alpha (the paper's value)."""
    episode: int = 16
    """Batches that share a buffer (paper: 16 optimiser steps between two clearings)."""
    share: float = 0.65
    """Share of finished answers made to think again (the authors' code; the paper names none)."""
    quota: int = 2
    """Second looks kept per prompt (paper)."""
    imitate: float = 0.05
    """Weight of imitating what was kept (the authors' code; the paper names none)."""
    variant: Literal["paper", "code"] = "paper"
    """Which rethinking: the paper's, or the authors' code's without its bugs."""
    control: bool = True
    """Train plain GRPO first, with as many answers as the replay stage, as its baseline."""
    train: Training = field(default_factory=lambda: Training(clip_high=0.35))
    """The training itself, the same for each stage."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, found {self.share}")
        if self.replay_alpha < 0 or self.imitate < 0:
            raise ValueError(
                f"replay-alpha and imitate must be at least 0, found {self.replay_alpha} and {self.imitate}"
            )
        if self.quota < 1 or self.episode < 1:
            raise ValueError(f"quota and episode must be at least 1, found {self.quota} and {self.episode}")


def plan(settings: Settings) -> list[Plan]:
    """What the stages are expected to take; raises BadInput for inputs that cannot be used."""
    names = ["grpo", "reasoner", "rethinker"] if settings.control else ["reasoner", "rethinker"]
    return plan_lines(settings.model, settings.problems, settings.train, names)


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """``start``, ``grpo`` (control), ``reasoner`` (replay) and ``rethinker`` (replay and rethinking, from there on)."""
    first = begin(run, settings.model, settings.problems, settings.train)
    accuracies = {"start": first.result.outputs["accuracy"]}
    baseline = accuracies["start"]
    if settings.control:
        stage = train_stage(run, "grpo", first, first, settings, dict)
        baseline = accuracies["grpo"] = stage.result.outputs["accuracy"]
    reasoner = train_stage(run, "reasoner", first, first, settings, lambda: {"shapers": [_replay(settings)]}, baseline)
    accuracies["reasoner"] = reasoner.result.outputs["accuracy"]
    stage = train_stage(run, "rethinker", first, reasoner, settings, lambda: _both(settings), accuracies["reasoner"])
    accuracies["rethinker"] = stage.result.outputs["accuracy"]
    return {"accuracy": accuracies, "model": stage.result.outputs["model"]}


def _replay(settings: Settings) -> Any:
    from backcast.learn.replay import AuthorsReplay, FilterFlat, SampleReplay

    seed = settings.train.seed
    if settings.replay == "ssr":
        return SampleReplay(settings.replay_alpha, episode=settings.episode, seed=seed)
    return FilterFlat(seed) if settings.replay == "filter" else AuthorsReplay(seed)


def _both(settings: Settings) -> dict[str, Any]:
    from backcast.learn.rethink import TRIGGERS, ForcedRethink
    from backcast.learn.world import TRIGGERS as WORDS

    rethink = ForcedRethink(
        settings.share,
        settings.quota,
        settings.imitate,
        settings.variant,
        triggers=WORDS if settings.problems == "world" else TRIGGERS,
        seed=settings.train.seed,
    )
    return {"shapers": [_replay(settings)], "rethink": rethink}
