"""How a model and the counts are mixed, by horizon bin, with weights and a threshold chosen on held-out clips."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np

from backcast.scenes.counts import BINS, bin_of
from backcast.scenes.forecast import Case, GraphForecast
from backcast.scenes.ootsm.calibrating import Calibration, calibrate, calibrated
from backcast.scenes.problems.clip import Frame, dense
from backcast.scenes.problems.vocabulary import Vocabulary


@dataclass(frozen=True)
class Mixture:
    """How the network and the counts are mixed, by horizon bin, and from which chance on an object is listed."""

    objects: tuple[float, ...] = (1.0,) * BINS
    """Weight of stage 1; the rest is Markov's chance that the object stays or comes."""
    predicates: tuple[float, ...] = (1.0,) * BINS
    """Weight of stage 2; the rest is Markov's."""
    listed: float = 0.5
    """Chance of being there from which an object is listed."""
    calibration: Calibration = field(default_factory=Calibration)
    """Applied to what was mixed."""

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Mixture":
        """From JSON; folders of before have no calibration."""
        moved = Calibration.of(value["calibration"]) if "calibration" in value else Calibration()
        return cls(tuple(value["objects"]), tuple(value["predicates"]), value["listed"], moved)


class Mixable(Protocol):
    """A model that tells its own forecast from that of the counts."""

    @property
    def vocabulary(self) -> Vocabulary:
        """Of what it forecasts."""
        ...

    def stages(self, name: str, seen: Sequence[Frame], index: Sequence[int]) -> tuple[GraphForecast, GraphForecast]:
        """(its own, the counts') forecast."""
        ...


def mixed(own: GraphForecast, base: GraphForecast, mixture: Mixture, words: Vocabulary) -> GraphForecast:
    """Convex in both stages, by horizon bin: near the last frame counts are hard to beat; then calibrated."""
    bins = bin_of(np.arange(1, len(own.index) + 1))
    first = np.array(mixture.objects)[bins][:, None]
    second = np.array(mixture.predicates)[bins][:, None, None]
    objects = first * own.objects + (1 - first) * base.objects
    predicates = second * own.predicates + (1 - second) * base.predicates
    found = calibrated(replace(own, objects=objects, predicates=predicates), mixture.calibration, words)
    return replace(found, listed=found.objects >= mixture.listed)


def mix_weights(model: Mixable, asked: Sequence[Case]) -> Mixture:
    """The weights of least log loss on held-out cases, then calibration, then the threshold of the best object F1."""
    words = model.vocabulary
    pairs = [model.stages(case.id, case.seen, [frame.index for frame in case.future]) for case in asked]
    truths = [dense(case.future, words) for case in asked]
    grid = np.linspace(0, 1, 11)
    objects, predicates = np.zeros((BINS, len(grid))), np.zeros((BINS, len(grid)))
    for (own, base), (present, held) in zip(pairs, truths, strict=True):
        bins = bin_of(np.arange(1, len(own.index) + 1))
        for g, weight in enumerate(grid):
            there = _log_loss(weight * own.objects + (1 - weight) * base.objects, present)
            np.add.at(objects[:, g], bins, there[:, list(words.candidates)].sum(1))
            label = _log_loss(weight * own.predicates + (1 - weight) * base.predicates, held)
            np.add.at(predicates[:, g], bins, (label.sum(2) * present).sum(1))
    weights = Mixture(tuple(grid[objects.argmin(1)].tolist()), tuple(grid[predicates.argmin(1)].tolist()))
    made = [mixed(own, base, weights, words) for own, base in pairs]
    weights = replace(weights, calibration=calibrate(made, truths, words))
    chances = np.concatenate([mixed(own, base, weights, words).objects.ravel() for own, base in pairs])
    truth = np.concatenate([present.ravel() for present, _ in truths])
    thresholds = np.arange(0.1, 0.91, 0.05)
    f1 = [2 * ((chances >= t) & truth).sum() / ((chances >= t).sum() + truth.sum()) for t in thresholds]
    return replace(weights, listed=round(float(thresholds[int(np.argmax(f1))]), 2))


def _log_loss(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(-np.where(truth, np.log(clipped), np.log(1 - clipped)))
