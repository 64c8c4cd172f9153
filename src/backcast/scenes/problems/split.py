"""Folds that no leak crosses: clips of one group stay together."""

from collections.abc import Hashable, Sequence

import numpy as np

from backcast.core.errors import BadInput
from backcast.scenes.problems.clip import Clip


def connected(keys: Sequence[tuple[Hashable, ...]]) -> list[int]:
    """A group number for every item: items that share any key, directly or through others, are one group."""
    parent = list(range(len(keys)))

    def find(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[Hashable, int] = {}
    for i, mine in enumerate(keys):
        for key in mine:
            parent[find(i)] = find(first.setdefault(key, i))
    number: dict[int, int] = {}
    return [number.setdefault(find(i), len(number)) for i in range(len(keys))]


def folds(clips: Sequence[Clip], count: int = 5, seed: int = 0) -> list[list[int]]:
    """``count`` lists of clip numbers, near equal in size; clips of one ``meta["group"]`` lie in one fold.

    Groups are shuffled by ``seed``, then given, largest first, to the smallest fold. Raises BadInput for fewer groups
    than folds.
    """
    members: dict[Hashable, list[int]] = {}
    for i, clip in enumerate(clips):
        members.setdefault(clip.meta.get("group", f"clip {clip.id}"), []).append(i)
    groups = list(members.values())
    if len(groups) < count or count < 2:
        raise BadInput(f"{count} folds of {len(groups)} groups; give 2 or more folds, at most one for each group")
    order = np.random.default_rng(seed).permutation(len(groups)).tolist()
    order.sort(key=lambda g: -len(groups[g]))
    parts: list[list[int]] = [[] for _ in range(count)]
    for g in order:
        min(parts, key=len).extend(groups[g])
    return [sorted(part) for part in parts]
