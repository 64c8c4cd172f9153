"""A detector's mistakes, made up: objects missed, taken for others, and labels mistaken, by a seed."""

from dataclasses import replace

import numpy as np

from backcast.core.errors import BadInput
from backcast.scenes.problems.clip import Clips, Frame
from backcast.scenes.problems.vocabulary import Vocabulary


def noisy(clips: Clips, share: float, seed: int = 0) -> Clips:
    """The clips with ``share`` of all objects spoilt, frame by frame: missed, taken for another class, or with one of
    their labels replaced by another of its group, one third each.
    """
    if not 0 <= share <= 1:
        raise BadInput(f"noise {share}: give the share of objects that are spoilt, between 0 and 1")
    rng = np.random.default_rng(seed)
    found = [
        replace(clip, frames=tuple(_spoilt(frame, clips.vocabulary, share, rng) for frame in clip.frames))
        for clip in clips.clips
    ]
    return Clips(clips.vocabulary, tuple(found))


def _spoilt(frame: Frame, words: Vocabulary, share: float, rng: np.random.Generator) -> Frame:
    graph: dict[int, tuple[int, ...]] = {}
    for thing, held in sorted(frame.objects.items()):
        kind = int(rng.integers(3)) if rng.random() < share else -1
        if kind == 0:
            continue
        name = int(rng.choice(words.candidates)) if kind == 1 else thing
        graph.setdefault(name, _mistaken(held, words, rng) if kind == 2 else held)
    return replace(frame, objects=graph)


def _mistaken(held: tuple[int, ...], words: Vocabulary, rng: np.random.Generator) -> tuple[int, ...]:
    if not held:
        return held
    which = int(rng.choice(held))
    ids = words.slices[int(words.group_of[which])]
    others = [r for r in range(ids.start, ids.stop) if r not in held]
    new = int(rng.choice(others)) if others else which
    return tuple(sorted({*held, new} - ({which} - {new})))
