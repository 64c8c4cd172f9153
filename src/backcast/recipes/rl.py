"""What the recipes that train on verifiable questions share: their first stage, a training stage, the estimate."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.run import Plan, Run, Stage
from backcast.learn.gym import is_gym
from backcast.learn.questions import WORLD, load, read
from backcast.learn.ranks import share
from backcast.learn.stages import Training, check_model, check_size, start, train
from backcast.recipes.estimate import Work, check, memory


def plan_lines(model: str, problems: str, training: Training, names: list[str]) -> list[Plan]:
    """Expected time and memory of ``start`` and each training; raises BadInput for inputs that do not fit."""
    check_model(model, problems)
    learn, held = load(problems, training.heldout, training.seed)
    check_size(len(learn), training)
    share(training.prompts * training.group, "prompts x group")
    measured = min(len(held), training.measured)
    rows = training.steps * training.prompts * training.group
    if model == WORLD:
        lines = [Plan("start", f"warm-up of the tiny model, {measured} tasks measured", 60, 1.5)]
        return lines + [Plan(name, f"{rows} answers", 5 + rows * 0.0025, 1.5) for name in names]
    check(model)
    tokens = rows * training.longest
    seconds = Work(sampled=tokens, trained=tokens).seconds(model)
    lines = [Plan("start", f"{measured} of {len(held)} held-out questions", seconds * measured / max(rows, 1), 2)]
    return lines + [
        Plan(name, f"{rows} answers to {len(learn)} questions", seconds, memory(model, True)) for name in names
    ]


def begin(run: Run, model: str, problems: str, training: Training) -> Stage:
    """The stage ``start``: the model to begin with, measured on the held-out questions."""
    from backcast.recipes.reer import model_mark

    _, held = load(problems, training.heldout, training.seed)
    keys = ("seed", "heldout", "measured", "longest", "warm")
    asked = {key: getattr(training, key) for key in keys}
    mark = {"model": [WORLD] if model == WORLD else model_mark(model), "problems": problems, **asked}
    return run.stage("start", lambda folder: start(folder, model, held, training), mark, _inputs(problems))


def train_stage(
    run: Run,
    name: str,
    first: Stage,
    previous: Stage,
    settings: Any,
    parts: Callable[[], Mapping[str, Any]],
    baseline: float | None = None,
) -> Stage:
    """A stage that trains the model of ``previous`` with ``parts``; its gap is against ``baseline``, or the start."""
    training: Training = settings.train
    questions = load(settings.problems, training.heldout, training.seed)
    model = Path(previous.result.outputs["model"])
    against = first.result.outputs["accuracy"] if baseline is None else baseline
    return run.stage(
        name,
        lambda folder: train(folder, model, questions, training, parts, against),
        [settings, against],
        [model, *_inputs(settings.problems)],
    )


def _inputs(problems: str) -> list[Path]:
    if problems == WORLD or is_gym(problems):
        return []
    if not Path(problems).exists():
        raise BadInput(f"no such file: '{problems}'; give a JSON Lines file of questions")
    found = [Path(problems)]
    return [*found, *dict.fromkeys(file for question in read(problems) for file in question.images)]
