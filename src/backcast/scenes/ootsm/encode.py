"""Graphs as token numbers of a closed vocabulary: one function for training and inference."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from backcast.scenes.problems.clip import Frame
from backcast.scenes.problems.vocabulary import Vocabulary

AGES = np.array([0, 1, 2, 3, 5, 8, 13])
"""Last age of each bin of frames before the last seen one; one more bin is open."""
AHEAD = np.array([1, 2, 3, 4, 5, 6, 7, 8, 12, 18, 27])
"""Last frame of each bin of frames ahead; one more bin is open."""
PAD, ABSENT, BESIDE = 0, 1, 2
State = TypeVar("State")


@dataclass(frozen=True)
class Encoder:
    """Token numbers of a vocabulary: three marks, ages, frames ahead, objects, predicates."""

    vocabulary: Vocabulary
    limit: int = 96
    """Most tokens of a prompt; the oldest runs of equal graphs go first, the newest always stays."""

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return self.predicate(len(self.vocabulary.predicates))

    def age(self, frames: int) -> int:
        """The token of a graph last seen ``frames`` before the last one."""
        return 3 + int(np.searchsorted(AGES, frames))

    def ahead(self, frames: int) -> int:
        """The token that asks for the graph ``frames`` (1 and more) ahead."""
        return 3 + len(AGES) + 1 + int(np.searchsorted(AHEAD, frames))

    def thing(self, number: int) -> int:
        """The token of an object."""
        return 3 + len(AGES) + 1 + len(AHEAD) + 1 + number

    def predicate(self, number: int) -> int:
        """The token of a predicate."""
        return self.thing(len(self.vocabulary.objects)) + number

    def scene(self, seen: Sequence[Frame]) -> list[int]:
        """Stage 1's prompt: runs of equal graphs, oldest first; order of objects is by id, whatever the source's."""
        runs = []
        for age, frame in _runs([dict(frame.objects) for frame in seen]):
            runs.append([self.age(age), *(token for o in sorted(frame) for token in self._held(o, frame[o]))])
        return self._newest(runs, [])

    def object(self, seen: Sequence[Frame], number: int) -> list[int]:
        """Stage 2's prompt for one object, seen or not: what else is there now, then its own runs, gaps kept."""
        others = {o: held for o, held in seen[-1].objects.items() if o != number}
        beside = [BESIDE, *(token for o in sorted(others) for token in self._held(o, others[o]))]
        runs = []
        for age, held in _runs([frame.objects.get(number) for frame in seen]):
            marks = [ABSENT] if held is None else [self.predicate(r) for r in held]
            runs.append([self.age(age), *marks])
        head = [self.thing(number), *beside[: self.limit // 2]]
        return self._newest(runs, head)

    def _held(self, number: int, held: Sequence[int]) -> list[int]:
        return [self.thing(number), *(self.predicate(r) for r in held)]

    def _newest(self, runs: list[list[int]], head: list[int]) -> list[int]:
        kept: list[list[int]] = []
        room = self.limit - len(head)
        for run in reversed(runs):
            if kept and len(run) > room:
                break
            kept.append(run[: max(room, 1)])
            room -= len(run)
        return head + [token for run in reversed(kept) for token in run]


def _runs(states: Sequence[State]) -> list[tuple[int, State]]:
    """(age of the run's last frame, state) for every run of equal consecutive states, oldest first."""
    found: list[tuple[int, State]] = []
    for t, state in enumerate(states):
        age = len(states) - 1 - t
        if found and found[-1][1] == state:
            found[-1] = (age, state)
        else:
            found.append((age, state))
    return found
