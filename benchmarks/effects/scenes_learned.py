"""What each part of the two-stage model brings: five folds, ablations, horizons, calibration, noise, and controls.

python benchmarks/effects/scenes_learned.py CLIPS --keep FOLDER [--folds 0 1 2 3 4] [--seed 0] [--noise] [--control]

CLIPS is a clips file ('backcast scene convert virtualhome... --to CLIPS'); clips of fewer than 4 frames are left out.
Each of five folds of groups is asked of models fitted on the others; weights, calibration and threshold are chosen
there too, anew at each F, on clips that the member asked has not seen. What is done is kept in FOLDER and found again.
"two-stage" lists objects from the chance of the best object F1 there, "two-stage .30" from the chance at which triplets
are held, as the nearest windows do: below it no triplet is gained, above it some that are held are not listed.
--control fits on clips whose frames were dealt out among them, so that every future belongs to another clip.
--permuted gives every class another's name, and every predicate that of another one of its group.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from effects_file import write

from backcast.scenes.counts import Persistence, forecast_all, oracle_objects
from backcast.scenes.forecast import Case, GraphForecast, cases
from backcast.scenes.ootsm import Settings, fit
from backcast.scenes.ootsm.calibrating import Calibration
from backcast.scenes.ootsm.fitting import weighed
from backcast.scenes.ootsm.mixing import Mixture, mixed
from backcast.scenes.ootsm.model import TwoStage
from backcast.scenes.problems import Clip, Clips, Frame, folds, read_clips
from backcast.scenes.problems.clip import dense
from backcast.scenes.problems.noise import noisy
from backcast.scenes.score import Rules, Tally, by_horizon, interval, metric, sweep, tally

METRICS = ("no R@5", "no R@10", "no mR@10", "object precision", "object recall", "object f1")
METRICS += ("appear recall", "appear precision", "appear f1", "novel f1", "brier", "ece")
PAIRED = ("no R@5", "no R@10", "no mR@10", "object f1", "appear f1", "novel f1", "brier", "ece")
AGAINST = ("persistence", "without stage 1", "markov+appearance .40", "knn .30", "knn, same precision")
AGAINST += ("not calibrated", "hard 0/1")
GATED = "two-stage .30"
RULES = Rules(ks=(5, 10), modes=("no", "with"), threshold=0.3)


@dataclass(frozen=True)
class Asked:
    """One fold: what is fitted on, what is asked."""

    train: Clips
    test: list[Clip]
    settings: Settings
    keep: Path
    """Where the fold's fit and tallies are kept."""


def model_of(one: Asked) -> TwoStage:
    """The fold's fit, made or found again."""
    folder = one.keep / "model"
    if (folder / "scenes.json").exists():
        return TwoStage.load(folder)
    start = time.process_time()
    model = fit(one.train, one.settings)
    print(f"fit: {time.process_time() - start:.0f} CPU-s", flush=True)
    model.save(folder)
    return model


def model_at(one: Asked, share: float) -> TwoStage:
    """The fit with its mixture chosen at ``share``."""
    model = model_of(one)
    return model if share == one.settings.fraction else weighed(model, one.train, replace(one.settings, fraction=share))


def dealt(train: Clips, rng: np.random.Generator) -> Clips:
    """Every frame goes to another clip, at the same place in it: nothing follows what it did follow.

    What comes late in the longest clips and has no other clip to go to is left out.
    """
    longest = max(len(clip.frames) for clip in train.clips)
    found: list[list[Frame]] = [[] for _ in train.clips]
    for t in range(longest):
        there = rng.permutation([i for i, clip in enumerate(train.clips) if len(clip.frames) > t]).tolist()
        if len(there) < 2:
            break
        for mine, other in zip(there, there[1:] + there[:1], strict=True):
            found[mine].append(replace(train.clips[mine].frames[t], objects=train.clips[other].frames[t].objects))
    return replace(train, clips=tuple(replace(c, frames=tuple(f)) for c, f in zip(train.clips, found, strict=True)))


def permuted(clips: Clips, rng: np.random.Generator) -> Clips:
    """Every object under the name of another, every predicate under that of another of its group."""
    words = clips.vocabulary
    things, labels = np.arange(len(words.objects)), np.arange(len(words.predicates))
    things[list(words.candidates)] = rng.permutation(words.candidates)
    for ids in words.slices:
        labels[ids] = rng.permutation(labels[ids])

    def renamed(frame: Frame) -> Frame:
        pairs = ((int(things[o]), tuple(sorted(int(labels[r]) for r in held))) for o, held in frame.objects.items())
        return replace(frame, objects=dict(pairs))

    return replace(clips, clips=tuple(replace(c, frames=tuple(map(renamed, c.frames))) for c in clips.clips))


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
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--folds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--parts", type=int, default=Settings().parts)
    parser.add_argument("--shares", type=float, nargs="+", default=[0.3, 0.5])
    parser.add_argument("--noise", action="store_true")
    parser.add_argument("--control", action="store_true")
    parser.add_argument("--permuted", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = read_clips(options.clips)
    if options.permuted:
        clips = permuted(clips, np.random.default_rng(options.seed))
    usable = [clip for clip in clips.clips if len(clip.frames) >= 4]
    settings = Settings(steps=options.steps, parts=options.parts, seed=options.seed)
    result: dict[str, object] = {"clips": len(usable), "folds": options.folds, "settings": settings.__dict__}
    kind = "_control" if options.control else "_permuted" if options.permuted else ""
    for share in options.shares:
        whole: dict[str, list[Tally]] = {}
        rest: dict[str, object] = {}
        for number in options.folds:
            inside = set(folds(usable, 5, 0)[number])
            train = Clips(clips.vocabulary, tuple(c for i, c in enumerate(usable) if i not in inside))
            train = dealt(train, np.random.default_rng(options.seed)) if options.control else train
            keep = options.keep / f"fold-{number}-{options.seed}{kind}"
            one = Asked(train, [usable[i] for i in sorted(inside)], settings, keep)
            print(f"F = {share}, fold {number}", flush=True)
            rows = controlled(one, share) if options.control else measured(one, share, rest, options.noise)
            for name, found in rows.items():
                whole.setdefault(name, []).append(found)
        result[f"F={share}"] = {**summed(whole), **rest}
    name = "_".join(map(str, options.folds))
    print(write(f"scenes_learned{kind}_{name}_seed_{options.seed}", result))


def summed(whole: dict[str, list[Tally]]) -> dict[str, object]:
    """Every row over all folds, and what two-stage brings against others, paired by clip."""
    found = {}
    for name, parts in whole.items():
        ids = tuple(i for part in parts for i in part.ids)
        sums = {key: np.concatenate([part.sums[key] for part in parts]) for key in parts[0].sums}
        found[name] = replace(parts[0], ids=ids, sums=sums)
    own = found[GATED] if GATED in found else found["two-stage"]
    result_gate = gate(found) if GATED in found else {}
    print(f"all, {len(own.ids)} clips, {int(own.total()['all_frames'])} frames", flush=True)
    result: dict[str, object] = {name: show(name, one) for name, one in found.items()}
    result["gate 2"] = result_gate
    print("gate 2:", result_gate, flush=True)
    result["videos"], result["frames"] = len(own.ids), int(own.total()["all_frames"])
    for other in (name for name in AGAINST if name in found):
        bounds = {key: interval(own, key, found[other]) for key in PAIRED}
        row = {key: [round(float(x), 4) for x in (b.value, b.low, b.high)] for key, b in bounds.items()}
        result[f"minus {other}"] = row
        print(f"minus {other}:", row, flush=True)
    for name in ("persistence", GATED if GATED in found else "two-stage"):
        for what, one in (("horizons", found[name]), ("horizons of long clips", long_ones(found[name]))):
            lines = [(line["horizon"], line["frames"], line["modes"]["no"]["R@10"]) for line in by_horizon(one)]
            result[f"{what} {name}"] = lines
            print(what, name, lines, flush=True)
        result[f"horizons, clips alike {name}"] = clips_alike(found[name])
        print("horizons, clips alike", name, clips_alike(found[name]), flush=True)
    return result


def gate(found: dict[str, Tally]) -> dict[str, object]:
    """Each line of the second gate at one operating point: what was found, what was wanted, whether it holds."""
    own, base = found[GATED], found["persistence"]

    def value(which: Tally, name: str) -> float:
        return float(metric(which.total(), name))

    wanted = {
        "no R@5": value(base, "no R@5") + 0.06,
        "no R@10": value(base, "no R@10") + 0.10,
        "no mR@10": value(base, "no mR@10") + 0.25,
        "object f1": value(base, "object f1"),
        "appear recall": 0.20,
        "appear precision": 0.40,
        "novel f1": 0.35,
    }
    lines = {name: [round(value(own, name), 4), round(least, 4)] for name, least in wanted.items()}
    return {**lines, "holds": all(value(own, name) >= least for name, least in wanted.items())}


def long_ones(found: Tally) -> Tally:
    """The clips that have a frame in every horizon bin: among all clips, far bins hold other clips than near ones."""
    kept = (found.sums["all_frames"] > 0).all(1)
    ids = tuple(name for name, keep in zip(found.ids, kept, strict=True) if keep)
    return replace(found, ids=ids, sums={name: value[kept] for name, value in found.sums.items()})


def clips_alike(found: Tally) -> list[float]:
    """R@10 by horizon bin of the clips that reach every bin, one voice a clip: a bin's frames are mostly those of the
    longest clips, and which those are changes from bin to bin."""
    each = metric(long_ones(found).sums, "no R@10")
    return [round(float(x), 4) for x in np.nanmean(each, 0)]


def answers(model: object, asked: list[Case]) -> list[GraphForecast]:
    return forecast_all(model, [(case.id, case.seen, case.future) for case in asked])  # type: ignore[arg-type]


def show(name: str, found: Tally) -> dict[str, float]:
    line = {key: round(float(metric(found.total(), key)), 4) for key in METRICS}
    print(f"{name:22s}", *(f"{key} {value:.3f}" for key, value in line.items()), flush=True)
    return line


def controlled(one: Asked, share: float) -> dict[str, Tally]:
    """Persistence and the model that was fitted on dealt frames."""
    asked, _ = cases(one.test, share)
    model = model_at(one, share)
    rows = {"persistence": answers(Persistence(model.vocabulary), asked), "two-stage": answers(model, asked)}
    return {name: tally(each, asked, model.vocabulary, RULES) for name, each in rows.items()}


def measured(one: Asked, share: float, rest: dict[str, object], noise: bool) -> dict[str, Tally]:
    """Every row's tally of one fold, kept in a file."""
    asked, _ = cases(one.test, share)
    words = one.train.vocabulary
    path = one.keep / f"tallies-{share}.npz"
    if path.exists() and not noise:
        with np.load(path) as file:
            rows: dict[str, dict[str, np.ndarray]] = {}
            for key in file.files:
                name, _, part = key.partition("|")
                rows.setdefault(name, {})[part] = file[key]
        return {name: Tally(tuple(c.id for c in asked), sums, words, RULES) for name, sums in rows.items()}
    start = time.process_time()
    model = model_at(one, share)
    print("listed from", model.mixture.listed, model.mixture.shares(), flush=True)
    rows_of = {name: tally(each, asked, words, RULES) for name, each in forecasts(model, asked, one.train).items()}
    for name, found in rows_of.items():
        show(name, found)
    np.savez_compressed(path, **{f"{n}|{key}": value for n, t in rows_of.items() for key, value in t.sums.items()})
    print(f"{time.process_time() - start:.0f} CPU-s", flush=True)
    if noise:
        model = replace(model, mixture=replace(model.mixture, listed=RULES.threshold))
        rest |= spoilt_rows(model, asked, one.train)
        rest["sweep"] = sweep(answers(model, asked), asked, words, RULES)
    return rows_of


def forecasts(model: TwoStage, asked: list[Case], train: Clips) -> dict[str, list[GraphForecast]]:
    words, mixture = train.vocabulary, model.mixture
    said = [model.answers(case.id, case.seen, [frame.index for frame in case.future]) for case in asked]

    def under(how: Mixture) -> list[GraphForecast]:
        return [mixed(row, case.seen[-1], how, words) for row, case in zip(said, asked, strict=True)]

    made = under(replace(mixture, listed=RULES.threshold))
    plain = under(replace(mixture, calibration=Calibration()))
    near = [row[2] for row in said]
    pairs = list(zip(made, asked, strict=True))
    return {
        "persistence": answers(Persistence(words), asked),
        "markov": [row[1] for row in said],
        "markov+appearance .40": answers(replace(model.markov, appear=0.4, gate=0.4), asked),
        "knn .30": near,
        "knn, same precision": as_precise(near, made, asked),
        "without stage 1": [known_objects(one, case, train) for one, case in pairs],
        "network alone": under(Mixture(listed=mixture.listed)),
        # The same objects are listed, so that Brier and ECE compare chances and nothing else.
        "not calibrated": [replace(a, listed=b.listed) for a, b in zip(plain, made, strict=True)],
        "two-stage": under(mixture),
        GATED: made,
        "hard 0/1": [
            replace(one, objects=one.listed.astype(float), predicates=(one.predicates >= 0.5) * 1.0) for one in made
        ],
        "oracle stage 1": [oracle_objects(one, case.future, words) for one, case in pairs],
    }


def as_precise(near: list[GraphForecast], made: list[GraphForecast], asked: list[Case]) -> list[GraphForecast]:
    """The nearest windows listing from the chance at which their objects are as precise as the model's."""
    present = np.concatenate([[[o in frame.objects for o in range(near[0].objects.shape[1])] for frame in case.future]
                              for case in asked])  # fmt: skip
    said, p = (np.concatenate(rows) for rows in ([one.listed for one in made], [one.objects for one in near]))
    wanted = present[said].mean()
    grid = np.arange(0.05, 0.95, 0.01)
    best = min(grid, key=lambda t: abs(present[p >= t].mean() - wanted) if (p >= t).any() else 1.0)
    return [replace(one, listed=one.objects >= best) for one in near]


def spoilt_rows(model: TwoStage, asked: list[Case], train: Clips) -> dict[str, object]:
    noise: dict[str, Callable[[], list]] = {
        "25 % spoilt": lambda: spoilt(asked, train, slice(None), 0.25, 1),
        "first two spoilt": lambda: spoilt(asked, train, slice(0, 2), 1.0, 1),
        "last two spoilt": lambda: spoilt(asked, train, slice(-2, None), 1.0, 1),
    }
    words = train.vocabulary
    return {
        name: show(name, tally(forecast_all(model, questions()), asked, words, RULES))
        for name, questions in noise.items()
    }


if __name__ == "__main__":
    main()
