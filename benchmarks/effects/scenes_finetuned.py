"""A language model as it comes beside its fit, the tiny model and counts: recall near and far, on the same programs.

python benchmarks/effects/scenes_finetuned.py CLIPS --keep FOLDER [--model smollm2] [--activities NAME ...]
       [--steps 60] [--asked 10] [--horizon 0.3] [--seed 0] [--tiny-steps 400]

CLIPS is a clips file ('backcast scene convert virtualhome... --to CLIPS'). With --activities only their programs are
taken, and only the objects that they hold: a language model's cost grows with the names it must choose from. Fold 0 of
five folds of groups is asked, the first --asked of its programs in an order drawn by the seed; everything is fitted on
the other four. What is done is kept in FOLDER, clip by clip, and found again. One thread.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from effects_file import write

from backcast.scenes.counts import Forecaster, forecast_all
from backcast.scenes.forecast import Case, GraphForecast, cases, read_forecasts, write_forecasts
from backcast.scenes.ootsm import Adapting, Settings, adapt, fit, load
from backcast.scenes.ootsm.stored import is_fit, save_language
from backcast.scenes.problems import Clips, folds, read_clips
from backcast.scenes.score import Rules, interval, short_and_long, tally
from backcast.scenes.trial import COUNTS, forecaster

RULES = Rules((10, 20, 50), ("no",), threshold=0.3)


def of_activities(clips: Clips, names: list[str]) -> Clips:
    """The programs of these activities, in the words that they use."""
    chosen = [clip for clip in clips.clips if not names or clip.meta["activity"] in names]
    held = sorted({o for clip in chosen for frame in clip.frames for o in frame.objects}) if names else None
    if held is None:
        return clips
    number = {o: i for i, o in enumerate(held)}
    words = replace(clips.vocabulary, objects=tuple(clips.vocabulary.objects[o] for o in held))
    renamed = [
        replace(c, frames=tuple(replace(f, objects={number[o]: r for o, r in f.objects.items()}) for f in c.frames))
        for c in chosen
    ]
    return Clips(words, tuple(renamed))


def fits(options: argparse.Namespace, train: Clips) -> dict[str, Path]:
    """The folders of both fits, made or found again."""
    folders = {"tiny, two-stage": options.keep / "tiny", f"{options.model}, fitted": options.keep / "adapted"}
    tiny, adapted = folders.values()
    if not is_fit(tiny):
        settings = Settings(steps=options.tiny_steps, fraction=options.horizon, seed=options.seed)
        fit(train, settings).save(tiny)
    if not is_fit(adapted):
        start = time.process_time()
        how = Adapting(
            options.steps, batch=2, rate=options.rate, fraction=options.horizon, held_out=options.held_out,
            seed=options.seed,
        )  # fmt: skip
        save_language(adapt(options.model, train, how, adapted), adapted, options.model, {})
        print(f"{options.model}: {options.steps} steps a stage, {time.process_time() - start:.0f} CPU-s", flush=True)
    return folders


def kept(path: Path, model: Forecaster, asked: list[Case], clips: Clips) -> list[GraphForecast]:
    """The forecasts of every case, from the file as far as it goes; what is made is written clip by clip."""
    made = {one.id: one for one in read_forecasts(path)[1]} if path.exists() else {}
    for case in asked:
        if case.id not in made:
            start = time.process_time()
            made |= {one.id: one for one in forecast_all(model, [(case.id, case.seen, case.future)])}
            spent = time.process_time() - start
            print(f"{path.stem} {case.id}: {len(case.future)} frames, {spent:.1f} CPU-s", flush=True)
            write_forecasts(path, list(made.values()), clips.vocabulary)
    return [made[case.id] for case in asked]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--model", default="smollm2")
    parser.add_argument("--activities", nargs="+", default=[])
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--tiny-steps", type=int, default=Settings().steps)
    parser.add_argument("--rate", type=float, default=5e-4)
    parser.add_argument("--held-out", type=int, default=6)
    parser.add_argument("--asked", type=int, default=10)
    parser.add_argument("--horizon", type=float, default=0.3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    options.keep.mkdir(parents=True, exist_ok=True)
    whole = read_clips(options.clips)
    clips = of_activities(replace(whole, clips=tuple(c for c in whole.clips if len(c.frames) >= 4)), options.activities)
    fold = folds(clips.clips, 5, 0)[0]
    inside, order = set(fold), np.random.default_rng(options.seed).permutation(fold).tolist()
    train = replace(clips, clips=tuple(c for i, c in enumerate(clips.clips) if i not in inside))
    asked, _ = cases([clips.clips[i] for i in sorted(order[: options.asked])], options.horizon)
    answers = {
        name: forecast_all(make(train), [(c.id, c.seen, c.future) for c in asked]) for name, make in COUNTS.items()
    }
    folders = fits(options, train)
    bare = f"{options.model}, as it comes"
    answers[bare] = kept(options.keep / "bare.jsonl", forecaster(options.model, clips)(train), asked, clips)
    for name, folder in folders.items():
        answers[name] = kept(options.keep / f"{folder.name}.jsonl", load(folder), asked, clips)
    found = {name: tally(made, asked, clips.vocabulary, RULES) for name, made in answers.items()}
    result: dict[str, object] = {"programs": len(asked), "fitted on": len(train.clips), "steps": options.steps}
    result["objects"] = len(clips.vocabulary.objects)
    for name, one in found.items():
        parts = {part: {**line["modes"]["no"], "frames": line["frames"]} for part, line in short_and_long(one).items()}
        result[name] = parts
        for part, line in parts.items():
            print(f"{name:24s} {part:35s}", *(f"{key} {value}" for key, value in line.items()), flush=True)
    for other in (bare, "tiny, two-stage", "knn"):
        row = interval(found[f"{options.model}, fitted"], "no R@10", found[other])
        result[f"fitted minus {other}, no R@10"] = [row.value, row.low, row.high]
        print(f"fitted minus {other}, no R@10: {row.value} [{row.low}, {row.high}]", flush=True)
    print(write("scenes_finetuned", result))


if __name__ == "__main__":
    main()
