"""Frame, Clip, Clips: a stream of typed graphs, where it is cut into past and future, and its arrays."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from typing import Any

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.scenes.problems.vocabulary import Vocabulary


@dataclass(frozen=True)
class Frame:
    """One graph: every object with the predicates that hold between it and the subject.

    The name is the identity: one object of a class, as in Action Genome, or numbered ones (``instances``).
    """

    index: int
    """The source's frame number."""
    objects: Mapping[int, tuple[int, ...]]
    """Object id to sorted predicate ids."""
    time_s: float | None = None
    """Seconds from the start, where known."""

    def triplets(self) -> set[tuple[int, int]]:
        """All (object id, predicate id)."""
        return {(thing, predicate) for thing, held in self.objects.items() for predicate in held}


@dataclass(frozen=True)
class Clip:
    """Frames of one video, program or log, in strictly increasing order of index."""

    id: str
    frames: tuple[Frame, ...]
    split: str = ""
    """"train", "test", or empty."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """Anything else; ``group`` names clips that must not be split apart."""


@dataclass(frozen=True)
class Clips:
    """A data set: one vocabulary, its clips, and what the reader left out and why."""

    vocabulary: Vocabulary
    clips: tuple[Clip, ...]
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Reason to count."""

    def only(self, split: str) -> "Clips":
        """The clips of one split."""
        return Clips(self.vocabulary, tuple(clip for clip in self.clips if clip.split == split), self.dropped)


def last_observed(frames: int, fraction: float) -> int:
    """Index of the last observed frame, e = clamp(ceil(T F) - 1, 0, T - 1), in exact arithmetic (SceneSayer, 2024)."""
    exact = Fraction(str(fraction))
    return min(max(math.ceil(frames * exact) - 1, 0), frames - 1)


def cut(clip: Clip, fraction: float) -> tuple[tuple[Frame, ...], tuple[Frame, ...]] | None:
    """(observed, future) frames; None when nothing is left to forecast."""
    if not 0 < fraction < 1:
        raise BadInput(f"horizon {fraction}: give the observed share, between 0 and 1 (0.3, 0.5, 0.7, 0.9 are usual)")
    end = last_observed(len(clip.frames), fraction)
    if end >= len(clip.frames) - 1:
        return None
    return clip.frames[: end + 1], clip.frames[end + 1 :]


def dense(frames: Sequence[Frame], vocabulary: Vocabulary) -> tuple[np.ndarray, np.ndarray]:
    """Presence (T, O) and predicates (T, O, R), both bool."""
    things, width = len(vocabulary.objects), len(vocabulary.predicates)
    present = np.zeros(len(frames) * things, bool)
    held = np.zeros(len(frames) * things * width, bool)
    # One assignment for all, of lists that no Python loop fills: cell by cell would cost more than the rest of scoring.
    graphs = [frame.objects for frame in frames]
    places = np.repeat(np.arange(len(graphs)) * things, list(map(len, graphs)))
    places += np.fromiter(chain.from_iterable(graphs), np.int64, len(places))
    labels = list(chain.from_iterable(graph.values() for graph in graphs))
    cells = np.repeat(places * width, list(map(len, labels)))
    cells += np.fromiter(chain.from_iterable(labels), np.int64, len(cells))
    present[places] = True
    held[cells] = True
    return present.reshape(len(frames), things), held.reshape(len(frames), things, width)


def make_clip(
    vocabulary: Vocabulary,
    name: str,
    frames: Iterable[Mapping[str, Any]],
    where: str,
    **extra: Any,
) -> Clip:
    """A clip from frames written with names, ``{index, time_s?, objects: {name: {group: [labels]}}}``, validated.

    ``where`` begins every message. Raises BadInput for an unknown name (with the nearest), a missing or second label
    of a one-of group, an empty group, a repeated label, frames out of order, or no frames.
    """
    found: list[Frame] = []
    for i, frame in enumerate(frames):
        place = f"{where}, frames[{i}]"
        if not isinstance(frame, Mapping) or "index" not in frame or not isinstance(frame.get("objects"), Mapping):
            raise BadInput(f"{place}: expected {{index, objects}}, found '{str(frame)[:40]}'")
        for key in frame:
            if key not in ("index", "time_s", "objects"):
                raise BadInput(f"{place}: unknown key '{key}'{nearest(key, ('index', 'time_s', 'objects'))}")
        index = frame["index"]
        if not isinstance(index, int) or isinstance(index, bool) or index < 0:
            raise BadInput(f"{place}.index: '{index}' is not a whole number from 0 on")
        if found and index <= found[-1].index:
            raise BadInput(f"{place}.index: {index} follows {found[-1].index}; order the frames, each index once")
        objects = dict(_thing(vocabulary, key, value, f"{place}.objects") for key, value in frame["objects"].items())
        found.append(Frame(index, objects, _time(frame.get("time_s"), f"{place}.time_s")))
    if not found:
        raise BadInput(f"{where}: clip '{name}' has no frames; give at least one or leave it out")
    return Clip(name, tuple(found), **extra)


def _time(value: Any, where: str) -> float | None:
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise BadInput(f"{where}: '{value}' is not a number of seconds")
    return float(value)


def _thing(vocabulary: Vocabulary, name: str, groups: Any, where: str) -> tuple[int, tuple[int, ...]]:
    if name not in vocabulary.object_ids or vocabulary.object_ids[name] not in vocabulary.candidates:
        known = [vocabulary.objects[i] for i in vocabulary.candidates]
        raise BadInput(f"{where}: unknown object '{name}'{nearest(name, known)}")
    if not isinstance(groups, Mapping):
        raise BadInput(f"{where}.{name}: expected {{group: [labels]}}, found '{str(groups)[:40]}'")
    for key in groups:
        if key not in vocabulary.group_names:
            raise BadInput(f"{where}.{name}: unknown group '{key}'{nearest(key, vocabulary.group_names)}")
    held: list[int] = []
    for group in vocabulary.groups:
        labels = groups.get(group.name, [])
        place = f"{where}.{name}.{group.name}"
        labels = [labels] if isinstance(labels, str) else labels
        if not isinstance(labels, list | tuple) or not all(isinstance(label, str) for label in labels):
            raise BadInput(f"{place}: expected a list of labels, found '{str(labels)[:40]}'")
        for label in labels:
            if label not in group.predicates:
                raise BadInput(f"{place}: unknown label '{label}'{nearest(label, group.predicates)}")
        if len(set(labels)) < len(labels):
            raise BadInput(f"{place}: a label is given twice in {list(labels)}; give each once")
        if not labels and not group.allow_empty:
            raise BadInput(f"{place}: no label; give {'one' if group.arity == 'one' else 'at least one'}")
        if group.arity == "one" and len(labels) > 1:
            raise BadInput(f"{place}: {list(labels)}; exactly one label holds in this group")
        held += [vocabulary.predicate_ids[label] for label in labels]
    return vocabulary.object_ids[name], tuple(sorted(held))


def name_frame(frame: Frame, vocabulary: Vocabulary) -> dict[str, Any]:
    """A frame in names, as a clips file holds it."""
    objects: dict[str, Any] = {}
    for thing, held in frame.objects.items():
        labels: dict[str, list[str]] = {}
        for predicate in held:
            group = vocabulary.group_names[int(vocabulary.group_of[predicate])]
            labels.setdefault(group, []).append(vocabulary.predicates[predicate])
        objects[vocabulary.objects[thing]] = labels
    time = {} if frame.time_s is None else {"time_s": frame.time_s}
    return {"index": frame.index, **time, "objects": objects}
