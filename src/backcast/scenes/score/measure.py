"""Metrics from tallied sums, for one system and for two, with intervals over clips."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.stats import Interval
from backcast.scenes.score.rows import HORIZONS, SECONDS, Tally

Sums = Mapping[str, np.ndarray]
FAMILIES = {
    "object": "objects",
    "appear": "appearance",
    "vanish": "disappearance",
    "triplet": "triplets",
    "novel": "novel",
}


def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
    """``top / bottom``; NaN where nothing could be measured."""
    out = np.full(np.shape(bottom), np.nan)
    return np.asarray(np.divide(top, bottom, out=out, where=np.asarray(bottom) > 0))


def recall(sums: Sums, mode: str, k: int) -> np.ndarray:
    """R@k: unweighted mean over frames of the share of true triplets among the first k."""
    return ratio(sums[f"recall {mode} {k}"], sums["frames"])


def mean_recall(sums: Sums, mode: str, k: int, present_only: bool = False) -> np.ndarray:
    """mR@k: mean over all predicates of the vocabulary, those that never occur counting 0 as published.

    ``present_only``: over those that occur in the frames scored.
    """
    frames = sums["predicate_frames"]
    each = np.where(frames > 0, sums[f"predicate {mode} {k}"] / np.maximum(frames, 1), 0.0)
    if present_only:
        return ratio(each.sum(-1), (frames > 0).sum(-1))
    return np.where(sums["frames"] > 0, each.mean(-1), np.nan)


def precision(sums: Sums, family: str) -> np.ndarray:
    """Share of what was said that is true."""
    return ratio(sums[f"{family} tp"], sums[f"{family} tp"] + sums[f"{family} fp"])


def coverage(sums: Sums, family: str) -> np.ndarray:
    """Share of what is true that was said (the recall of a set)."""
    return ratio(sums[f"{family} tp"], sums[f"{family} tp"] + sums[f"{family} fn"])


def f1(sums: Sums, family: str) -> np.ndarray:
    """2 tp / (2 tp + fp + fn)."""
    hit = 2 * sums[f"{family} tp"]
    return ratio(hit, hit + sums[f"{family} fp"] + sums[f"{family} fn"])


def brier(sums: Sums) -> np.ndarray:
    """Mean squared error of triplet probabilities over listed objects times predicates."""
    return ratio(sums["squared"], sums["cells"])


def ece(sums: Sums) -> np.ndarray:
    """Expected calibration error, 15 equal bins, over the same cells."""
    return ratio(np.abs(sums["bin p"] - sums["bin y"]).sum(-1), sums["bin n"].sum(-1))


METRICS: dict[str, Callable[[Sums], np.ndarray]] = {
    **{f"{family} {name}": (lambda sums, f=family, g=g: g(sums, f))  # type: ignore[misc]
       for family in FAMILIES for name, g in (("precision", precision), ("recall", coverage), ("f1", f1))},
    "brier": brier,
    "ece": ece,
}  # fmt: skip


def metric(sums: Sums, name: str) -> np.ndarray:
    """One figure by name: "with R@10", "no mR@20", "object f1", "novel recall", "brier", "ece"."""
    if name in METRICS:
        return METRICS[name](sums)
    mode, _, rest = name.rpartition(" ")
    kind, _, k = rest.partition("@")
    if f"recall {mode} {k}" not in sums or kind not in ("R", "mR", "hR"):
        raise BadInput(f"unknown metric '{name}'; say for example 'with R@10', 'no mR@20', 'object f1', 'ece'")
    r, mean = recall(sums, mode, int(k)), mean_recall(sums, mode, int(k))
    return {"R": r, "mR": mean, "hR": ratio(2 * r * mean, r + mean)}[kind]


def number(value: Any) -> float | None:
    """A figure for JSON; None when it could not be measured."""
    return None if np.isnan(value) else float(value)


def summary(sums: Sums, found: Tally) -> dict[str, Any]:
    """Every metric of summed rows, nested as ``backcast scene score --json`` prints it."""
    rules = found.rules
    modes = {
        mode: {
            f"{kind}@{k}": number(metric(sums, f"{mode} {kind}@{k}")) for kind in ("R", "mR", "hR") for k in rules.ks
        }
        for mode in rules.modes
    }
    families = {
        word: {
            "precision": number(precision(sums, family)),
            "recall": number(coverage(sums, family)),
            "f1": number(f1(sums, family)),
        }
        for family, word in FAMILIES.items()
    }
    sets = {
        name: number(ratio(sums[f"set {name}"], sums["all_frames"]))
        for name in ("exact", "superset", "partial", "none")
    }
    families["objects"]["strict"] = sets["exact"]
    calibration = {"ece": number(ece(sums)), "brier": number(brier(sums))}
    return {"frames": int(sums["all_frames"]), "modes": modes, **families, "sets": sets, "calibration": calibration}


def by_horizon(found: Tally, seconds: bool = False) -> list[dict[str, Any]]:
    """The summary of each horizon bin that holds a frame."""
    lines = []
    for b in range(next(iter(found.sums.values())).shape[1]):
        sums = {name: value[:, b].sum(0) for name, value in found.sums.items()}
        if sums["all_frames"] > 0:
            lines.append({"horizon": horizon_name(b, seconds), **summary(sums, found)})
    return lines


def short_and_long(found: Tally, seconds: bool = False) -> dict[str, dict[str, Any]]:
    """The summary of the two nearest horizon bins together, and of all others together, by what they reach over."""
    reach = f"up to {SECONDS[1]:g} s" if seconds else f"up to {HORIZONS[1][1]} frames"
    parts = {f"short, {reach} ahead": slice(0, 2), "long, further ahead": slice(2, None)}
    sums = {
        name: {key: value[:, part].sum((0, 1)) for key, value in found.sums.items()} for name, part in parts.items()
    }
    return {name: summary(each, found) for name, each in sums.items() if each["all_frames"] > 0}


def horizon_name(b: int, seconds: bool = False) -> str:
    """ "2-3" frames ahead, or "1-3 s"."""
    if seconds:
        low = 0.0 if b == 0 else SECONDS[b - 1]
        return f"{low:g}-{SECONDS[b]:g} s" if b < len(SECONDS) else f"{low:g}+ s"
    low_frame, top = HORIZONS[b]
    return f"{low_frame}+" if top is None else str(low_frame) if top == low_frame else f"{low_frame}-{top}"


def interval(found: Tally, name: str, against: Tally | None = None, seed: int = 0, resamples: int = 2000) -> Interval:
    """A metric with its 95 % percentile bootstrap interval over clips; with ``against``, the paired difference.

    Both tallies must hold the same clips in one order; each resample draws the same clips for both.
    """
    if against is not None and against.ids != found.ids:
        raise BadInput("the two forecasts answer different clips; pair only what was scored on the same ones")
    clips = len(found.ids)
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(clips, np.full(clips, 1 / max(clips, 1)), resamples).astype(float) if clips > 1 else None

    def value(which: Tally, draws: np.ndarray) -> np.ndarray:
        needed = {key: row.sum(1) for key, row in which.sums.items()}
        return metric({key: np.tensordot(draws, row, 1) for key, row in needed.items()}, name)

    def difference(draws: np.ndarray) -> np.ndarray:
        return value(found, draws) - (value(against, draws) if against is not None else 0.0)

    point = number(difference(np.ones((1, clips)))[0])
    if weights is None or point is None:
        return Interval(point, None, None, clips)
    draws = difference(weights)
    low, high = np.nanquantile(draws, [0.025, 0.975])
    return Interval(point, float(low), float(high), clips)
