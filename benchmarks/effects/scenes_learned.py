"""What each part of the two-stage model brings: ablations, horizons, calibration, noise, and a control that must fail.

python benchmarks/effects/scenes_learned.py CLIPS [--keep FOLDER] [--fold 0] [--seed 0] [--control]

CLIPS is a clips file ('backcast scene convert virtualhome... --to CLIPS'); clips of fewer than 4 frames are left out.
One of five folds of groups is asked, the others are fitted on, a fifth of them held out for weights, calibration and
threshold. With --keep fits are kept in a folder and found again. --control fits on clips whose futures belong to other
clips: what it gains over persistence is not from the past.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from effects_file import write

from backcast.scenes.counts import Markov, Neighbours, Persistence, forecast_all, oracle_objects
from backcast.scenes.forecast import Case, GraphForecast, cases
from backcast.scenes.ootsm import Settings, fit
from backcast.scenes.ootsm.calibrating import Calibration
from backcast.scenes.ootsm.mixing import mix_weights
from backcast.scenes.ootsm.model import TwoStage
from backcast.scenes.problems import Clip, Clips, Frame, folds, read_clips
from backcast.scenes.problems.clip import dense
from backcast.scenes.problems.noise import noisy
from backcast.scenes.score import Rules, by_horizon, interval, metric, sweep, tally

METRICS = ("no R@5", "no R@10", "no mR@10", "object precision", "object recall", "object f1")
METRICS += ("appear recall", "appear precision", "novel f1", "brier", "ece")
RULES = Rules(ks=(5, 10), modes=("no", "with"), threshold=0.3)


def model_of(train: Clips, settings: Settings, keep: Path | None, share: float) -> TwoStage:
    """The fit of ``train``, its mixture chosen at ``share``."""
    if keep is not None and (keep / "scenes.json").exists():
        model = TwoStage.load(keep)
    else:
        start = time.process_time()
        model = fit(train, settings)
        print(f"fit: {time.process_time() - start:.0f} CPU-s", flush=True)
        if keep is not None:
            model.save(keep)
    held = set(folds(train.clips, 5, settings.seed)[0])
    check, _ = cases([train.clips[i] for i in sorted(held)], share)
    return replace(model, mixture=mix_weights(model, check))


def shuffled(train: Clips, rng: np.random.Generator) -> Clips:
    """Every clip goes on as another clip does, from its middle."""
    order = rng.permutation(len(train.clips)).tolist()
    found = []
    for clip, other in zip(train.clips, (train.clips[i] for i in order), strict=True):
        head, tail = clip.frames[: len(clip.frames) // 2], other.frames[len(other.frames) // 2 :]
        last = head[-1].index if head else 0
        frames = (*head, *(Frame(last + 1 + t, frame.objects) for t, frame in enumerate(tail)))
        found.append(Clip(clip.id, frames, clip.split, clip.meta))
    return Clips(train.vocabulary, tuple(found))


def spoilt(asked: list[Case], words: Clips, which: slice, share: float, seed: int) -> list[tuple]:
    """The questions with some of the observed frames spoilt."""
    found = []
    for case in asked:
        clean = list(case.seen)
        bad = noisy(Clips(words.vocabulary, (Clip(case.id, case.seen),)), share, seed).clips[0].frames
        clean[which] = bad[which]
        found.append((case.id, tuple(clean), case.future))
    return found


def known_objects(one: GraphForecast, case: Case, words: Clips) -> GraphForecast:
    """Without stage 1: the objects of the last frame, for ever."""
    present, _ = dense(case.seen[-1:], words.vocabulary)
    listed = np.repeat(present, len(one.index), 0)
    return replace(one, objects=listed.astype(float), listed=listed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clips")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--fold", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--control", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(options.clips)
    usable = [clip for clip in clips.clips if len(clip.frames) >= 4]
    inside = set(folds(usable, 5, 0)[options.fold])
    train = Clips(clips.vocabulary, tuple(c for i, c in enumerate(usable) if i not in inside))
    settings = Settings(steps=options.steps, seed=options.seed)
    result: dict[str, object] = {"clips": len(usable), "fold": options.fold, "seed": options.seed}
    if options.control:
        train = shuffled(train, np.random.default_rng(options.seed))
    knn = None if options.control else Neighbours.fit(train)
    for share in options.shares:
        asked, _ = cases([usable[i] for i in sorted(inside)], share)
        model = model_of(train, settings, options.keep, share)
        result[f"F={share}"] = control(asked, model) if knn is None else measured(asked, model, train, knn)
    name = "scenes_learned_control" if options.control else "scenes_learned"
    print(write(f"{name}_{options.fold}_{options.seed}", result))


def control(asked: list[Case], model: TwoStage) -> dict[str, object]:
    """Persistence and the model whose futures belonged to other clips."""
    words = model.vocabulary
    rows = {"persistence": answers(Persistence(words), asked), "control": answers(model, asked)}
    found = {name: tally(each, asked, words, RULES) for name, each in rows.items()}
    result: dict[str, object] = {name: show(name, one) for name, one in found.items()}
    names = ("no R@5", "no R@10", "object f1", "novel f1")
    bounds = {key: interval(found["control"], key, found["persistence"]) for key in names}
    result["minus persistence"] = {key: [one.value, one.low, one.high] for key, one in bounds.items()}
    print("control minus persistence:", result["minus persistence"], flush=True)
    return result


def answers(model: object, asked: list[Case]) -> list[GraphForecast]:
    return forecast_all(model, [(case.id, case.seen, case.future) for case in asked])  # type: ignore[arg-type]


def show(name: str, found: object) -> dict[str, float]:
    line = {key: round(float(metric(found.total(), key)), 4) for key in METRICS}  # type: ignore[attr-defined]
    print(f"{name:22s}", *(f"{key} {value:.3f}" for key, value in line.items()), flush=True)
    return line


def measured(asked: list[Case], model: TwoStage, train: Clips, knn: Neighbours) -> dict[str, object]:
    words = train.vocabulary
    made = answers(model, asked)
    plain = replace(model, mixture=replace(model.mixture, calibration=Calibration()))
    alone = replace(model, mixture=replace(model.mixture, objects=(1.0,) * 4, predicates=(1.0,) * 4))
    pairs = list(zip(made, asked, strict=True))
    rows: dict[str, list[GraphForecast]] = {
        "persistence": answers(Persistence(words), asked),
        "markov": answers(model.markov, asked),
        "markov+appearance .40": answers(Markov.fit(train, appear=0.4, gate=0.4), asked),
        "knn .30": answers(knn, asked),
        "without stage 1": [known_objects(one, case, train) for one, case in pairs],
        "network alone": answers(alone, asked),
        "not calibrated": answers(plain, asked),
        "two-stage": made,
        "hard 0/1": [
            replace(one, objects=one.listed.astype(float), predicates=(one.predicates >= 0.5) * 1.0) for one in made
        ],
        "oracle stage 1": [oracle_objects(one, case.future, words) for one, case in pairs],
    }
    found = {name: tally(each, asked, words, RULES) for name, each in rows.items()}
    result: dict[str, object] = {name: show(name, one) for name, one in found.items()}
    own = found["two-stage"]
    for other in ("persistence", "without stage 1", "knn .30", "not calibrated"):
        bounds = {
            key: interval(own, key, found[other]) for key in ("no R@5", "no R@10", "object f1", "novel f1", "ece")
        }
        result[f"minus {other}"] = {key: [one.value, one.low, one.high] for key, one in bounds.items()}
        print(f"two-stage minus {other}:", result[f"minus {other}"], flush=True)
    for name in ("persistence", "two-stage"):
        lines = [(line["horizon"], line["frames"], line["modes"]["no"]["R@10"]) for line in by_horizon(found[name])]
        result[f"horizons {name}"] = lines
        print("by horizon", name, lines, flush=True)
    result["sweep"] = sweep(made, asked, words, RULES)
    noise: dict[str, Callable[[], list]] = {
        "25 % spoilt": lambda: spoilt(asked, train, slice(None), 0.25, 1),
        "first two spoilt": lambda: spoilt(asked, train, slice(0, 2), 1.0, 1),
        "last two spoilt": lambda: spoilt(asked, train, slice(-2, None), 1.0, 1),
    }
    for name, questions in noise.items():
        result[name] = show(name, tally(forecast_all(model, questions()), asked, words, RULES))
    return result


if __name__ == "__main__":
    main()
