"""HICRA (2509.03646): GRPO with more credit for the tokens that plan, beside plain GRPO on the same questions."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from backcast.core.run import Plan, Run
from backcast.learn.stages import Training
from backcast.recipes.rl import begin, plan_lines, train_stage

FILES, MODELS = ("problems", "grams"), ("model",)


@dataclass(frozen=True)
class Settings:
    """HICRA: more credit for planning tokens."""

    problems: str = "world"
    """JSON Lines of {id?, prompt, answer, kind: numeric|choice|exact}; "world": the small world that ships with us;
    "reasoning-gym:NAME[:SIZE]": generated questions, if that extra is installed. A reply to a question of a file is
    read from its last <answer> block, LaTeX box or "answer is ..."; one without any must be the bare answer."""
    model: str = "world"
    """Alias, folder, .gguf or hub id; "world": a tiny model, warmed up on the small world in about a minute."""
    alpha: float = 0.2
    """Share of |A| added on planning tokens (the paper's value throughout)."""
    grams: str = ""
    """File with one planning phrase a line; empty: our own list (the world's phrases in the small world)."""
    target: Literal["planning", "execution", "entropy_long_correct"] = "planning"
    """Which tokens: planning (the paper), execution (the control that must not help), or the authors' code."""
    control: bool = True
    """Train plain GRPO first, with the same number of answers, as the baseline of the gap."""
    train: Training = field(default_factory=Training)
    """The training itself, the same for both."""

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha must be in [0, 1), found {self.alpha}: from 1 on, blame would become credit")


def plan(settings: Settings) -> list[Plan]:
    """What the stages are expected to take; raises BadInput for inputs that cannot be used."""
    _grams(settings)
    names = ["grpo", "hicra"] if settings.control else ["hicra"]
    return plan_lines(settings.model, settings.problems, settings.train, names)


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The stages ``start``, ``grpo`` (the control) and ``hicra``; returns the accuracies and the model's folder."""
    first = begin(run, settings.model, settings.problems, settings.train)
    accuracies = {"start": first.result.outputs["accuracy"]}
    baseline = accuracies["start"]
    if settings.control:
        stage = train_stage(run, "grpo", first, first, settings, dict)
        baseline = accuracies["grpo"] = stage.result.outputs["accuracy"]
    stage = train_stage(run, "hicra", first, first, settings, lambda: _parts(settings), baseline)
    accuracies["hicra"] = stage.result.outputs["accuracy"]
    return {"accuracy": accuracies, "model": stage.result.outputs["model"]}


def _grams(settings: Settings) -> list[str] | None:
    from backcast.core.errors import BadInput
    from backcast.learn.grams import Matcher
    from backcast.learn.world import GRAMS

    if not settings.grams:
        return GRAMS if settings.problems == "world" else None
    try:
        lines = Path(settings.grams).read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise BadInput(f"cannot read the grams in '{settings.grams}': {error.strerror}") from None
    return Matcher(line.strip() for line in lines if line.strip() and not line.startswith("//")).grams


def _parts(settings: Settings) -> dict[str, Any]:
    from backcast.learn.hicra import PlanningCredit

    credit = PlanningCredit(_grams(settings), settings.alpha, target=settings.target, token_metrics=True)
    return {"shapers": [credit]}
