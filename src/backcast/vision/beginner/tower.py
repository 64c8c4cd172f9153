"""The eye first: a vision tower taught on dense targets, what lies in each cell, where, and which digit it bears.

Trained end to end on traces alone, a small model stays at chance: the answer's one token is too thin a signal to learn
seeing from. Here every cell of every picture says what it holds.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from backcast.vision.problems.problem import VisualProblem
from backcast.vision.problems.scenes import COLOURS, Tile

BINS = 20
"""Steps of the grid on which the place of a tile's middle is told, along each side of the picture."""
READABLE = 12
"""Least side in shown pixels of a tile whose digit is asked for."""
_NONE = len(COLOURS)


@dataclass(frozen=True)
class Targets:
    """What a batch of pictures shows, cell by cell; a picture has C x C cells, and there are P pictures."""

    colour: torch.Tensor
    """(P, C * C): index of the colour of the tile whose middle the cell holds, ``len(COLOURS)`` for none."""
    x: torch.Tensor
    """(P, C * C): where that middle is, in ``BINS``-ths of the picture's width from the left; -100 for none."""
    y: torch.Tensor
    """The same from the top."""
    digit: torch.Tensor
    """(P, C * C): its digit; -100 for none, or one that is too small to read."""


class Heads(nn.Module):
    """Reads the targets off the tower's features, linearly, so that a decoder can too. Thrown away afterwards."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sizes = (_NONE + 1, BINS + 1, BINS + 1, 10)
        self.read = nn.Linear(width, sum(self.sizes))

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """(..., width) -> logits of colour, x, y and digit."""
        found: tuple[torch.Tensor, ...] = self.read(features).split(self.sizes, -1)
        return found


def loss(heads: Heads, features: torch.Tensor, targets: Targets) -> tuple[torch.Tensor, dict[str, float]]:
    """(sum of the four cross-entropies, accuracies); features of shape (P, C * C, width)."""
    total, right = features.new_zeros(()), dict[str, float]()
    names = ("colour", "x", "y", "digit")
    for name, logits in zip(names, heads(features), strict=True):
        wanted = getattr(targets, name)
        known = wanted != _NONE if name == "colour" else wanted >= 0
        if name == "colour":
            weight = torch.where(known, 1.0, 0.1)  # most cells hold nothing
            each = nn.functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none")
            total = total + (each * weight.flatten()).sum() / weight.sum()
        elif known.any():
            total = total + nn.functional.cross_entropy(logits[known], wanted[known])
        if known.any():
            right[name] = float((logits[known].argmax(-1) == wanted[known]).float().mean())
    return total, right


def part(image: Any, tiles: Sequence[Tile], box: Sequence[float], side: int) -> tuple[Any, list[Tile]]:
    """(the part of an image, shown with ``side`` by ``side`` pixels; its tiles, in pixels as shown)."""
    from PIL import Image

    left, top, right, bottom = box
    shown = image.crop(tuple(map(round, box))).resize((side, side), Image.Resampling.BICUBIC)
    x, y = side / (right - left), side / (bottom - top)
    moved = [
        Tile(t.colour, t.digit, tuple((n - o) * s for n, o, s in zip(t.box, (left, top) * 2, (x, y) * 2, strict=True)))  # type: ignore[arg-type]
        for t in tiles
    ]
    return shown, moved


def targets(shown: Sequence[Sequence[Tile]], side: int, cells: int) -> Targets:
    """The targets of pictures of ``side`` pixels with these tiles; a tile whose middle is outside does not count."""
    colour = torch.full((len(shown), cells * cells), _NONE)
    x, y, digit = (torch.full((len(shown), cells * cells), -100) for _ in range(3))
    known = sorted(COLOURS)
    for row, tiles in enumerate(shown):
        for tile in tiles:
            middle = (tile.box[0] + tile.box[2]) / 2 / side, (tile.box[1] + tile.box[3]) / 2 / side
            if not (0 <= middle[0] < 1 and 0 <= middle[1] < 1):
                continue
            cell = int(middle[1] * cells) * cells + int(middle[0] * cells)
            colour[row, cell] = known.index(tile.colour)
            x[row, cell], y[row, cell] = round(middle[0] * BINS), round(middle[1] * BINS)
            whole = all(-2 <= edge <= side + 2 for edge in tile.box)
            if tile.box[2] - tile.box[0] >= READABLE and whole:
                digit[row, cell] = tile.digit
    return Targets(colour, x, y, digit)


def lesson(
    scenes: Sequence[tuple[VisualProblem, Sequence[Tile]]],
    count: int,
    shape: tuple[int, int],
    reach: float,
    chance: random.Random,
) -> tuple[list[Any], Targets]:
    """``count`` pictures and their targets: half of them whole scenes, the others square parts around a tile.

    ``shape`` is (side in pixels, cells along a side) of a picture as shown; ``reach`` the side of a right look as a
    share of the scene. Some parts are two to four times as large.
    """
    side, cells = shape
    pictures, shown = [], []
    for number in range(count):
        problem, tiles = chance.choice(scenes)
        image = problem.media().images[0]
        box = (0.0, 0.0, float(image.width), float(image.height))
        if number % 2:
            grown = chance.uniform(2, 4) if number % 8 == 1 else 1.0
            box = _around(chance.choice(list(tiles)), image.size, reach * grown, chance)
        picture, moved = part(image, tiles, box, side)
        pictures.append(picture)
        shown.append(moved)
    return pictures, targets(shown, side, cells)


def _around(
    tile: Tile, size: tuple[int, int], reach: float, chance: random.Random
) -> tuple[float, float, float, float]:
    """A square part that holds the tile, if not in its middle."""
    wide = min(reach, 1.0) * size[0]
    low = [max(0.0, tile.box[at + 2] - wide) for at in (0, 1)]
    high = [min(size[at] - wide, tile.box[at]) for at in (0, 1)]
    left, top = (round(chance.uniform(a, max(a, b))) for a, b in zip(low, high, strict=True))
    return float(left), float(top), left + wide, top + wide


def features(model: Any, processor: Any, pictures: Sequence[Any]) -> torch.Tensor:
    """(P, cells, width): what the tower makes of square pictures."""
    found = processor.image_processor(images=list(pictures), return_tensors="pt")
    seen = model.model.visual(found["pixel_values"], grid_thw=found["image_grid_thw"])
    cells: torch.Tensor = seen.pooler_output.view(len(pictures), -1, seen.pooler_output.shape[-1])
    return cells
