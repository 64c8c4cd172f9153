"""GraphForecast: graphs of frames to come, with a probability for every object and every predicate."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.core.problem import read_jsonl
from backcast.scenes.problems.clip import Clip, Frame, cut, dense
from backcast.scenes.problems.vocabulary import Vocabulary

FLOOR = 1e-4
"""Probabilities below are not written to files."""


@dataclass(frozen=True)
class GraphForecast:
    """What one clip is expected to hold in H future frames; O objects and R predicates of the vocabulary."""

    id: str
    index: np.ndarray
    """(H,) frame numbers."""
    objects: np.ndarray
    """(H, O) probability that the object is there."""
    predicates: np.ndarray
    """(H, O, R) probability that the predicate holds, given that the object is there."""
    listed: np.ndarray
    """(H, O) bool: the objects that the forecast names. Only these are ranked and scored as objects."""
    order: np.ndarray | None = None
    """(H, O) the place at which a frame's text names each object, where known; only "ootsm-with" looks at it."""
    failures: int = 0
    """Frames whose text could not be read; 0 by construction under a grammar."""

    @property
    def joint(self) -> np.ndarray:
        """(H, O, R) probability of the triplet; 0 where the object is not listed."""
        there = np.where(self.listed, self.objects, 0.0)
        joint: np.ndarray = there[..., None] * self.predicates
        return joint

    def hard(self, threshold: float = 0.5) -> np.ndarray:
        """(H, O, R) bool: triplets of at least this joint probability."""
        joint: np.ndarray = self.joint
        return np.asarray(joint >= threshold)


@dataclass(frozen=True)
class Case:
    """One clip to forecast: what was seen, and what did follow."""

    id: str
    seen: tuple[Frame, ...]
    future: tuple[Frame, ...]


def cases(clips: Sequence[Clip], fraction: float) -> tuple[list[Case], int]:
    """The clips cut at ``fraction``, and how many leave no future."""
    found = [(clip.id, cut(clip, fraction)) for clip in clips]
    kept = [Case(name, *parts) for name, parts in found if parts is not None]
    return kept, len(found) - len(kept)


def certain(name: str, frames: Sequence[Frame], vocabulary: Vocabulary) -> GraphForecast:
    """Known graphs as a forecast: every probability 0 or 1."""
    present, held = dense(frames, vocabulary)
    index = np.array([frame.index for frame in frames])
    return GraphForecast(name, index, present.astype(float), held.astype(float), present)


def write_forecasts(path: Path, forecasts: Sequence[GraphForecast], vocabulary: Vocabulary) -> None:
    """JSON Lines: the vocabulary, then ``{id, frames: [{index, objects: {name: {p, listed, predicates}}}]}``."""
    lines: list[dict[str, Any]] = [{"vocabulary": vocabulary.to_dict()}]
    lines += [{"id": one.id, "frames": named(one, vocabulary)} for one in forecasts]
    write_atomic(path, "".join(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n" for line in lines))


def named(one: GraphForecast, vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """A forecast's frames in names."""
    frames = []
    for t, index in enumerate(one.index.tolist()):
        objects = {
            vocabulary.objects[o]: {
                "p": round(float(one.objects[t, o]), 6),
                "listed": bool(one.listed[t, o]),
                "predicates": {
                    vocabulary.predicates[r]: round(float(one.predicates[t, o, r]), 6)
                    for r in np.flatnonzero(one.predicates[t, o] >= FLOOR)
                },
            }
            for o in np.flatnonzero(one.listed[t] | (one.objects[t] >= FLOOR))
        }
        frames.append({"index": index, "objects": objects})
    return frames


def read_forecasts(path: Path | str) -> tuple[Vocabulary, list[GraphForecast]]:
    """What ``write_forecasts`` wrote; raises BadInput with file, line and field."""
    vocabulary: Vocabulary | None = None
    found = []
    for number, line in read_jsonl(path):
        where = f"{path}, line {number}"
        if vocabulary is None:
            vocabulary = Vocabulary.from_dict(line.get("vocabulary"), where)
            continue
        try:
            found.append(_read(line, vocabulary))
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{where}: not a forecast ({type(error).__name__}: {error})") from None
    if vocabulary is None:
        raise BadInput(f"{path}: no forecasts; the first line holds the vocabulary")
    return vocabulary, found


def _read(line: dict[str, Any], vocabulary: Vocabulary) -> GraphForecast:
    frames = line["frames"]
    objects = np.zeros((len(frames), len(vocabulary.objects)))
    predicates = np.zeros((*objects.shape, len(vocabulary.predicates)))
    listed = np.zeros(objects.shape, bool)
    for t, frame in enumerate(frames):
        for name, value in frame["objects"].items():
            o = vocabulary.object_ids[name]
            objects[t, o], listed[t, o] = value["p"], value["listed"]
            for label, p in value["predicates"].items():
                predicates[t, o, vocabulary.predicate_ids[label]] = p
    index = np.array([frame["index"] for frame in frames])
    return GraphForecast(line["id"], index, objects, predicates, listed)
