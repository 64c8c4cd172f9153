"""Honest probabilities: two numbers for each cell and question, fitted on held-out clips (Platt, 1999)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from backcast.scenes.counts import BINS
from backcast.scenes.forecast import GraphForecast
from backcast.scenes.problems.vocabulary import Vocabulary

Line = tuple[float, float]
"""(slope, shift): logit p' = slope logit p + shift."""
CELLS = 2 * BINS
"""Horizon bins of objects that the last frame does not hold, then those of objects that it does."""
PRIOR = 5.0
"""How strongly a line is drawn to (1, 0), which changes nothing: where little was held out, little is changed."""


@dataclass(frozen=True)
class Calibration:
    """Lines for objects and for each group of predicates, by cell."""

    objects: tuple[Line, ...] = ((1.0, 0.0),) * CELLS
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
    made: Sequence[GraphForecast],
    truths: Sequence[tuple[np.ndarray, np.ndarray]],
    where: Sequence[np.ndarray],
    words: Vocabulary,
) -> Calibration:
    """The lines of forecasts whose truth (presence and predicates) is known; predicates of objects that were there.

    ``where``: (H, O) the cell of each object. Lines stay only where those of one half of the clips lower the log loss
    of the other half; else nothing is changed.
    """
    half = np.repeat(np.arange(len(made)) % 2, [len(one.index) for one in made])
    objects, present = np.concatenate([one.objects for one in made]), np.concatenate([one for one, _ in truths])
    things, cell = list(words.candidates), np.concatenate(list(where))
    side = np.repeat(half[:, None], cell.shape[1], 1)
    first = _lines(*(part[:, things].ravel() for part in (objects, present, cell, side)))
    predicates = np.concatenate([one.predicates[there] for one, (there, _) in zip(made, truths, strict=True)])
    held = np.concatenate([labels[there] for there, labels in truths])
    rows = []
    for ids in words.slices:
        width = ids.stop - ids.start
        places = (np.repeat(part[present], width) for part in (cell, side))
        rows.append(_lines(predicates[:, ids].ravel(), held[:, ids].ravel(), *places))
    return Calibration(first, tuple(rows))


def _lines(p: np.ndarray, truth: np.ndarray, cell: np.ndarray, half: np.ndarray) -> tuple[Line, ...]:
    """A line for each cell, from (N,) chances; all (1, 0) where they do not carry over to unseen clips."""

    def fitted(some: np.ndarray) -> np.ndarray:
        return np.array([line(p[at], truth[at]) for at in (some & (cell == c) for c in range(CELLS))])

    before = after = 0.0
    for part in (0, 1):
        other = half != part
        before += log_loss(p, truth)[other].sum()
        after += log_loss(_moved(p, fitted(half == part)[cell]), truth)[other].sum()
    if after >= before:
        return ((1.0, 0.0),) * CELLS
    return tuple((float(a), float(b)) for a, b in fitted(np.ones(len(p), bool)))


def log_loss(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """-log of the chance given to what was the case, chances kept off 0 and 1."""
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(-np.where(truth, np.log(clipped), np.log(1 - clipped)))


def calibrated(one: GraphForecast, how: Calibration, cell: np.ndarray, words: Vocabulary) -> GraphForecast:
    """The forecast with every probability moved along its cell's line; those of a one-of group sum to 1 again."""
    if not how.predicates:
        return one
    objects, predicates = _moved(one.objects, np.array(how.objects)[cell]), one.predicates.copy()
    for group, ids, lines in zip(words.groups, words.slices, how.predicates, strict=True):
        part = _moved(predicates[..., ids], np.array(lines)[cell][:, :, None])
        if group.arity == "one" and not group.allow_empty:
            part = part / np.maximum(part.sum(-1, keepdims=True), 1e-12)
        predicates[..., ids] = part
    # What is impossible stays so: the subject is no object.
    return replace(one, objects=np.where(one.objects > 0, objects, 0.0), predicates=predicates)


def _moved(p: np.ndarray, lines: np.ndarray) -> np.ndarray:
    return _sigmoid(lines[..., 0] * _logit(p) + lines[..., 1])


def _logit(p: np.ndarray) -> np.ndarray:
    clipped = np.clip(p, 1e-6, 1 - 1e-6)
    return np.asarray(np.log(clipped / (1 - clipped)))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))
