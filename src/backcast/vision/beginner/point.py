"""Pointing: a small decoder learns where to look, the first turn alone, on scenes that are never seen twice.

On a set of traces seen again and again a decoder of this size learns each scene by heart instead of reading the place
off the tile that is asked for. So a lesson shows new scenes, asks for every tile of each (the same picture, other
words, another box), and begins with scenes of a single tile, where there is nothing to mix up.

The box's numbers alone did not teach it, in one run of two, which of two tiles is asked for: the way from the colour's
word to the tile and on to the number has to be found at once. So a linear head names the box's place already at the
colour's own tokens. It shortens that way, and is thrown away after the lessons.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from backcast.lm.local_sight import LocalSight
from backcast.lm.small_sight import save_sight
from backcast.vision.beginner.course import Course
from backcast.vision.beginner.settings import AIM, Point
from backcast.vision.beginner.tower import part
from backcast.vision.beginner.words import grid_numbers
from backcast.vision.looker.boxes import Box
from backcast.vision.looker.settings import LookSettings
from backcast.vision.problems.scenes import COLOURS, Scenes, Tile, generate_tiles
from backcast.vision.warmup.masks import IGNORED, mask
from backcast.vision.warmup.mix import UNCORRECTED, Aim
from backcast.vision.warmup.traces import WarmTrace, synthesise

NUMBER = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Form:
    """The first turn of a trace as tokens, with slots for the colour that is asked for and the box's four numbers."""

    ids: tuple[int, ...]
    learnt: tuple[bool, ...]
    colours: tuple[int, ...]
    """Positions of the colour's token."""
    numbers: tuple[int, ...]
    """Positions of x1, y1, x2, y2."""

    @classmethod
    def of(cls, lm: LocalSight, trace: WarmTrace) -> "Form":
        """The form of a trace's first turn."""
        masked = mask(lm, trace.turns[:2], trace.right[:2], trace.tools)
        words = [lm.tokenizer.decode([token]) for token in masked.ids]
        colours = tuple(at for at, word in enumerate(words) if word in COLOURS)
        numbers = tuple(at for at, word in enumerate(words) if NUMBER.fullmatch(word))
        if len(numbers) != 4 or not colours:
            raise ValueError("the small model's vocabulary must hold every colour and every number of the grid")
        return cls(masked.ids, tuple(label != IGNORED for label in masked.labels), colours, numbers)

    def filled(self, lm: LocalSight, colour: str, numbers: Sequence[float]) -> list[int]:
        """The tokens of the turn about another tile."""
        found = list(self.ids)
        for at in self.colours:
            found[at] = lm.tokenizer.convert_tokens_to_ids(colour)
        for at, number in zip(self.numbers, numbers, strict=True):
            found[at] = lm.tokenizer.convert_tokens_to_ids(str(round(number, 3)))
        return found


@dataclass
class Lessons:
    """First turns about scenes that are made on the way."""

    lm: LocalSight
    scenes: Scenes
    aim: Aim
    settings: LookSettings
    seed: int
    naming: float = 0.3
    """Weight of the loss of ``head``, which names the box's place at the colour's own tokens. 0: without."""

    def __post_init__(self) -> None:
        self.scenes = replace(self.scenes, easy=0.0)
        first, _ = next(generate_tiles(1, self.scenes, self.seed))
        (trace,), _ = synthesise([first], None, self.settings, 0, {"image": UNCORRECTED}, self.aim)
        self.form = Form.of(self.lm, trace)
        self.side = trace.turns[0].pictures[0].width
        numbers = [text for text in grid_numbers(self.aim.grid) if text == str(float(text))]
        self.places = torch.tensor(self.lm.tokenizer.convert_tokens_to_ids(numbers))
        """Tokens of the numbers that a left or upper edge may have."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.head = torch.nn.Linear(self.lm.model.config.text_config.hidden_size, 2 * len(numbers))

    def batch(self, step: int, count: int, alone: bool) -> dict[str, torch.Tensor]:
        """Inputs and labels of ``count`` turns, the same for the same step; ``alone``: scenes of a single tile."""
        scenes = replace(self.scenes, tiles=1) if alone else self.scenes
        pictures, ids = [], []
        for picture, tile, whole in self._asked(scenes, f"{self.seed}:point:{step}"):
            right = self.aim.at(Box(*tile.box, frame="own"), whole)
            pictures.append(picture)
            ids.append(self.form.filled(self.lm, tile.colour, right.in_frame("unit", whole).numbers))
            if len(ids) == count:
                break
        tokens = torch.tensor(ids)
        found = self.lm.processor.image_processor(images=pictures, return_tensors="pt")
        return {
            "input_ids": tokens,
            "attention_mask": torch.ones_like(tokens),
            "mm_token_type_ids": (tokens == self.lm.model.config.image_token_id).int(),
            "pixel_values": found["pixel_values"],
            "image_grid_thw": found["image_grid_thw"],
            "labels": tokens.masked_fill(~torch.tensor(self.form.learnt), IGNORED),
        }

    def _asked(self, scenes: Scenes, name: str) -> Iterator[tuple[Any, Tile, tuple[int, int]]]:
        """(the scene as shown, a tile of it, the scene's own size), tile after tile, scene after scene."""
        for problem, tiles in generate_tiles(1 << 30, scenes, random.Random(name).getrandbits(60)):
            image = problem.media().images[0]
            picture, _ = part(image, (), (0, 0, image.width, image.height), self.side)
            for tile in tiles:
                yield picture, tile, image.size

    def loss(self, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """(cross-entropy a learnt token and, weighted, of the head; shares of right numbers and of right heads)."""
        labels = inputs["labels"][:, 1:]
        plain = {name: value for name, value in inputs.items() if name != "labels"}
        states = self.lm.model.model(**plain).last_hidden_state
        logits = self.lm.model.lm_head(states)[:, :-1].float()
        value = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        places = dict(zip("xy", self.form.numbers, strict=False))
        hits = {name: logits[:, at - 1].argmax(-1) == labels[:, at - 1] for name, at in places.items()}
        if self.naming:
            named, hits["named"] = self._named(states, inputs["input_ids"])
            value = value + self.naming * named
        return value, {name: float(hit.float().mean()) for name, hit in hits.items()}

    def _named(self, states: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the head's cross-entropy, which edges it names right) from states (rows, tokens, hidden)."""
        at = self.form.colours
        said = self.head(states[:, at].float()).unflatten(-1, (2, len(self.places)))
        edges = ids[:, self.form.numbers[:2]]
        wanted = (edges[..., None] == self.places).int().argmax(-1)[:, None].expand(-1, len(at), -1)
        return torch.nn.functional.cross_entropy(said.flatten(0, 2), wanted.flatten()), said.argmax(-1) == wanted


def teach(
    folder: Path,
    parts: tuple[Any, Any],
    scenes: Scenes,
    settings: Point,
    look: LookSettings,
    seed: int,
    aim: Aim = AIM,
) -> tuple[list[dict[str, float]], dict[str, float]]:
    """Teaches the decoder of (model, processor) to point and saves both in ``folder/model``; the eye stays as it is.

    Goes on from ``folder/point.pt``. Returns (one row a step, shares of right numbers on scenes of their own); the
    head that names places is in the checkpoint and not in the model.
    """
    model, processor = parts
    lessons = Lessons(LocalSight(model, processor), scenes, aim, look, seed, settings.naming)
    model.model.visual.requires_grad_(False)
    model.train()

    def lesson(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return lessons.loss(lessons.batch(step, settings.batch, step < settings.alone))

    taught = {"model": model, "head": lessons.head}
    course = Course("pointing", taught, settings.steps, settings.learning_rate, settings.save_every)
    log = course.run(folder / "point.pt", lesson)
    model.model.visual.requires_grad_(True)
    model.eval()
    with torch.no_grad():
        _, right = lessons.loss(lessons.batch(-1, 4 * settings.batch, False))
    save_sight(model, processor, folder / "model")
    return log, right
