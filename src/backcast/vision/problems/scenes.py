"""Scenes in which a small thing must be found: coloured tiles with a digit each, on noise.

The question names a colour, the answer is that tile's digit. What a model sees of the whole scene is a coarse overview,
in which the colour shows and the digit does not; cut out, the tile is large enough to read. How hard that is, is one
number: the tile's side against the side of the overview's token cells.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.vision.media import Media
from backcast.vision.problems.problem import VisualProblem, make

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (50, 80, 220),
    "yellow": (235, 205, 40),
    "purple": (150, 60, 180),
    "orange": (240, 140, 30),
}


SMALL, LARGE = "small", "large"
"""Groups of generated problems: tiles that must be looked at closer, and tiles that need not be."""


def plain(problem: VisualProblem) -> bool:
    """Whether a generated problem can be told from the overview."""
    return problem.group == LARGE


@dataclass(frozen=True)
class Scenes:
    """How scenes are made."""

    canvas: int = 448
    """Side in pixels."""
    cells: int = 4
    """Tokens along a side of the overview that the model sees."""
    ratio: float = 0.25
    """The difficulty: a tile's side as a share of an overview cell's. From about 1 on the overview suffices."""
    tiles: int = 3
    """Tiles in a scene, of different colours."""
    easy: float = 0.0
    """Share of the scenes whose tiles are as large as two cells, so that looking closer is not needed."""
    gap: int = 2
    """Least pixels between tiles."""
    noise: int = 18
    """Spread of the ground's grey levels."""
    digits: int = 10
    """How many different digits there are, from 0 on: who guesses is right once in so many."""
    frames: int = 0
    """0: images. Otherwise videos of so many frames, in one of which the tiles are."""

    def __post_init__(self) -> None:
        if not 2 <= self.digits <= 10:
            raise BadInput(f"digits must be from 2 to 10, found {self.digits}")
        if not 1 <= self.tiles <= len(COLOURS):
            raise BadInput(f"tiles must be from 1 to {len(COLOURS)}, found {self.tiles}")
        if not 0 <= self.easy <= 1 or self.ratio <= 0 or self.noise < 0 or self.frames < 0:
            raise BadInput("easy must be a share, ratio positive, noise and frames at least 0")
        if self.tile < 8:
            raise BadInput(f"tiles of {self.tile} pixels hold no digit; raise ratio or canvas")
        if self.cells * self.cells < 4 * self.tiles or self.tile * 2 * self.tiles > self.canvas:
            raise BadInput(f"{self.tiles} tiles of {self.tile} pixels do not fit into {self.canvas} pixels")

    @property
    def tile(self) -> int:
        """A tile's side in pixels."""
        return round(self.ratio * self.canvas / self.cells)


@dataclass(frozen=True)
class Tile:
    """One tile of a scene."""

    colour: str
    digit: int
    box: tuple[float, float, float, float]
    """In pixels of the scene."""


def generate(count: int, scenes: Scenes, seed: int = 0) -> list[VisualProblem]:
    """``count`` problems; the same seed gives the same ones, whatever the count."""
    return [problem for problem, _ in generate_tiles(count, scenes, seed)]


def generate_tiles(count: int, scenes: Scenes, seed: int = 0) -> Iterator[tuple[VisualProblem, tuple[Tile, ...]]]:
    """The problems of ``generate``, one after the other, each with all tiles of its scene."""
    return (_problem(number, scenes, random.Random(f"{seed}:{number}")) for number in range(count))


def _problem(number: int, scenes: Scenes, chance: random.Random) -> tuple[VisualProblem, tuple[Tile, ...]]:
    small = chance.random() >= scenes.easy
    side = scenes.tile if small else min(2 * scenes.canvas // scenes.cells, scenes.canvas // (2 * scenes.tiles))
    colours = chance.sample(sorted(COLOURS), scenes.tiles)
    digits = [chance.randrange(scenes.digits) for _ in colours]
    places = _places(scenes, side, chance)
    moment = chance.randrange(scenes.frames) if scenes.frames else 0
    frames = []
    for frame in range(max(1, scenes.frames)):
        image = _ground(scenes, chance)
        if frame == moment:
            for colour, digit, (x, y) in zip(colours, digits, places, strict=True):
                _tile(image, COLOURS[colour], digit, (x, y, side))
        frames.append(image)
    asked = chance.randrange(scenes.tiles)
    boxes = [(float(x), float(y), float(x + side), float(y + side)) for x, y in places]
    box = boxes[asked]
    moments = (moment + 1,) if scenes.frames else ()
    media = Media(tuple(frames), bool(scenes.frames), name=f"scene-{number}", boxes=(box,), moments=moments)
    problem = make(
        f"Which digit is on the {colours[asked]} tile?",
        (str(digits[asked]),),
        f"scene-{number}",
        given=media,
        box=box,
        moments=moments,
        group=SMALL if small else LARGE,
    )
    return problem, tuple(map(Tile, colours, digits, boxes))


def _places(scenes: Scenes, side: int, chance: random.Random) -> list[tuple[int, int]]:
    """Upper left corners of tiles that do not touch."""
    most = scenes.canvas - side
    while True:  # at most half of the canvas's side is covered, so that a free place is soon found
        found: list[tuple[int, int]] = []
        for _ in range(200):
            x, y = chance.randint(0, most), chance.randint(0, most)
            if all(abs(x - a) > side + scenes.gap or abs(y - b) > side + scenes.gap for a, b in found):
                found.append((x, y))
            if len(found) == scenes.tiles:
                return found


def _ground(scenes: Scenes, chance: random.Random) -> Any:
    from PIL import Image

    rng = np.random.default_rng(chance.getrandbits(32))
    grey = rng.normal(128, scenes.noise, (scenes.canvas, scenes.canvas, 1)).clip(0, 255)
    return Image.fromarray(np.repeat(grey, 3, axis=2).astype(np.uint8))


def _tile(image: Any, colour: tuple[int, int, int], digit: int, place: tuple[int, int, int]) -> None:
    from PIL import ImageDraw, ImageFont

    x, y, side = place
    draw = ImageDraw.Draw(image)
    draw.rectangle((x, y, x + side - 1, y + side - 1), fill=colour)
    font = ImageFont.load_default(max(6, round(0.8 * side)))
    ink = "#000000" if sum(colour) > 380 else "#ffffff"
    draw.text((x + side / 2, y + side / 2), str(digit), ink, font, anchor="mm")


def write_problems(problems: list[VisualProblem], folder: Path | str) -> Path:
    """Writes problems as ``problems.jsonl`` with their images beside it (PNG); returns the file."""
    import io
    import json

    folder = Path(folder)
    lines = []
    for problem in problems:
        media = problem.media()
        names = []
        for number, image in enumerate(media.images, start=1):
            held = io.BytesIO()
            image.save(held, "PNG")
            name = f"{problem.id}/frame_{number}.png" if media.video else f"{problem.id}.png"
            name = name if media.video or len(media.images) == 1 else f"{problem.id}-{number}.png"
            write_atomic(folder / name, held.getvalue())
            names.append(name)
        record: dict[str, Any] = {"id": problem.id, "prompt": problem.question, "kind": problem.kind}
        record["answer"] = problem.answer if len(problem.answers) == 1 else list(problem.answers)
        record |= (
            {"video": problem.id} if media.video else {"image": names[0]} if len(names) == 1 else {"images": names}
        )
        record |= {"options": list(problem.options)} if problem.options else {}
        record |= {"box": list(problem.box)} if problem.box else {}
        record |= {"moments": list(problem.moments)} if problem.moments else {}
        record |= {"group": problem.group} if problem.group else {}
        lines.append(json.dumps(record, ensure_ascii=False) + "\n")
    write_atomic(folder / "problems.jsonl", "".join(lines))
    return folder / "problems.jsonl"
