"""Honest probabilities: two numbers for each horizon bin and question, fitted on held-out clips (Platt, 1999)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backcast.scenes.counts import BINS, bin_of
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.problems.vocabulary import Vocabulary

Line = tuple[float, float]
"""(slope, shift): logit p' = slope logit p + shift."""
PRIOR = 5.0
"""How strongly a line is drawn to (1, 0), which changes nothing: where little was held out, little is changed."""


@dataclass(frozen=True)
class Calibration:
    """Lines for objects and for each group of predicates, by horizon bin."""

    objects: tuple[Line, ...] = ((1.0, 0.0),) * BINS
    predicates: tuple[tuple[Line, ...], ...] = ()
    """One row a group; empty changes nothing."""

    @classmethod
    def of(cls, value: dict[str, Any]) -> "Calibration":
        """From JSON."""
        rows = tuple(tuple((float(a), float(b)) for a, b in row) for row in value["predicates"])
        return cls(tuple((float(a), float(b)) for a, b in value["objects"]), rows)


def line(p: np.ndarray, truth: np.ndarray) -> Line:
    """The line of least log loss plus PRIOR |line - (1, 0)|^2 / 2, by Newton's method."""
    x, start = _logit(p), np.array([1.0, 0.0])
    found = start.copy()
    for _ in range(30):
        q = _sigmoid(found[0] * x + found[1])
        slope = np.array([((q - truth) * x).sum(), (q - truth).sum()]) + PRIOR * (found - start)
        w = q * (1 - q)
        bend = np.array([[(w * x * x).sum(), (w * x).sum()], [(w * x).sum(), w.sum()]]) + PRIOR * np.eye(2)
        step = np.linalg.solve(bend, slope)
        found -= step * min(1.0, 2.0 / max(float(np.abs(step).max()), 1e-12))
        if np.abs(step).max() < 1e-8:
            break
    return float(found[0]), float(found[1])


def calibrate(
    made: Sequence[GraphForecast], truths: Sequence[tuple[np.ndarray, np.ndarray]], words: Vocabulary
) -> Calibration:
    """The lines of forecasts whose truth (presence and predicates) is known; predicates of objects that were there.

    Lines stay only where those of one half of the clips lower the log loss of the other half; else nothing is changed.
    """
    bins = np.concatenate([bin_of(np.arange(1, len(one.index) + 1)) for one in made])
    half = np.repeat(np.arange(len(made)) % 2, [len(one.index) for one in made])
    objects, present = np.concatenate([one.objects for one in made]), np.concatenate([one for one, _ in truths])
    predicates, held = np.concatenate([one.predicates for one in made]), np.concatenate([one for _, one in truths])
    things = list(words.candidates)
    everywhere = np.ones(present[:, things].shape, bool)
    first = _lines(objects[:, things], present[:, things], everywhere, bins, half)
    there = np.repeat(present[..., None], predicates.shape[-1], -1)
    rows = [_lines(predicates[..., at], held[..., at], there[..., at], bins, half) for at in words.slices]
    return Calibration(first, tuple(rows))


def _lines(p: np.ndarray, truth: np.ndarray, asked: np.ndarray, bins: np.ndarray, half: np.ndarray) -> tuple[Line, ...]:
    """A line for each bin over the cells ``asked``; all (1, 0) where they do not carry over to unseen clips."""

    def fitted(frames: np.ndarray) -> list[Line]:
        picked = [(frames & (bins == b)).reshape(-1, *[1] * (p.ndim - 1)) & asked for b in range(BINS)]
        return [line(p[at], truth[at]) for at in picked]

    before = after = 0.0
    for part in (0, 1):
        lines = np.array(fitted(half == part))[bins].reshape(len(bins), 2, *[1] * (p.ndim - 1))
        other = (half != part).reshape(-1, *[1] * (p.ndim - 1)) & asked
        before += _loss(p, truth)[other].sum()
        after += _loss(_moved(p, lines), truth)[other].sum()
    return tuple(fitted(np.ones(len(bins), bool))) if after < before else ((1.0, 0.0),) * BINS


def _loss(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(-np.where(truth, np.log(clipped), np.log(1 - clipped)))


def calibrated(one: GraphForecast, how: Calibration, words: Vocabulary) -> GraphForecast:
    """The forecast with every probability moved along its line; those of a one-of group sum to 1 again."""
    if not how.predicates:
        return one
    bins = bin_of(np.arange(1, len(one.index) + 1))
    objects, predicates = _moved(one.objects, np.array(how.objects)[bins][:, :, None]), one.predicates.copy()
    for group, ids, lines in zip(words.groups, words.slices, how.predicates, strict=True):
        part = _moved(predicates[..., ids], np.array(lines)[bins][:, :, None, None])
        if group.arity == "one" and not group.allow_empty:
            part = part / np.maximum(part.sum(-1, keepdims=True), 1e-12)
        predicates[..., ids] = part
    # What is impossible stays so: the subject is no object.
    return replace(one, objects=np.where(one.objects > 0, objects, 0.0), predicates=predicates)


def _moved(p: np.ndarray, lines: np.ndarray) -> np.ndarray:
    return _sigmoid(lines[:, 0] * _logit(p) + lines[:, 1])


def _logit(p: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
