"""A small model that can be taught to look: random weights, a vocabulary of the room's phrases, an eye that sees."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.run import Curve, StageResult
from backcast.core.vitals import Vital
from backcast.lm.local_sight import LocalSight
from backcast.lm.small_sight import Shape, save_sight, small_sight
from backcast.vision.beginner.settings import AIM, Eye, Point
from backcast.vision.beginner.words import grid_numbers, phrases
from backcast.vision.looker.boxes import Budget
from backcast.vision.looker.settings import PRESETS, LookSettings
from backcast.vision.problems.problem import VisualProblem
from backcast.vision.problems.scenes import COLOURS, Scenes, generate, generate_tiles, plain
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
    traces, _ = synthesise(problems, settings=looking(shape), seed=seed, aim=aim, plain=plain)
    bare = LocalSight(*small_sight(template, (), shape, seed))
    texts = [bare.render(trace.turns, trace.tools, opened=False) for trace in traces]
    return small_sight(template, phrases(texts, sorted(COLOURS), grid_numbers(aim.grid)), shape, seed)


def begin_small(
    folder: Path,
    scenes: Scenes,
    lessons: tuple[Eye, Point],
    held: Sequence[VisualProblem],
    seed: int,
    shape: Shape = Shape(),  # noqa: B008
) -> StageResult:
    """A stage: the small model is made, its eye is taught, then to look; its (still useless) answers are measured."""
    from backcast.vision.stages import start, template

    eye, point = lessons
    parts = make(template(), scenes, AIM, shape, seed)
    taught = teach(folder, parts, scenes, eye, shape, seed)
    said = [f"start: a model of random weights, its eye taught in {eye.steps} steps of {eye.batch} pictures"]
    right, curves = {f"eye/{name}": value for name, value in taught.right.items()}, taught.curves
    if point.steps:
        from backcast.vision.beginner import point as pointing
        from backcast.vision.beginner.course import points

        log, found = pointing.teach(folder, parts, scenes, point, looking(shape), seed)
        right |= {f"point/{name}": value for name, value in found.items()}
        series = {name: points(log, name) for name in found}
        curves = (*curves, Curve("Lessons in looking", "step", "share told right", series))
        said.append(f"start: its decoder taught to look in {point.steps} steps of {point.batch} looks")
    result = start(folder, folder / "model", held, looking(shape))
    vitals = [Vital(name, right.get(name), 0.5, None, about) for name, about in _ABOUT.items() if _taught(name, point)]
    return replace(result, curves=curves, vitals=vitals, lineage=said)


_ABOUT = {
    "eye/colour": "Share of pictures in which the eye tells the tile's colour right, on scenes it has not seen.",
    "eye/x": "The same of where the tile is from the left; the decoder learns from it.",
    "eye/digit": "The same of a digit that is large enough.",
    "point/x": "Share of boxes whose left edge is that of the tile asked for, to the grid, on scenes it has not seen.",
    "point/y": "The same of the upper edge.",
    "point/look": "Share of digits read right in a right look.",
    "point/tell": "Share of digits told right from the whole, where the tile is large enough.",
    "point/look named": "Share of edges that a head names right at the colour's own tokens.",
    "point/tell named": "The same of digits that can be told from the whole.",
}


def _taught(name: str, point: Point) -> bool:
    told = point.steps > 0 and (point.naming > 0 or not name.endswith(" named"))
    return told or not name.startswith("point/")


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
    from backcast.vision.beginner.course import Course

    if scenes.frames:
        raise BadInput("a small model is taught on images; set frames to 0")
    model, processor = parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        heads = tower.Heads(shape.hidden)
    mixed = replace(scenes, easy=settings.easy)
    pixels = (2 * shape.patch * shape.cells, shape.cells)

    @lru_cache(maxsize=1)
    def pool(number: int) -> list[Any]:
        chance = random.Random(f"{seed}:eye:{number}")
        return list(generate_tiles(settings.scenes, mixed, chance.getrandbits(60)))

    def lesson(step: int) -> tuple[Any, dict[str, float]]:
        chance = random.Random(f"{seed}:{step}")
        pictures, wanted = tower.lesson(pool(step // settings.fresh), settings.batch, pixels, aim.side, chance)
        return tower.loss(heads, tower.features(model, processor, pictures), wanted)

    modules = {"eye": model.model.visual, "heads": heads}
    log = Course("eye", modules, settings.steps, settings.learning_rate, settings.save_every).run(
        folder / "eye.pt", lesson
    )
    save_sight(model, processor, folder / "model")
    return Taught(_curves(log), _measured(model, processor, heads, scenes, aim, pixels, seed))


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
    from backcast.vision.beginner.course import points

    series = {name: points(log, name) for name in ("colour", "x", "y", "digit")}
    return (Curve("The eye", "step", "share of cells told right", series),)
