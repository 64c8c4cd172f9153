"""The bar that a learned model has to clear: count models on VirtualHome's programs, grouped five-fold.

python benchmarks/effects/scenes_counts.py virtualhome_eval-0.1.1-py3-none-any.whl

Programs of at least 4 frames; folds keep variants of one description and equal action sequences together; seed 0. All
predicates are ranked; novel triplets have joint probability of at least .30 (knn: .25). A clips file is read as well.

Every row that was reported by other code is compared. Those figures are of five folds, knn's of one unknown fold of 89
programs: so they are compared with what folds of 89 programs of ours spread over (whole groups, drawn 2,000 times).
"""

import argparse
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from effects_file import write

from backcast.scenes.counts import OF_ALL, Forecaster, Markov, Neighbours, Persistence, forecast_all
from backcast.scenes.forecast import cases
from backcast.scenes.problems import Clip, Clips, folds
from backcast.scenes.problems.convert import read_any
from backcast.scenes.score import Rules, Tally, metric, tally

METRICS = ("no R@5", "no R@10", "no mR@10", "object precision", "object recall", "object f1")
METRICS += ("appear recall", "appear precision", "novel f1")
COPY = ("no R@5", "no R@10", "no mR@10", "object f1")
SETS = METRICS[1:]
OF_KNN = 89
"""Programs of the fold that knn was reported on."""
GATE = 0.015

REPORTED: dict[tuple[float, str], dict[str, float]] = {
    **{(f, "persistence"): dict(zip(COPY, row, strict=True)) for f, row in (
        (0.3, (.592, .619, .329, .804)), (0.5, (.686, .735, .477, .872)), (0.7, (.748, .856, .680, .940)))},
    **{(f, "markov"): dict(zip((*COPY[:3], "novel f1"), row, strict=True)) for f, row in (
        (0.3, (.654, .687, .531, .197)), (0.5, (.737, .802, .692, .251)), (0.7, (.789, .907, .843, .313)))},
    **{(f, "of all .15"): dict(zip(SETS, row, strict=True)) for f, row in (
        (0.3, (.793, .656, .590, .839, .693, .451, .199, .375)),
        (0.5, (.866, .754, .667, .896, .765, .447, .175, .364)),
        (0.7, (.926, .866, .812, .938, .870, .314, .130, .311)))},
    **{(f, "of all .40, gated"): dict(zip(SETS, row, strict=True)) for f, row in (
        (0.3, (.736, .621, .873, .762, .814, .221, .493, .362)),
        (0.5, (.824, .718, .909, .838, .872, .178, .459, .362)),
        (0.7, (.905, .841, .957, .907, .932, .020, .106, .308)))},
    **{(f, "knn .15"): dict(zip(SETS, row, strict=True)) for f, row in (
        (0.3, (.798, .720, .744, .832, .785, .413, .337, .388)),
        (0.5, (.865, .796, .788, .884, .833, .341, .227, .365)))},
    **{(f, "knn .30"): dict(zip(SETS, row, strict=True)) for f, row in (
        (0.3, (.737, .607, .864, .767, .813, .205, .467, .370)),
        (0.5, (.836, .779, .892, .852, .872, .186, .318, .353)))},
}  # fmt: skip


def models(train: Clips) -> dict[str, tuple[Forecaster, float]]:
    markov, knn = Markov.fit(train), Neighbours.fit(train)
    of_all = replace(markov, arrivals=OF_ALL)
    return {
        "persistence": (Persistence(train.vocabulary), 0.3),
        "markov": (markov, 0.3),
        "markov+appearance .15": (replace(markov, appear=0.15), 0.3),
        "markov+appearance .40, gated": (replace(markov, appear=0.4, gate=0.4), 0.3),
        "of all .15": (replace(of_all, appear=0.15), 0.3),
        "of all .40, gated": (replace(of_all, appear=0.4, gate=0.4), 0.3),
        "knn .15": (replace(knn, listed=0.15), 0.25),
        "knn .30": (knn, 0.25),
    }


def asked_of_all(clips: Clips, usable: list[Clip], share: float) -> dict[str, dict[str, np.ndarray]]:
    """Sums of every model, one row a program."""
    rows: dict[str, list[Tally]] = {}
    for fold in folds(usable, 5, 0):
        inside = set(fold)
        train = Clips(clips.vocabulary, tuple(c for i, c in enumerate(usable) if i not in inside))
        asked, _ = cases([usable[i] for i in fold], share)
        for name, (model, threshold) in models(train).items():
            made = forecast_all(model, [(case.id, case.seen, case.future) for case in asked])
            rows.setdefault(name, []).append(
                tally(made, asked, clips.vocabulary, Rules((5, 10), ("no",), threshold=threshold))
            )
    return {
        name: {key: np.concatenate([part.sums[key].sum(1) for part in parts]) for key in parts[0].sums}
        for name, parts in rows.items()
    }


def subsets(usable: list[Clip], share: float) -> np.ndarray:
    """(2000, programs) of 0 and 1: whole groups that make up ``OF_KNN`` programs; in the order of the tallies."""
    asked = [i for fold in folds(usable, 5, 0) for i in fold if cases([usable[i]], share)[0]]
    _, group = np.unique([str(usable[i].meta["group"]) for i in asked], return_inverse=True)
    size, rng = np.bincount(group), np.random.default_rng(0)
    drawn = np.zeros((2000, len(asked)))
    for row in drawn:
        left = OF_KNN
        for g in rng.permutation(len(size)):
            if size[g] <= left:
                row[group == g] = 1
                left -= size[g]
    return drawn


def compared(share: float, found: dict[str, dict[str, np.ndarray]], drawn: np.ndarray) -> Iterator[tuple[str, dict]]:
    """Each reported row: differences in points, or, for knn, where the reported figure lies among folds of 89."""
    for (f, name), row in REPORTED.items():
        if f != share:
            continue
        whole = {key: value.sum(0) for key, value in found[name].items()}
        line: dict[str, object] = {key: round(100 * (float(metric(whole, key)) - row[key]), 2) for key in row}
        if name.startswith("knn"):
            some = {key: np.tensordot(drawn, value, 1) for key, value in found[name].items()}
            for key in row:
                low, high = np.quantile(metric(some, key), [0.025, 0.975])
                inside = bool(low <= row[key] <= high)
                line[key] = [line[key], round(100 * float(low), 1), round(100 * float(high), 1), inside]
            line["inside"] = sum(value[3] for value in line.values() if isinstance(value, list))
        else:
            line["largest"] = max(abs(value) for value in line.values() if isinstance(value, float))
            line["holds"] = line["largest"] <= 100 * GATE
        yield name, line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wheel")
    options = parser.parse_args()
    clips = read_any(options.wheel)
    usable = [clip for clip in clips.clips if len(clip.frames) >= 4]
    result: dict[str, object] = {"programs": len(usable), "folds": 5, "seed": 0}
    for share in (0.3, 0.5, 0.7):
        found = asked_of_all(clips, usable, share)
        totals = {name: {key: value.sum(0) for key, value in one.items()} for name, one in found.items()}
        lines = {name: {key: _rounded(metric(one, key)) for key in METRICS} for name, one in totals.items()}
        frames = int(next(iter(totals.values()))["frames"])
        for name, line in lines.items():
            print(share, frames, name, line, flush=True)
        reported = dict(compared(share, found, subsets(usable, share)))
        for name, line in reported.items():
            print(share, "minus reported, points:", name, line, flush=True)
        result[f"F={share}"] = {"frames": frames, **lines, "minus reported": reported}
        gate = {name: line["holds"] for name, line in reported.items() if "holds" in line}
        print(share, "within 1.5 points of what was reported:", gate, flush=True)
    print(write("scenes_counts", result))


def _rounded(value: object) -> float | None:
    number = float(value)  # type: ignore[arg-type]
    return round(number, 4) if number == number else None


if __name__ == "__main__":
    main()
