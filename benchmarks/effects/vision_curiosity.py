"""Does curiosity keep a tool that plain reinforcement learning gives up? Tests 27 and 28 of the specification.

A model that points well (``vision_look.py`` leaves one in WORK/seed-N/eye) is given a bad start: it looks at half of
the questions, whether they need it or not, and ``--bad`` of its looks go elsewhere. ``--easy`` of the questions can be
answered from the overview. From there GRPO goes on twice, on right and wrong alone (the control) and with curiosity,
the paper's constants. What counts is measured on new questions at temperature 1, as in
training: how many look, and how many of those that need a look are right. Must hold: without curiosity the rate of
looking falls by half or more; with it, it ends at 0.3 or above, and 15 points more of the questions that need a look
are right.

``--uncorrected`` does test 28 instead, on scenes with six tiles, all of which need a look and where pointing is not
sure: curiosity from a warm start in the paper's mix of mistakes, and from one without its traces with mistakes. Must
hold: the share of looks that fail or miss ends higher without.

Resumable. Writes ``results/vision_curiosity.json`` or ``results/vision_corrections.json``.
Run: python benchmarks/effects/vision_curiosity.py WORK [--seeds 0 1 2] [--uncorrected]
"""

import argparse
import json
import random
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from effects_file import write
from vision_look import pointing

from backcast.core.files import write_json
from backcast.learn.stages import Training
from backcast.lm.base import Sampling
from backcast.lm.small_sight import Shape
from backcast.recipes.pixel import TRAIN, WARM
from backcast.vision.beginner.begin import looking
from backcast.vision.beginner.settings import AIM, SCENES, Eye, Point
from backcast.vision.curiosity import PAPER
from backcast.vision.looker.boxes import Box
from backcast.vision.looker.settings import LookSettings
from backcast.vision.problems.problem import VisualProblem
from backcast.vision.problems.scenes import generate, plain
from backcast.vision.score import ask, scores
from backcast.vision.stages import Lessons, Reinforced, open_looker, reinforce, warm
from backcast.vision.warmup.mix import MISTAKES
from backcast.vision.warmup.traces import RuleWriter, WarmTrace, build

EYE, POINT = Eye(), Point()


def main() -> None:
    given = parsed()
    kind = corrections if given.uncorrected else trap
    seeds = [kind(given.work / f"seed-{seed}", seed, given) for seed in given.seeds]
    held = {name: [seed["held"][name] for seed in seeds] for name in seeds[0]["held"]}
    settings = {name: value for name, value in vars(given).items() if name != "work"}
    name = "vision_corrections" if given.uncorrected else "vision_curiosity"
    path = write(name, {"settings": settings, "seeds": seeds, "held": held})
    print(json.dumps({"seeds": seeds, "held": held, "file": str(path)}, indent=1))


def parsed(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--easy", type=float, default=0.7, help="share of the questions that need no look")
    parser.add_argument("--bad", type=float, default=0.8, help="share of the looks of the bad start that go elsewhere")
    parser.add_argument("--tiles", type=int, default=6, help="tiles in the scenes of test 28")
    parser.add_argument("--traces", type=int, default=800, help="of each start")
    parser.add_argument("--epochs", type=float, default=3.0)
    parser.add_argument("--steps", type=int, default=0, help="of GRPO; 0: 60, with --uncorrected 40")
    parser.add_argument("--prompts", type=int, default=8, help="questions a step")
    parser.add_argument("--rate", type=float, default=0.0, help="0: 2e-4, with --uncorrected 1e-4")
    parser.add_argument("--test", type=int, default=200, help="questions that are measured")
    parser.add_argument("--uncorrected", action="store_true", help="test 28 instead of 27")
    given = parser.parse_args(words)
    steps, rate = (40, 1e-4) if given.uncorrected else (60, 2e-4)
    given.steps, given.rate = given.steps or steps, given.rate or rate
    return given


@dataclass(frozen=True)
class BadStart:
    """Traces that look half of the time, whatever is asked, and mostly elsewhere; ``stages.Lessons`` for ``warm``."""

    problems: list[VisualProblem]
    settings: LookSettings
    seed: int
    bad: float

    def make(self) -> tuple[list[WarmTrace], list[str]]:
        """(traces, no notes)"""
        found = []
        for problem in self.problems:
            chance = random.Random(f"{self.seed}|{problem.id}")
            kind, shown = "text-only", problem
            if chance.random() < 0.5:
                kind = "single-pass"
                size = problem.media().images[0].size
                other = AIM.elsewhere(Box(*problem.box, frame="own"), size, chance)
                if chance.random() < self.bad and other is not None:
                    shown = replace(problem, box=other.numbers)
            found.append(build(shown, kind, chance, RuleWriter(), self.settings, AIM))
        return found, []


class Uncorrected(Lessons):
    """Its traces without those that make mistakes: the paper's ablation; as many right first looks as with them."""

    def make(self) -> tuple[list[WarmTrace], list[str]]:
        """(traces, notes)"""
        traces, notes = super().make()
        return [trace for trace in traces if not MISTAKES[trace.kind]], notes


def trap(folder: Path, seed: int, given: argparse.Namespace, eye: Eye = EYE, point: Point = POINT) -> dict[str, Any]:
    """Test 27 with one seed; what is finished is not done again."""
    model, look = pointing(folder, seed, eye, point), looking(Shape())
    scenes = replace(SCENES, easy=given.easy)
    lessons = BadStart(generate(given.traces, scenes, seed + 10), look, seed, given.bad)
    start = warmed(folder / "0-trap", model, lessons, seed, given)
    test = generate(given.test, scenes, -100 - seed)
    found = {"start": measured(folder / "0-trap", start, test, look)}
    learn = generate(given.steps * given.prompts, scenes, seed + 20)
    for name, curiosity in (("1-plain", None), ("2-curious", PAPER)):
        what = Reinforced(learn, test[:16], look, training(given, seed), curiosity)
        found[name[2:]] = reinforced(folder / name, start, what, test)
    plain_one, curious_one = found["plain"], found["curious"]
    held = {
        "plain halves looking": plain_one["rapr"] <= found["start"]["rapr"] / 2,
        "curious keeps looking": curious_one["rapr"] >= 0.3,
        "15 points where needed": curious_one["small"] - plain_one["small"] >= 0.15,
    }
    return {"seed": seed, "n": given.test, **found, "held": held}


def corrections(
    folder: Path, seed: int, given: argparse.Namespace, eye: Eye = EYE, point: Point = POINT
) -> dict[str, Any]:
    """Test 28 with one seed; what is finished is not done again."""
    model, look = pointing(folder, seed, eye, point), looking(Shape())
    scenes = replace(SCENES, tiles=given.tiles, easy=0.0)
    test = generate(given.test, scenes, -100 - seed)
    learn = generate(given.steps * given.prompts, scenes, seed + 20)
    taught = generate(given.traces, scenes, seed + 10)
    found: dict[str, Any] = {}
    for number, (name, kind) in enumerate((("corrected", Lessons), ("uncorrected", Uncorrected))):
        begun = folder / f"{3 + 2 * number}-{name}"
        start = warmed(begun, model, kind(taught, look, seed, None, AIM), seed, given)
        found[f"{name} start"] = measured(begun, start, test, look)
        what = Reinforced(learn, test[:16], look, training(given, seed), PAPER)
        found[name] = reinforced(folder / f"{4 + 2 * number}-{name}-curious", start, what, test)
    held = {"more misses without": found["uncorrected"]["missed"] > found["corrected"]["missed"]}
    return {"seed": seed, "n": given.test, **found, "held": held}


def training(given: argparse.Namespace, seed: int) -> Training:
    """GRPO's settings."""
    settings = replace(TRAIN, steps=given.steps, prompts=given.prompts, learning_rate=given.rate)
    return replace(settings, micro=given.prompts * TRAIN.group, measured=16, save_every=10, seed=seed)


def warmed(folder: Path, model: Path, lessons: Any, seed: int, given: argparse.Namespace) -> Path:
    """The folder of a model trained on traces."""
    if not (folder / "model" / "tokenizer.json").exists():
        folder.mkdir(exist_ok=True)
        settings = replace(WARM, epochs=given.epochs, seed=seed)
        warm(folder, model, lessons, lessons.problems[:8], settings, True, None)
    return folder / "model"


def reinforced(folder: Path, start: Path, what: Reinforced, test: list[VisualProblem]) -> dict[str, Any]:
    """The figures of a model trained from ``start``."""
    if not (folder / "figures.json").exists():
        folder.mkdir(exist_ok=True)
        begun = time.process_time()
        result = reinforce(folder, start, what, None)
        vitals = {vital.name: vital.value for vital in result.vitals if vital.name.startswith("curiosity/")}
        write_json(folder / "trained.json", {**vitals, "cpu_seconds": time.process_time() - begun})
    return measured(folder, folder / "model", test, what.settings)


def measured(folder: Path, model: Path, test: list[VisualProblem], look: LookSettings) -> dict[str, Any]:
    """How many look, how many are right, how many looks fail or miss; at temperature 1."""
    done = folder / "figures.json"
    if not done.exists():
        looks = ask(open_looker(model), test, look, Sampling(1.0))
        values = scores(looks, test)
        rows = list(zip(test, looks, values, strict=True))
        small, large = ([row for row in rows if plain(row[0]) == easy] for easy in (False, True))
        boxes = [hit(one, problem) for problem, one, _ in rows for one in one.results]
        write_json(
            done,
            {
                "rapr": share([one.used for _, one, _ in rows]),
                "rapr_small": share([one.used for _, one, _ in small]),
                "rapr_large": share([one.used for _, one, _ in large]),
                "right": share(values),
                "small": share([value for _, _, value in small]),
                "large": share([value for _, _, value in large]),
                "missed": 1 - sum(boxes) / len(boxes) if boxes else None,
                "calls": len(boxes) / len(rows),
            },
        )
    found: dict[str, Any] = json.loads(done.read_text())
    trained = folder / "trained.json"
    return found | ({"training": json.loads(trained.read_text())} if trained.exists() else {})


def hit(result: Any, problem: VisualProblem) -> bool:
    """Whether a call succeeded and shows the middle of the tile that is asked for."""
    known = Box(*problem.box, frame="own")
    x, y = (known.x1 + known.x2) / 2, (known.y1 + known.y2) / 2
    return any(view.box.x1 <= x <= view.box.x2 and view.box.y1 <= y <= view.box.y2 for view in result.views)


def share(values: list[Any]) -> float | None:
    return sum(map(float, values)) / len(values) if values else None


if __name__ == "__main__":
    main()
