"""Which triplets of a forecast compete, and in what order: the modes of the field's evaluators."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.scenes.problems.vocabulary import Vocabulary

MODES = ("with", "no", "semi", "multi")
COMPAT = ("ootsm-with", "scenesayer-with")
LIMIT = 100
"""The most triplets of a frame that the published evaluators look at."""
SURE = 0.9
"""Semi-constraint: labels of a many-of group above this compete."""
UNRANKED = np.iinfo(np.int32).max


@dataclass(frozen=True)
class Scored:
    """Scores of the N objects listed in F frames, by frame, then object id, and R predicates."""

    frames: int
    frame: np.ndarray
    """(N,) ascending."""
    joint: np.ndarray
    """(N, R) probability of the triplet; 0 does not compete."""
    predicates: np.ndarray
    """(N, R) the same, given the object."""
    order: np.ndarray
    """(N,) the order in which the forecast's text names the objects; only "ootsm-with" looks at it."""

    @cached_property
    def slot(self) -> np.ndarray:
        """(N,) each object's number within its frame."""
        first = np.searchsorted(self.frame, np.arange(self.frames))
        return np.asarray(np.arange(len(self.frame)) - first[self.frame])

    @cached_property
    def ranking(self) -> tuple[np.ndarray, np.ndarray]:
        """The order of all cells by score, which serves every mode that ranks by score (see ``ranked``)."""
        return self.ranked(self.joint)

    @cached_property
    def best(self) -> dict[int, np.ndarray]:
        """What ``best_of`` has found, by the group's first predicate."""
        return {}

    def best_of(self, ids: slice) -> np.ndarray:
        """(N, predicates of the group): True at each object's best, nowhere where all are zero."""
        if ids.start not in self.best:
            self.best[ids.start] = _best(self.predicates[..., ids])
        return self.best[ids.start]

    def side_by_side(self, values: np.ndarray) -> np.ndarray:
        """(F, C) from (N, R): the cells of a frame in one row, zeros where it lists fewer objects than another."""
        out = np.zeros((self.frames, int(self.slot.max(initial=0)) + 1, values.shape[1]), values.dtype)
        out[self.frame, self.slot] = values
        return out.reshape(self.frames, -1)

    def ranked(self, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """By descending scores (N, R), 0 last: each frame's cells in order, (F, C), and each one's place there, (F C,).

        Cells count in the flat array of ``side_by_side``. Ties fall to the cell before: the lower object, then the
        lower predicate. Numbers of no less than 0 are in the order of their bits: keys of a score's upper bits and its
        cell's number are sorted in place, which is several times as fast as sorting numbers by scores.
        """
        values = self.side_by_side(scores)
        np.abs(np.maximum(values, 0, out=values), out=values)  # -0 is 0
        width = values.shape[1]
        low = np.uint64(2 ** max(width - 1, 1).bit_length() - 1)
        keys = (~values.view(np.uint64) & ~low) | np.arange(width, dtype=np.uint64)
        keys.sort(1)
        order = (keys & low).view(np.int64)
        keys |= low
        # Scores alike in their upper bits are in the order of cells: right for equal ones, to be done again for others.
        alike = np.flatnonzero(((keys[:, 1:] == keys[:, :-1]) & (keys[:, 1:] != ~np.uint64(0))).any(1))
        if len(alike):
            order[alike] = (-values[alike]).argsort(1, kind="stable")
        order += np.arange(self.frames)[:, None] * width
        place = np.empty(values.size, np.int32)
        place[order.ravel()] = np.arange(values.size, dtype=np.int32)
        return order, place


def places(
    scored: Scored, vocabulary: Vocabulary, mode: str, threshold: float, asked: tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """The place, from 0, of each ``asked`` (n of N, predicate) among its frame's candidates; else ``UNRANKED``.

    Order: score descending, then object id, then predicate id ascending. Modes:

    - with: the best predicate of each object and group (STTran, SceneSayer)
    - no: every predicate
    - semi: the best of a one-of group; of the others all above 0.9
    - multi: every triplet of at least ``threshold``
    - scenesayer-with: as "with"; ootsm-with: hard labels, several a group, in the order group, object, label, unsorted,
      as OOTSM's evaluator ranks them
    """
    if mode not in MODES + COMPAT:
        raise BadInput(f"unknown mode '{mode}'{nearest(mode, MODES + COMPAT)}")
    width = scored.joint.shape[1]
    compete = (scored.joint > 0) & _eligible(scored, vocabulary, mode, threshold)
    order, place = scored.ranking
    if mode == "ootsm-with":
        most = int(scored.order.max(initial=0)) + 1
        named = vocabulary.group_of * most + scored.order[:, None]
        order, place = scored.ranked(1e12 - (named * width + np.arange(width)))
    row, label = asked
    first = scored.frame[row] * order.shape[1]
    found = place[first + scored.slot[row] * width + label]
    if mode in ("no", "multi"):
        found -= first  # whatever scores higher competes too
    else:
        # A competing cell's place is the number of competing cells before it in the order of all.
        found = scored.side_by_side(compete).ravel()[order].cumsum(1, dtype=np.int32).ravel()[found] - 1
    return np.where(compete[row, label] & (found < LIMIT), found, UNRANKED).astype(np.int32)


def _eligible(scored: Scored, vocabulary: Vocabulary, mode: str, threshold: float) -> np.ndarray:
    joint, predicates = scored.joint, scored.predicates
    if mode == "no":
        return np.ones(joint.shape, bool)
    if mode == "multi":
        return joint >= threshold
    found = np.zeros(joint.shape, bool)
    for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
        part = predicates[..., ids]
        if mode == "ootsm-with":
            found[..., ids] = _best(part >= threshold) if group.arity == "one" else part >= threshold
        elif mode == "semi" and group.arity == "many":
            found[..., ids] = part > SURE
        else:
            found[..., ids] = scored.best_of(ids)
    return found


def _best(part: np.ndarray) -> np.ndarray:
    """True at the largest value along the last axis (the first of equals), nowhere where all are zero."""
    best = np.arange(part.shape[-1]) == part.argmax(-1)[..., None]
    return np.asarray(best & (part > 0))
