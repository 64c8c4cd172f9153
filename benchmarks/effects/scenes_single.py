"""Two stages against one: the same size of decoder, steps and clips, and no counts mixed in.

python benchmarks/effects/scenes_single.py CLIPS [--fold 0] [--seed 0] [--steps 400] [--budget 256]

CLIPS as in ``scenes_learned.py``. One member of each stage (``steps`` each) against one decoder that writes all frames
with all objects in one answer (twice the steps, --budget tokens of prompt and answer). Two stages read at most 112
tokens at once, 96 of a prompt and 16 questions: with a budget of 112 the single stage has the same context. What the
single stage writes is listed; two stages list from .5 on, or from the chance at which triplets are held (.30), the
operating point of ``scenes_learned.py``.
"""

import argparse
import time
from dataclasses import replace

import torch
from effects_file import write
from scenes_learned import PAIRED, RULES, answers, show

from backcast.scenes.counts import Neighbours, Persistence
from backcast.scenes.forecast import cases
from backcast.scenes.ootsm import Settings, fit_single
from backcast.scenes.ootsm.encode import Encoder
from backcast.scenes.ootsm.fitting import fit_stage
from backcast.scenes.ootsm.model import TwoStage
from backcast.scenes.ootsm.single import BUDGET
from backcast.scenes.problems import Clips, folds, read_clips
from backcast.scenes.score import interval, tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips")
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--budget", type=int, default=BUDGET)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.3, 0.5])
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(options.clips)
    usable = [clip for clip in clips.clips if len(clip.frames) >= 4]
    inside = set(folds(usable, 5, 0)[options.fold])
    train = Clips(clips.vocabulary, tuple(c for i, c in enumerate(usable) if i not in inside))
    settings = Settings(steps=options.steps, seed=options.seed)
    start = time.process_time()
    encoder = Encoder(clips.vocabulary)
    parts = [fit_stage(number, 0, train, encoder, settings) for number in (1, 2)]
    two = TwoStage(encoder, (parts[0],), (parts[1],), Neighbours.fit(train))
    held = replace(two, mixture=replace(two.mixture, listed=RULES.threshold))
    middle = time.process_time()
    single = fit_single(train, settings, options.budget)
    spent = [round(middle - start), round(time.process_time() - middle)]
    result: dict[str, object] = {"fold": options.fold, "budget": options.budget, "settings": settings.__dict__}
    result["CPU-s two, single"] = spent
    for share in options.shares:
        asked, _ = cases([usable[i] for i in sorted(inside)], share)
        single.truncated = 0
        rows = {
            "persistence": tally(answers(Persistence(clips.vocabulary), asked), asked, clips.vocabulary, RULES),
            "single stage": tally(answers(single, asked), asked, clips.vocabulary, RULES),
            "two stages": tally(answers(two, asked), asked, clips.vocabulary, RULES),
            "two stages .30": tally(answers(held, asked), asked, clips.vocabulary, RULES),
        }
        lines: dict[str, object] = {name: show(name, found) for name, found in rows.items()}
        for name in ("two stages", "two stages .30"):
            bounds = {key: interval(rows[name], key, rows["single stage"]) for key in PAIRED}
            lines[f"{name} minus single stage"] = {key: [b.value, b.low, b.high] for key, b in bounds.items()}
            print(name, {key: [round(x, 4) for x in row] for key, row in lines[f"{name} minus single stage"].items()})
        lines["truncated"] = {"single stage": single.truncated, "two stages": 0, "of": len(asked)}
        print(lines["truncated"], flush=True)
        result[f"F={share}"] = lines
    name = f"scenes_single_{options.fold}_seed_{options.seed}_steps_{options.steps}_budget_{options.budget}"
    print(write(name, result))


if __name__ == "__main__":
    main()
