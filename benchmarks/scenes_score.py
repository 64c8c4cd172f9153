"""Scoring 1,000 videos of 20 frames in four modes at three places, against a plain loop over triplets.

python benchmarks/scenes_score.py [--videos 1000] [--loop 100]

The loop is written as the published evaluators are: one frame at a time, candidates sorted, hits by set membership.
It runs on the first ``--loop`` videos; both are timed on those, by turns (medians), and must agree.
"""

import argparse
import time
from statistics import median

import numpy as np

from backcast.scenes.forecast import Case, GraphForecast
from backcast.scenes.problems import ACTION_GENOME as WORDS
from backcast.scenes.problems.household import make_household
from backcast.scenes.score import MODES, Rules, metric, tally

KS = (10, 20, 50)


def forecasts(asked: list[Case]) -> list[GraphForecast]:
    """Noisy scores of every predicate of about three objects a frame."""
    rng = np.random.default_rng(0)
    found = []
    for case in asked:
        shape = (len(case.future), len(WORDS.objects))
        listed = np.zeros(shape, bool)
        for t, frame in enumerate(case.future):
            listed[t, list(frame.objects)] = True
            listed[t, rng.choice(WORDS.candidates)] = True
        predicates = rng.random((*shape, len(WORDS.predicates))) * listed[..., None]
        index = np.array([frame.index for frame in case.future])
        found.append(GraphForecast(case.id, index, listed.astype(float), predicates, listed))
    return found


def candidates(scores: np.ndarray, things: list[int], mode: str) -> list[tuple[float, int, int]]:
    """Ranked triplets of one frame; object scores are 1."""
    rows = []
    for o in things:
        for group, ids in zip(WORDS.groups, WORDS.slices, strict=True):
            cells = [(float(scores[o, r]), r) for r in range(ids.start, ids.stop)]
            best = max(cells, key=lambda cell: (cell[0], -cell[1]))
            for score, r in cells:
                if mode == "no" or (mode == "multi" and score >= 0.5):
                    rows.append((-score, o, r))
                elif mode == "semi" and group.arity == "many":
                    if score > 0.9:
                        rows.append((-score, o, r))
                elif mode in ("with", "semi") and r == best[1]:
                    rows.append((-score, o, r))
    return sorted(rows)[:100]


def sets(made: list[GraphForecast], asked: list[Case]) -> dict[str, float]:
    """F1 of objects, hard triplets and novel triplets, and the Brier score."""
    counts = {name: [0, 0] for name in ("object", "triplet", "novel")}
    squared, cells = 0.0, 0
    for one, case in zip(made, asked, strict=True):
        before = case.seen[-1].triplets()
        for t, frame in enumerate(case.future):
            things = np.flatnonzero(one.listed[t]).tolist()
            true = frame.triplets()
            said = set()
            for o in things:
                for r in range(len(WORDS.predicates)):
                    score = float(one.predicates[t, o, r])
                    squared += (score - ((o, r) in true)) ** 2
                    cells += 1
                    if score >= 0.5:
                        said.add((o, r))
            pairs = {"object": (set(things), set(frame.objects)), "triplet": (said, true)}
            pairs["novel"] = (said - before, true - before)
            for name, (a, b) in pairs.items():
                counts[name][0] += 2 * len(a & b)
                counts[name][1] += len(a) + len(b)
    return {**{f"{name} f1": hit / every for name, (hit, every) in counts.items()}, "brier": squared / cells}


def loop(made: list[GraphForecast], asked: list[Case]) -> dict[str, float]:
    """R@k and mR@k of every mode, and the sets."""
    shares: dict[tuple[str, int], list[float]] = {}
    each: dict[tuple[str, int, int], list[float]] = {}
    for one, case in zip(made, asked, strict=True):
        for t, frame in enumerate(case.future):
            true = frame.triplets()
            things = np.flatnonzero(one.listed[t]).tolist()
            for mode in MODES:
                rows = [(o, r) for _, o, r in candidates(one.predicates[t], things, mode)]
                for k in KS:
                    top = set(rows[:k])
                    shares.setdefault((mode, k), []).append(len(true & top) / len(true))
                    for predicate in {r for _, r in true}:
                        mine = {cell for cell in true if cell[1] == predicate}
                        each.setdefault((mode, k, predicate), []).append(len(mine & top) / len(mine))
    found = {f"{mode} R@{k}": sum(values) / len(values) for (mode, k), values in shares.items()}
    for mode in MODES:
        for k in KS:
            means = [sum(values) / len(values) for (m, at, _), values in each.items() if (m, at) == (mode, k)]
            found[f"{mode} mR@{k}"] = sum(means) / len(WORDS.predicates)
    return {**found, **sets(made, asked)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--videos", type=int, default=1000)
    parser.add_argument("--loop", type=int, default=100)
    options = parser.parse_args()
    clips = [clip for clip in make_household(4 * options.videos).clips if len(clip.frames) > 20][: options.videos]
    asked = [Case(clip.id, clip.frames[:1], clip.frames[1:21]) for clip in clips]
    made = forecasts(asked)
    few, few_asked = made[: options.loop], asked[: options.loop]
    slow, fast = [], []
    for _ in range(3):
        start = time.process_time()
        plain = loop(few, few_asked)
        slow.append(time.process_time() - start)
        for _ in range(5):
            start = time.process_time()
            sums = tally(few, few_asked, WORDS, Rules(ks=KS)).total()
            fast.append(time.process_time() - start)
    worst = max(abs(float(metric(sums, name)) - value) for name, value in plain.items())
    start = time.process_time()
    tally(made, asked, WORDS, Rules(ks=KS))
    whole = time.process_time() - start
    print(f"{len(plain)} figures agree to {worst:.1e} on {len(few)} videos x 20 frames")
    ratio = median(slow) / median(fast)
    print(f"plain loop {median(slow):.2f} CPU-s, ours {median(fast):.3f} CPU-s: {ratio:.1f} times as fast")
    print(f"{len(asked)} videos x 20 frames, every metric: {whole:.2f} CPU-s")
    if worst > 1e-9:
        raise SystemExit("the two disagree")


if __name__ == "__main__":
    main()
