"""Forecasting one clip: forced continuations with a shared prefix against each text by itself, and clips a CPU-second.

python benchmarks/scenes_forecast.py [--model FOLDER] [--frames 8]

The model is a random Llama of 107,000 parameters unless one is named; how good it is does not matter here. The naive
way is ``LocalLM.logprobs_naive``: every text from its beginning. Both score the texts of one forecast and must agree.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from backcast.lm.base import Scoring
from backcast.lm.local import LocalLM
from backcast.lm.models import resolve
from backcast.lm.tiny import make_tiny_llama
from backcast.scenes.counts import Markov
from backcast.scenes.ootsm import Settings, fit, zero_shot
from backcast.scenes.problems.household import make_household


class Recorded:
    """A model that keeps what it was asked."""

    def __init__(self, lm: LocalLM) -> None:
        self.lm, self.name, self.fingerprint = lm, lm.name, lm.fingerprint
        self.items: list[Scoring] = []
        self.sample = lm.sample

    def logprobs(self, items: Sequence[Scoring]) -> Any:
        self.items += items
        return self.lm.logprobs(items)


def seconds(work: Callable[[], object], times: int) -> float:
    """Median CPU-seconds."""
    found = []
    for _ in range(times):
        start = time.process_time()
        work()
        found.append(time.process_time() - start)
    return median(found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    clips = make_household(24, seed=0)
    clip = next(one for one in clips.clips if len(one.frames) >= 2 * options.frames)
    seen, index = clip.frames[: options.frames], [f.index for f in clip.frames[options.frames : 2 * options.frames]]
    with tempfile.TemporaryDirectory() as folder:
        lm = LocalLM(resolve(options.model) if options.model else make_tiny_llama(Path(folder)))
        recorded = Recorded(lm)
        model = zero_shot(recorded, Markov.fit(clips))
        spent = seconds(lambda: model.forecast(clip.id, seen, index), options.times)
        items = recorded.items[: len(recorded.items) // options.times]
        shared = seconds(lambda: lm.logprobs(items), options.times)
        naive = seconds(lambda: lm.logprobs_naive(items), 1)
        pairs = [zip(a, b, strict=True) for a, b in zip(lm.logprobs(items), lm.logprobs_naive(items), strict=True)]
        worst = max(float(np.abs(a.logprobs - b.logprobs).max()) for row in pairs for a, b in row)
    texts = sum(len(item.continuations) for item in items)
    print(f"{texts} continuations of {len(items)} prompts: equal to {worst:.1e}")
    print(f"naive {naive:.2f} CPU-s, shared prefix {shared:.2f} CPU-s: {naive / shared:.1f} times as fast")
    what = "the model" if options.model else "a Llama of 107,000 parameters"
    print(f"one clip, {len(seen)} frames seen, {len(index)} to come, 35 objects: {1 / spent:.2f} a CPU-s by {what}")
    tiny = fit(clips, Settings(steps=2))
    spent = seconds(lambda: tiny.forecast(clip.id, seen, index), max(options.times, 5))
    print(f"the same clip by the tiny decoders: {1 / spent:.1f} clips a CPU-s")
    if worst > 1e-4:
        raise SystemExit("the two disagree")


if __name__ == "__main__":
    main()
