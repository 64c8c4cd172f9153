"""Does a small model learn to look, and does it need what it looks at? Test 26 of the Pixel Reasoner specification.

For each seed: a small model is made, its eye taught on dense targets, its decoder taught to point, and it is trained
on warm-start traces. Then it is asked about scenes that it has not seen and must look at closer, with its tools,
without, and with tools that bring a random part, grey, or the right part. Must hold: tools on at least 85 %, off 5 to
20 %, random at most 25 %, oracle at least 90 %; and at least 90 % of the first boxes hold the whole tile on at most
10 % of the image.

Resumable: eye, pointing and warm start go on from their checkpoints in WORK. Writes ``results/vision_look.json``.
Run: python benchmarks/effects/vision_look.py WORK [--seeds 0 1 2] [--test 200] [--single]
"""

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from effects_file import over_seeds, write

from backcast.core.files import write_json
from backcast.lm.base import Sampling
from backcast.lm.small_sight import Shape
from backcast.recipes.pixel import WARM
from backcast.vision.beginner import point
from backcast.vision.beginner.begin import looking, make, teach
from backcast.vision.beginner.settings import AIM, SCENES, Eye, Point
from backcast.vision.looker.boxes import Box
from backcast.vision.problems.scenes import generate
from backcast.vision.score import Necessity, necessity
from backcast.vision.stages import Lessons, open_looker, template, warm
from backcast.vision.warmup.mix import IMAGE, UNCORRECTED, untooled

DEMANDED = {"on": (0.85, 1.0), "off": (0.05, 0.2), "random": (0.0, 0.25), "oracle": (0.9, 1.0), "hits": (0.9, 1.0)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("work", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--test", type=int, default=200, help="scenes that the model is asked about")
    parser.add_argument("--traces", type=int, default=2_000)
    parser.add_argument("--epochs", type=float, default=WARM.epochs)
    parser.add_argument("--single", action="store_true", help="traces without mistakes (the paper's ablation)")
    parser.add_argument("--name", default="vision_look")
    given = parser.parse_args()
    seeds = [one_seed(given.work / f"seed-{seed}", seed, given) for seed in given.seeds]
    figures = {key: over_seeds([seed[key] for seed in seeds]) for key in DEMANDED}
    held = {key: [low <= seed[key] <= high for seed in seeds] for key, (low, high) in DEMANDED.items()}
    settings = {"traces": given.traces, "epochs": given.epochs, "single": given.single, "eye": Eye().steps}
    settings |= {"point": Point().steps}
    path = write(given.name, {"settings": settings, "seeds": seeds, "mean_low_high": figures, "held": held})
    print(json.dumps({"figures": figures, "held": held, "file": str(path)}, indent=1))


def one_seed(folder: Path, seed: int, given: argparse.Namespace) -> dict[str, Any]:
    """The figures of one seed; what is finished is not done again."""
    done = folder / "figures.json"
    if done.exists():
        found: dict[str, Any] = json.loads(done.read_text())
        return found
    begun = time.process_time()
    model, start, shape = pointing(folder, seed, Eye(), Point()), folder / "warm", Shape()
    start.mkdir(exist_ok=True)
    problems = generate(given.test, replace(SCENES, easy=0.0), -1 - seed)
    if not (start / "model" / "tokenizer.json").exists():
        mixes = {"image": untooled(UNCORRECTED if given.single else IMAGE)}
        lessons = Lessons(generate(given.traces, SCENES, seed), looking(shape), seed, mixes, AIM)
        warm(start, model, lessons, problems[:16], replace(WARM, epochs=given.epochs, seed=seed), True, None)
    table = necessity(open_looker(start / "model"), problems, looking(shape), Sampling(0.0))
    figures: dict[str, Any] = {arm.name: arm.score.value for arm in table.arms}
    figures |= {"hits": hits(table, problems), **json.loads((folder / "eye" / "eye.json").read_text())}
    figures |= {"n": given.test, "seed": seed, "arms": table.rows(), "cpu_seconds": time.process_time() - begun}
    write_json(done, figures)
    return figures


def pointing(folder: Path, seed: int, eye: Eye, settings: Point) -> Path:
    """The folder of a model whose eye is taught and that points; made in ``folder/eye`` if it is not there."""
    home, shape = folder / "eye", Shape()
    if not (home / "eye.json").exists():
        home.mkdir(parents=True, exist_ok=True)
        parts = make(template(), SCENES, AIM, shape, seed)
        taught = teach(home, parts, SCENES, eye, shape, seed)
        _, right = point.teach(home, parts, SCENES, settings, looking(shape), seed)
        write_json(home / "eye.json", {"right": taught.right, "pointing": right})
    return home / "model"


def hits(table: Necessity, problems: list[Any]) -> float:
    """Share of conversations whose first box holds the whole tile and is at most a tenth of the image."""
    count = 0
    for look, problem in zip(table.looks, problems, strict=True):
        boxes = [view.box for view in look.views if view.tool == "zoom_in"]
        size = look.desk.media.images[0].size
        small = bool(boxes) and boxes[0].area() <= 0.1 * size[0] * size[1]
        count += small and boxes[0].contains(Box(*problem.box, frame="own"))
    return count / len(problems)


if __name__ == "__main__":
    main()
