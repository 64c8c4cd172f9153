"""How a model and the counts are mixed, with weights and a threshold chosen on clips that none of them has seen.

An object that the last frame holds is a question of staying, any other one of coming; counts are good at the first and
poor at the second. So weights and calibration have two cells a horizon bin.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from backcast.scenes.counts import BINS, bin_of
from backcast.scenes.forecast import Case, GraphForecast
from backcast.scenes.ootsm.calibrating import CELLS, Calibration, calibrate, calibrated, log_loss
from backcast.scenes.problems.clip import Frame, dense
from backcast.scenes.problems.vocabulary import Vocabulary

ROUNDS = 200
"""Most rounds of the weights' ascent; none falls below the one before."""

Weights = tuple[tuple[float, ...], ...]
Answers = tuple[GraphForecast, ...]
"""What each source says of one case, the model's own first."""


@dataclass(frozen=True)
class Mixture:
    """How the sources are mixed, and from which chance on an object is listed."""

    objects: Weights = ()
    """(CELLS, sources) weights of the chance that an object is there, each row summing to 1; empty: the first alone."""
    predicates: Weights = ()
    """The same for its predicates."""
    listed: float = 0.5
    """Chance of being there from which an object is listed."""
    calibration: Calibration = field(default_factory=Calibration)
    """Applied to what was mixed."""

    def shares(self) -> dict[str, list[float]]:
        """What was mixed to the first source's weight, by horizon bin; all 1 where nothing is mixed in."""
        found = {}
        for name, weights in (("objects", self.objects), ("predicates", self.predicates)):
            first = [row[0] for row in weights] if weights else [1.0] * CELLS
            found[f"{name} that come" if name == "objects" else "predicates of those"] = first[:BINS]
            found[f"{name} that stay" if name == "objects" else "predicates of these"] = first[BINS:]
        return found

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Mixture":
        """From JSON."""
        objects, predicates = (tuple(tuple(map(float, row)) for row in value[k]) for k in ("objects", "predicates"))
        return cls(objects, predicates, float(value["listed"]), Calibration.of(value["calibration"]))


def cells(times: int, last: Frame, words: Vocabulary) -> np.ndarray:
    """(H, O) the cell of each object in each of ``times`` frames to come, by the last frame seen."""
    present, _ = dense((last,), words)
    return np.asarray(bin_of(np.arange(1, times + 1))[:, None] + BINS * present)


def mixed(answers: Answers, last: Frame, mixture: Mixture, words: Vocabulary) -> GraphForecast:
    """Convex in the sources, for objects and predicates each; then calibrated; then listed."""
    own = answers[0]
    cell = cells(len(own.index), last, words)
    if mixture.objects:
        shares = np.array(mixture.objects)[cell]
        objects = sum(shares[..., s] * one.objects for s, one in enumerate(answers))
        shares = np.array(mixture.predicates)[cell]
        predicates = sum(shares[..., s, None] * one.predicates for s, one in enumerate(answers))
        own = replace(own, objects=np.asarray(objects), predicates=np.asarray(predicates))
    found = calibrated(own, mixture.calibration, cell, words)
    return replace(found, listed=found.objects >= mixture.listed)


def mix_weights(made: Sequence[Answers], asked: Sequence[Case], words: Vocabulary) -> Mixture:
    """The weights of least log loss, then calibration, then the threshold of the best object F1.

    ``made``: what each source says of each case; no source may have been fitted on that case's clip.
    """
    truths = [dense(case.future, words) for case in asked]
    where = [cells(len(case.future), case.seen[-1], words) for case in asked]
    things = list(words.candidates)
    cell, present = (np.concatenate(rows) for rows in (where, [there for there, _ in truths]))
    held = np.concatenate([labels for _, labels in truths])
    chances = [np.concatenate([one[s].objects for one in made]) for s in range(len(made[0]))]
    objects = _weights(np.stack([p[:, things] for p in chances]), present[:, things], cell[:, things])
    chances = [np.concatenate([one[s].predicates[there] for one, (there, _) in zip(made, truths, strict=True)])
               for s in range(len(made[0]))]  # fmt: skip
    truth = held[present]
    predicates = _weights(np.stack(chances), truth, np.repeat(cell[present][:, None], truth.shape[1], 1))
    found = Mixture(objects, predicates)
    lasts = [case.seen[-1] for case in asked]
    plain = [mixed(one, last, found, words) for one, last in zip(made, lasts, strict=True)]
    found = replace(found, calibration=calibrate(plain, truths, where, words))
    whole = [mixed(one, last, found, words).objects for one, last in zip(made, lasts, strict=True)]
    return replace(found, listed=_best_threshold(np.concatenate(whole), present))


def _best_threshold(chances: np.ndarray, truth: np.ndarray) -> float:
    thresholds = np.arange(0.1, 0.91, 0.05)
    f1 = [2 * ((chances >= t) & truth).sum() / ((chances >= t).sum() + truth.sum()) for t in thresholds]
    return round(float(thresholds[int(np.argmax(f1))]), 2)


def _weights(p: np.ndarray, truth: np.ndarray, cell: np.ndarray) -> Weights:
    """One row a cell of the convex weights of least log loss of ``truth``, from (sources, ...) chances.

    Where a cell holds nothing, all sources count alike. By expectation and maximisation, which ends at the best: the
    log of a sum is concave in its weights.
    """
    likely = np.exp(-log_loss(p, truth))
    rows = []
    for c in range(CELLS):
        mine = likely[:, cell == c]
        weights = np.full(len(p), 1 / len(p))
        for _ in range(ROUNDS if mine.size else 0):
            share = weights[:, None] * mine
            found = (share / share.sum(0)).mean(1)
            moved, weights = np.abs(found - weights).max(), found
            if moved < 1e-4:
                break
        rows.append(tuple(np.round(weights / weights.sum(), 4).tolist()))
    return tuple(rows)
