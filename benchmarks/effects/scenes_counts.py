"""The bar that a learned model has to clear: count models on VirtualHome's programs, grouped five-fold.

python benchmarks/effects/scenes_counts.py virtualhome_eval-0.1.1-py3-none-any.whl

Programs of at least 4 frames; folds keep variants of one description and equal action sequences together; seed 0. All
predicates are ranked; novel triplets have joint probability of at least .30 (knn: .25).
"""

import argparse
from dataclasses import replace

from effects_file import write

from backcast.scenes.counts import Forecaster, Markov, Neighbours, Persistence, forecast_all
from backcast.scenes.forecast import cases
from backcast.scenes.problems import Clips, folds
from backcast.scenes.problems.virtualhome import read_virtualhome
from backcast.scenes.score import Rules, metric, tally

METRICS = ("no R@5", "no R@10", "no mR@10", "object precision", "object recall", "object f1")
METRICS += ("appear recall", "appear precision", "novel f1")


def models(train: Clips) -> dict[str, tuple[Forecaster, float]]:
    markov, knn = Markov.fit(train), Neighbours.fit(train)
    return {
        "persistence": (Persistence(train.vocabulary), 0.3),
        "markov": (markov, 0.3),
        "markov+appearance .15": (replace(markov, appear=0.15), 0.3),
        "markov+appearance .40, gated": (replace(markov, appear=0.4, gate=0.4), 0.3),
        "knn .15": (replace(knn, listed=0.15), 0.25),
        "knn .30": (knn, 0.25),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel")
    options = parser.parse_args()
    clips = read_virtualhome(options.wheel)
    usable = [clip for clip in clips.clips if len(clip.frames) >= 4]
    result: dict[str, object] = {"programs": len(usable), "folds": 5, "seed": 0}
    for share in (0.3, 0.5, 0.7):
        sums: dict[str, dict] = {}
        for fold in folds(usable, 5, 0):
            inside = set(fold)
            train = Clips(clips.vocabulary, tuple(c for i, c in enumerate(usable) if i not in inside))
            asked, _ = cases([usable[i] for i in fold], share)
            for name, (model, threshold) in models(train).items():
                made = forecast_all(model, [(case.id, case.seen, case.future) for case in asked])
                rules = Rules(ks=(5, 10), modes=("no",), threshold=threshold)
                part = tally(made, asked, clips.vocabulary, rules).total()
                sums[name] = {key: sums[name][key] + value for key, value in part.items()} if name in sums else part
        lines = {name: {key: _rounded(metric(one, key)) for key in METRICS} for name, one in sums.items()}
        frames = int(next(iter(sums.values()))["frames"])
        result[f"F={share}"] = {"frames": frames, **lines}
        for name, line in lines.items():
            print(share, frames, name, line, flush=True)
    print(write("scenes_counts", result))


def _rounded(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return round(number, 4) if number == number else None


if __name__ == "__main__":
    main()
