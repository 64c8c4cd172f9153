"""Score matrices of a detector: probabilities for every frame, thresholded once, with the alternatives kept."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backcast.core.errors import BadInput
from backcast.scenes.problems.clip import Clip, Clips, Frame
from backcast.scenes.problems.vocabulary import Vocabulary


@dataclass(frozen=True)
class Detected:
    """What a detector saw in one clip, as probabilities in [0, 1]."""

    id: str
    index: np.ndarray
    """(T,) source frame numbers, increasing."""
    objects: np.ndarray
    """(T, O) presence."""
    predicates: np.ndarray
    """(T, O, R) each predicate, given that the object is there."""


def read_detected(folder: Path | str, vocabulary: Vocabulary) -> list[Detected]:
    """One ``.npz`` a clip with the arrays ``index``, ``objects`` and ``predicates``; no pickles are loaded."""
    paths = sorted(Path(folder).glob("*.npz"))
    if not paths:
        raise BadInput(f"'{folder}' holds no .npz files; give the folder of a detector's score matrices")
    return [_one(path, vocabulary) for path in paths]


def _one(path: Path, vocabulary: Vocabulary) -> Detected:
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("index", "objects", "predicates")}
    except KeyError as error:
        raise BadInput(f"{path}: array {error} is missing; give index, objects and predicates") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a .npz file of plain arrays ({error})") from None
    index = arrays["index"]
    shapes = {
        "objects": (len(vocabulary.objects),),
        "predicates": (len(vocabulary.objects), len(vocabulary.predicates)),
    }
    for name, rest in shapes.items():
        array = arrays[name]
        if array.shape != (*index.shape, *rest):
            raise BadInput(f"{path}, {name}: shape {array.shape}, expected {(*index.shape, *rest)} of the vocabulary")
        if not (np.isfinite(array).all() and (array >= 0).all() and (array <= 1).all()):
            raise BadInput(f"{path}, {name}: values outside [0, 1]; give probabilities, not logits")
    if index.ndim != 1 or not index.size or not np.issubdtype(index.dtype, np.integer) or (np.diff(index) <= 0).any():
        raise BadInput(f"{path}, index: give whole frame numbers in increasing order")
    return Detected(path.stem, index, arrays["objects"].astype(float), arrays["predicates"].astype(float))


def discretise(seen: list[Detected], vocabulary: Vocabulary, threshold: float = 0.5) -> Clips:
    """Graphs of what is more likely than ``threshold``, a probability, compared once.

    A one-of group takes its best label; a many-of group every label above the threshold, or its best one where
    a label is required. Frames without an object stay, empty.
    """
    if not 0 < threshold < 1:
        raise BadInput(f"threshold {threshold}: give a probability between 0 and 1")
    clips = []
    for one in seen:
        frames = tuple(
            Frame(
                int(number),
                {
                    thing: _labels(one.predicates[t, thing], vocabulary, threshold)
                    for thing in vocabulary.candidates
                    if one.objects[t, thing] > threshold
                },
            )
            for t, number in enumerate(one.index)
        )
        clips.append(Clip(one.id, frames))
    return Clips(vocabulary, tuple(clips))


def _labels(scores: np.ndarray, vocabulary: Vocabulary, threshold: float) -> tuple[int, ...]:
    held: list[int] = []
    for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
        mine = scores[ids]
        above = [] if group.arity == "one" else np.flatnonzero(mine > threshold).tolist()
        if (not above and not group.allow_empty) or (group.arity == "one" and mine.max() > threshold):
            above = [int(mine.argmax())]
        held += [ids.start + i for i in above]
    return tuple(held)
