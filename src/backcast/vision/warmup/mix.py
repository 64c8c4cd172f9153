"""Which mistakes a warm-start trace makes before it looks right, in which shares, and where (2505.15966, Table 2)."""

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from backcast.core.errors import BadInput
from backcast.vision.looker.boxes import Box, Size

Kind = Literal["single-pass", "recrop-once", "recrop-twice", "further-zoom", "reselect", "text-only", "no-tools"]
MISTAKES: dict[Kind, int] = {
    "single-pass": 0,
    "recrop-once": 1,
    "recrop-twice": 2,
    "further-zoom": 1,
    "reselect": 1,
    "text-only": 0,
    "no-tools": 0,
}
"""Wrong operations before the right one."""
IMAGE: Mapping[Kind, float] = {"single-pass": 0.3, "recrop-once": 0.2, "recrop-twice": 0.2, "further-zoom": 0.3}
VIDEO: Mapping[Kind, float] = {"single-pass": 0.9, "reselect": 0.1}
"""The paper's mixes."""
UNCORRECTED: Mapping[Kind, float] = {"single-pass": 1.0}
"""No mistakes: the paper's ablation without correction data."""
UNTOOLED = 0.05
"""Share of the traces without tools where a small model is taught that knows no other answers."""
FAR_TOO_LARGE = 4.0
"""Least area of a box that is too large, against the reference's."""


@dataclass(frozen=True)
class Aim:
    """How boxes are written that are easy to learn: squares of one size, on a grid."""

    side: float
    """Of a right look, as a share of the image's sides."""
    grid: float
    """All numbers of all boxes are multiples of it."""

    def __post_init__(self) -> None:
        steps = (self.side / self.grid, 1 / self.grid) if self.grid > 0 else (0.5, 0.5)
        if not 0 < self.side <= 1 or any(abs(step - round(step)) > 1e-9 for step in steps):
            raise BadInput(
                f"side must be a share of the image and, like 1, a multiple of grid; found {self.side} and {self.grid}"
            )

    def at(self, box: Box, size: Size) -> Box:
        """The square (pixels) whose middle is nearest to that of ``box``."""
        found = []
        for low, high, whole in ((box.x1, box.x2, size[0]), (box.y1, box.y2, size[1])):
            start = round(((low + high) / 2 / whole - self.side / 2) / self.grid) * self.grid
            found.append(min(max(start, 0.0), 1 - self.side))
        x, y = found
        return Box(x * size[0], y * size[1], (x + self.side) * size[0], (y + self.side) * size[1], "own")

    def elsewhere(self, reference: Box, size: Size, chance: random.Random) -> Box | None:
        """Such a square anywhere, that shares nothing with the reference; None if there is none."""
        steps = range(round((1 - self.side) / self.grid) + 1)
        free = []
        for x, y in itertools.product(steps, steps):
            corner = x * self.grid * size[0], y * self.grid * size[1]
            box = Box(*corner, corner[0] + self.side * size[0], corner[1] + self.side * size[1], "own")
            if box.overlap(reference) < 1e-6:
                free.append(box)
        return chance.choice(free) if free else None

    def widened(self, box: Box, size: Size) -> Box:
        """The least box on the grid that holds ``box``."""
        x, y = self.grid * size[0], self.grid * size[1]
        down = math.floor(box.x1 / x + 1e-6) * x, math.floor(box.y1 / y + 1e-6) * y
        up = math.ceil(box.x2 / x - 1e-6) * x, math.ceil(box.y2 / y - 1e-6) * y
        return Box(*down, min(up[0], float(size[0])), min(up[1], float(size[1])), "own")


def untooled(mix: Mapping[Kind, float], share: float = UNTOOLED) -> dict[Kind, float]:
    """``mix``, ``share`` of it traces without tools for problems that need a look: the best guess, well formed.

    A small model that has never been asked such a question without tools answers it with a malformed mixture.
    """
    return {**{kind: part * (1 - share) for kind, part in mix.items()}, "no-tools": share}


def quota(count: int, mix: Mapping[Kind, float], seed: int = 0) -> list[Kind]:
    """``count`` kinds in the shares of ``mix``, as exactly as whole numbers allow (largest remainders), shuffled.

    Raises BadInput for shares that do not add up to 1.
    """
    if abs(sum(mix.values()) - 1) > 1e-9 or min(mix.values()) < 0:
        raise BadInput(f"the shares of a mix must add up to 1, found {dict(mix)}")
    exact = {kind: share * count for kind, share in mix.items()}
    found = {kind: int(value + 1e-9) for kind, value in exact.items()}
    by_rest = sorted(mix, key=lambda kind: found[kind] - exact[kind])
    for kind in by_rest[: count - sum(found.values())]:
        found[kind] += 1
    kinds: list[Kind] = [kind for kind, times in found.items() for _ in range(times)]
    random.Random(seed).shuffle(kinds)
    return kinds


def elsewhere(reference: Box, size: Size, chance: random.Random, least: int = 28) -> Box | None:
    """A random box (pixels) that shares nothing with the reference; None if it leaves no room for one.

    Its sides are between half and twice the reference's, at least ``least`` pixels, as far as there is room.
    """
    strips = [
        (0.0, 0.0, reference.x1, size[1]),
        (reference.x2, 0.0, size[0], size[1]),
        (0.0, 0.0, size[0], reference.y1),
        (0.0, reference.y2, size[0], size[1]),
    ]
    open_strips = [s for s in strips if s[2] - s[0] >= least and s[3] - s[1] >= least]
    if not open_strips:
        return None
    x1, y1, x2, y2 = chance.choices(open_strips, [(s[2] - s[0]) * (s[3] - s[1]) for s in open_strips])[0]
    wide = _side(reference.x2 - reference.x1, x2 - x1, chance, least)
    high = _side(reference.y2 - reference.y1, y2 - y1, chance, least)
    left, top = chance.uniform(x1, x2 - wide), chance.uniform(y1, y2 - high)
    return Box(left, top, left + wide, top + high, "own")


def _side(reference: float, room: float, chance: random.Random, least: int) -> float:
    return min(room, max(float(least), reference * chance.uniform(0.5, 2.0)))


def too_large(reference: Box, size: Size, chance: random.Random) -> Box | None:
    """A random box (pixels) that holds the reference and is at least ``FAR_TOO_LARGE`` times its area.

    None if the image is not large enough for one that is not the whole image.
    """
    wide, high = reference.x2 - reference.x1, reference.y2 - reference.y1
    if size[0] * size[1] <= FAR_TOO_LARGE * wide * high:
        return None
    for _ in range(100):
        grown = chance.uniform(2.0, max(2.0, min(size[0] / wide, size[1] / high) * 0.9))
        w, h = min(size[0], wide * grown), min(size[1], high * grown)
        left = chance.uniform(max(0.0, reference.x2 - w), min(reference.x1, size[0] - w))
        top = chance.uniform(max(0.0, reference.y2 - h), min(reference.y1, size[1] - h))
        found = Box(left, top, left + w, top + h, "own")
        if found.area() >= FAR_TOO_LARGE * reference.area() * (1 - 1e-9) and found.contains(reference):
            return found
    return None


def other_frames(right: Sequence[int], count: int, chance: random.Random) -> list[int] | None:
    """As many frames as in ``right`` (numbers from 1), none of them among those; None if there are none."""
    others = [number for number in range(1, count + 1) if number not in right]
    if not others:
        return None
    return sorted(chance.sample(others, min(len(right), len(others))))
