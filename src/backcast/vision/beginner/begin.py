"""A small model that can be taught to look: random weights, a vocabulary of the room's phrases, an eye that sees."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.progress import Progress
from backcast.core.run import Curve, StageResult
from backcast.core.vitals import Vital
from backcast.lm.local_sight import LocalSight
from backcast.lm.small_sight import Shape, save_sight, small_sight
from backcast.vision.beginner.settings import AIM, Eye
from backcast.vision.beginner.words import grid_numbers, phrases
from backcast.vision.looker.boxes import Budget
from backcast.vision.looker.settings import PRESETS, LookSettings
from backcast.vision.problems.problem import VisualProblem
from backcast.vision.problems.scenes import COLOURS, Scenes, generate, generate_tiles
from backcast.vision.warmup.mix import Aim
from backcast.vision.warmup.traces import synthesise

_SAMPLES = 60
"""Traces from which the vocabulary is taken."""


def looking(shape: Shape = Shape()) -> LookSettings:  # noqa: B008
    """How a small model looks: every picture is shown with its ``cells`` by ``cells`` tokens."""
    budget = Budget(shape.cells**2, shape.cells**2, 2 * shape.patch)
    return replace(PRESETS["strict"], first=budget, crop=budget, reply_tokens=48)


def make(template: str, scenes: Scenes, aim: Aim, shape: Shape, seed: int) -> tuple[Any, Any]:
    """(model, processor) with random weights, whose vocabulary knows the phrases of traces about such scenes."""
    problems = generate(_SAMPLES, scenes, seed)
    traces, _ = synthesise(problems, settings=looking(shape), seed=seed, aim=aim)
    bare = LocalSight(*small_sight(template, (), shape, seed))
    texts = [bare.render(trace.turns, trace.tools, opened=False) for trace in traces]
    return small_sight(template, phrases(texts, sorted(COLOURS), grid_numbers(aim.grid)), shape, seed)


def begin_small(
    folder: Path,
    scenes: Scenes,
    eye: Eye,
    held: Sequence[VisualProblem],
    seed: int,
    shape: Shape = Shape(),  # noqa: B008
) -> StageResult:
    """A stage: the small model is made, its eye is taught, and its (still useless) answers are measured."""
    from backcast.vision.stages import start, template

    taught = teach(folder, make(template(), scenes, AIM, shape, seed), scenes, eye, shape, seed)
    result = start(folder, folder / "model", held, looking(shape))
    about = "Share of pictures in which the eye tells {} right, on scenes it has not seen; the decoder learns from it."
    named = {"colour": "the tile's colour", "x": "where it is from the left", "digit": "a digit that is large enough"}
    vitals = [
        Vital(f"eye/{name}", taught.right.get(name), 0.5, None, about.format(what)) for name, what in named.items()
    ]
    return replace(
        result,
        curves=taught.curves,
        vitals=vitals,
        lineage=[f"start: a model of random weights, its eye taught in {eye.steps} steps of {eye.batch} pictures"],
    )


@dataclass(frozen=True)
class Taught:
    """What came of teaching the eye."""

    curves: tuple[Curve, ...]
    right: dict[str, float]
    """Share of right targets of each kind (colour, x, y, digit) on scenes that were not learnt from."""


def teach(
    folder: Path, parts: tuple[Any, Any], scenes: Scenes, settings: Eye, shape: Shape, seed: int, aim: Aim = AIM
) -> Taught:
    """Teaches the eye of (model, processor) and saves both in ``folder/model``; goes on from a checkpoint.

    Raises BadInput for scenes that are videos.
    """
    import torch

    from backcast.vision.beginner import tower

    if scenes.frames:
        raise BadInput("a small model is taught on images; set frames to 0")
    model, processor = parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = tower.Heads(shape.hidden)
    eye = model.model.visual
    weights = [*eye.parameters(), *heads.parameters()]
    optimizer = torch.optim.AdamW(weights, settings.learning_rate, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, settings.steps))
    kept, log = folder / "eye.pt", list[dict[str, float]]()
    objects: dict[str, Any] = {"eye": eye, "heads": heads, "optimizer": optimizer, "schedule": schedule}
    if kept.exists():
        state = torch.load(kept, weights_only=True)
        log = state.pop("log")
        for name, value in state.items():
            objects[name].load_state_dict(value)
    pool = list(generate_tiles(settings.scenes, scenes, seed + 1))
    pixels = (2 * shape.patch * shape.cells, shape.cells)
    with Progress("eye", settings.steps) as bar:
        bar.advance(len(log))
        for step in range(len(log), settings.steps):
            chance = random.Random(f"{seed}:{step}")
            pictures, wanted = tower.lesson(pool, settings.batch, pixels, aim.side, chance)
            value, right = tower.loss(heads, tower.features(model, processor, pictures), wanted)
            optimizer.zero_grad()
            value.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            schedule.step()
            log.append({"loss": float(value.detach()), **right})
            bar.advance(1, loss=f"{log[-1]['loss']:.2f}")
            if (step + 1) % settings.save_every == 0:
                state = {name: thing.state_dict() for name, thing in objects.items()}
                torch.save({**state, "log": log}, kept.with_suffix(".part"))
                kept.with_suffix(".part").replace(kept)
    save_sight(model, processor, folder / "model")
    return Taught(_curves(log), _measured(model, processor, heads, scenes, aim, pixels, seed))


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: rises over a twentieth, stays, falls to a fiftieth over the last quarter."""
    return min(1.0, (step + 1) / max(1, steps // 20), max(0.02, (steps - step) / max(1, steps / 4)))


def _measured(
    model: Any, processor: Any, heads: Any, scenes: Scenes, aim: Aim, pixels: tuple[int, int], seed: int
) -> dict[str, float]:
    """Accuracies on 192 pictures of scenes of their own."""
    import torch

    from backcast.vision.beginner import tower

    fresh = list(generate_tiles(64, scenes, seed + 2))
    pictures, wanted = tower.lesson(fresh, 192, pixels, aim.side, random.Random(seed))
    with torch.no_grad():
        return tower.loss(heads, tower.features(model, processor, pictures), wanted)[1]


def _curves(log: list[dict[str, float]]) -> tuple[Curve, ...]:
    span = max(1, len(log) // 100)
    starts = range(0, len(log) - span + 1, span)

    def points(name: str) -> list[list[float]]:
        found = []
        for start in starts:
            values = [row[name] for row in log[start : start + span] if name in row]
            if values:
                found.append([float(start + span), sum(values) / len(values)])
        return found

    series = {name: points(name) for name in ("colour", "x", "y", "digit")}
    return (Curve("The eye", "step", "share of cells told right", series),)
