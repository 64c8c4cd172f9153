"""Which triplets of a forecast compete, and in what order: the modes of the field's evaluators."""

from dataclasses import dataclass

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
    """Scores of F frames in P slots, ascending by object id, and R predicates."""

    joint: np.ndarray
    """(F, P, R) probability of the triplet; 0 does not compete."""
    predicates: np.ndarray
    """(F, P, R) the same, given the object."""
    order: np.ndarray
    """(F, P) the order in which the forecast's text names the objects; only "ootsm-with" looks at it."""


def places(
    scored: Scored,
    vocabulary: Vocabulary,
    mode: str,
    threshold: float,
    asked: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> np.ndarray:
    """The place, from 0, of each ``asked`` (frame, slot, predicate) among its frame's candidates; else ``UNRANKED``.

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
    frames, _, width = scored.joint.shape
    compete = (scored.joint > 0) & _eligible(scored, vocabulary, mode, threshold)
    frame, slot, label = np.nonzero(compete)
    if mode == "ootsm-with":
        named = scored.order[frame, slot]
        most = int(scored.order.max(initial=0)) + 1
        value = -((vocabulary.group_of[label] * most + named) * width + label).astype(float)
    else:
        value = scored.joint[frame, slot, label]
    # Competing cells side by side, one row a frame; a true cell's place is the number of cells before it.
    column = np.arange(len(frame)) - np.searchsorted(frame, np.arange(frames))[frame]
    shape = (frames, int(column.max(initial=0)) + 1)
    values, where = np.full(shape, -np.inf), np.zeros(compete.shape, np.int32)
    values[frame, column], where[frame, slot, label] = value, column
    found = np.full(len(asked[0]), UNRANKED, np.int32)
    mine = np.flatnonzero(compete[asked])
    at, position = asked[0][mine], where[asked][mine]
    found_at = _before(values, at, position)
    found[mine] = np.where(found_at < LIMIT, found_at, UNRANKED)
    return found


def _before(values: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    """For each cell (row, column): how many of its row are larger, or equal and further left.

    Ties so fall to the lower object, then the lower predicate.
    """
    mine, own = values[row], values[row, column][:, None]
    larger: np.ndarray = (mine > own).sum(1, dtype=np.int32)
    tied = np.flatnonzero((mine >= own).sum(1, dtype=np.int32) > larger + 1)
    left = np.arange(values.shape[1]) < column[tied, None]
    larger[tied] += ((mine[tied] == own[tied]) & left).sum(1, dtype=np.int32)
    return larger


def _eligible(scored: Scored, vocabulary: Vocabulary, mode: str, threshold: float) -> np.ndarray:
    joint, predicates = scored.joint, scored.predicates
    if mode == "no":
        return np.ones(joint.shape, bool)
    if mode == "multi":
        return joint >= threshold
    found = np.zeros(joint.shape, bool)
    for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
        part = predicates[..., ids]
        hard = part >= threshold
        if mode == "ootsm-with":
            found[..., ids] = _best(hard) if group.arity == "one" else hard
        elif mode == "semi" and group.arity == "many":
            found[..., ids] = part > SURE
        else:
            found[..., ids] = _best(part)
    return found


def _best(part: np.ndarray) -> np.ndarray:
    """True at the largest value along the last axis (the first of equals), nowhere where all are zero."""
    best = np.arange(part.shape[-1]) == part.argmax(-1)[..., None]
    return np.asarray(best & (part > 0))
