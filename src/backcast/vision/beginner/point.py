"""Lessons in looking: a small decoder learns where to look and to read what it sees, on scenes never seen twice.

On a set of traces seen again and again a decoder of this size learns each scene by heart instead of reading the place
off the tile that is asked for, and the digit off the part. So a lesson shows new scenes, asks for every tile of each
(the same picture, other words, another box), and begins with scenes of a single tile, where there is nothing to mix up.
There are three kinds: a right look and what it shows, a tile large enough to be told from the whole, and no tools.

The tokens alone did not teach it which of two tiles is asked for: the way from the colour's word to the tile and on to
the number has to be found at once. So a linear head names the box's place, or the digit that can be told, already at
the colour's own tokens. It shortens that way, and is thrown away after the lessons.
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
from backcast.lm.tiny import OPEN
from backcast.vision.beginner.course import Course
from backcast.vision.beginner.settings import AIM, Point
from backcast.vision.beginner.tower import part
from backcast.vision.beginner.words import grid_numbers
from backcast.vision.looker.boxes import Box
from backcast.vision.looker.settings import LookSettings
from backcast.vision.problems.scenes import COLOURS, Scenes, Tile, generate_tiles
from backcast.vision.warmup.masks import IGNORED, mask
from backcast.vision.warmup.mix import Aim, Kind
from backcast.vision.warmup.traces import RuleWriter, WarmTrace, build

NUMBER = re.compile(r"\d+\.\d+")


@dataclass(frozen=True)
class Form:
    """A trace as tokens, with slots for the colour that is asked for, the box's numbers and the digit."""

    ids: tuple[int, ...]
    learnt: tuple[bool, ...]
    colours: tuple[int, ...]
    """Positions of the colour's token."""
    numbers: tuple[int, ...]
    """Positions of x1, y1, x2, y2, in the call and again in its result; none without a look."""
    digits: tuple[int, ...]
    """Positions of the answer's digit in the last turn."""

    @classmethod
    def of(cls, lm: LocalSight, trace: WarmTrace) -> "Form":
        """The form of a trace; raises ValueError where its vocabulary splits a slot."""
        masked = mask(lm, trace.turns, trace.right, trace.tools)
        words = [lm.tokenizer.decode([token]) for token in masked.ids]
        last = max(at for at, word in enumerate(words) if word == OPEN)
        colours = tuple(at for at, word in enumerate(words) if word in COLOURS)
        numbers = tuple(at for at, word in enumerate(words) if NUMBER.fullmatch(word))
        digits = tuple(at for at, word in enumerate(words) if at > last and word == trace.problem.answer)
        if len(numbers) != 8 * len(trace.views[1:]) or len(digits) != 2 or not colours:
            raise ValueError("the small model's vocabulary must hold every colour, digit and number of the grid")
        return cls(masked.ids, tuple(label != IGNORED for label in masked.labels), colours, numbers, digits)

    def filled(self, lm: LocalSight, tile: Tile, numbers: Sequence[float]) -> list[int]:
        """The tokens of the same conversation about another tile."""
        found = list(self.ids)
        as_called, as_shown = [str(round(number, 3)) for number in numbers], [f"{number:.3f}" for number in numbers]
        words = dict.fromkeys(self.colours, tile.colour) | dict.fromkeys(self.digits, str(tile.digit))
        words |= dict(zip(self.numbers, [*as_called, *as_shown], strict=False))
        for at, word in words.items():
            found[at] = lm.tokenizer.convert_tokens_to_ids(word)
        return found


@dataclass(frozen=True)
class Exercise:
    """One kind of lesson."""

    name: str
    share: float
    """Of the batch, and weight of its loss."""
    scenes: Scenes
    form: Form
    named: tuple[int, ...]
    """Positions of the tokens that the head names at the colour's."""


@dataclass
class Lessons:
    """Conversations about scenes that are made on the way."""

    lm: LocalSight
    scenes: Scenes
    aim: Aim
    settings: LookSettings
    seed: int
    naming: float = 0.3
    """Weight of the loss of ``head``, which names place or digit at the colour's own tokens. 0: without."""

    def __post_init__(self) -> None:
        self.exercises = (
            self._exercise("look", 1.0, 0.0, "single-pass"),
            self._exercise("tell", 0.5, 1.0, "text-only"),
            self._exercise("bare", 0.25, 0.5, "text-only"),
        )
        numbers = [text for text in grid_numbers(self.aim.grid) if text == str(float(text))]
        self.names = torch.tensor(self.lm.tokenizer.convert_tokens_to_ids([*numbers, *map(str, range(10))]))
        """Tokens that the head may name: the numbers of a left or upper edge, and digits."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.head = torch.nn.Linear(self.lm.model.config.text_config.hidden_size, 3 * len(self.names))
            """To what it names as left edge, upper edge and digit."""

    def _exercise(self, name: str, share: float, easy: float, kind: Kind) -> Exercise:
        scenes = replace(self.scenes, easy=easy)
        problem, _ = next(generate_tiles(1, scenes, self.seed))
        trace = build(problem, kind, random.Random(0), RuleWriter(), self.settings, self.aim, name != "bare")
        assert trace is not None, "neither kind needs room for a mistake"
        self.side = trace.turns[-2].pictures[0].width
        form = Form.of(self.lm, trace)
        named = {"look": form.numbers[:2], "tell": form.digits[:1], "bare": ()}[name]
        return Exercise(name, share, scenes, form, named)

    def lesson(self, step: int, count: int, alone: bool) -> tuple[torch.Tensor, dict[str, float]]:
        """(weighted loss of all exercises, shares of what was right) for ``count`` looks and shares of the others."""
        total, told = torch.zeros(()), dict[str, float]()
        for one in self.exercises:
            value, right = self.loss(one, self.batch(one, step, max(1, round(count * one.share)), alone))
            total, told = total + one.share * value, told | right
        return total, told

    def batch(self, one: Exercise, step: int, count: int, alone: bool) -> dict[str, torch.Tensor]:
        """Inputs and labels of ``count`` conversations, the same for the same step; ``alone``: a single tile each."""
        scenes = replace(one.scenes, tiles=1) if alone else one.scenes
        pictures, ids = [], []
        for image, tile in self._asked(scenes, f"{self.seed}:{one.name}:{step}"):
            right = self.aim.at(Box(*tile.box, frame="own"), image.size)
            shown = [(0, 0, *image.size), right.numbers] if one.form.numbers else [(0, 0, *image.size)]
            pictures += [part(image, (), box, self.side)[0] for box in shown]
            ids.append(one.form.filled(self.lm, tile, right.in_frame("unit", image.size).numbers))
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
            "labels": tokens.masked_fill(~torch.tensor(one.form.learnt), IGNORED),
        }

    def _asked(self, scenes: Scenes, name: str) -> Iterator[tuple[Any, Tile]]:
        """(a scene, a tile of it), tile after tile, scene after scene."""
        for problem, tiles in generate_tiles(1 << 30, scenes, random.Random(name).getrandbits(60)):
            image = problem.media().images[0]
            for tile in tiles:
                yield image, tile

    def loss(self, one: Exercise, inputs: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, float]]:
        """(cross-entropy a learnt token and, weighted, of the head; shares of right numbers, digits and heads)."""
        labels = inputs["labels"][:, 1:]
        plain = {name: value for name, value in inputs.items() if name != "labels"}
        states = self.lm.model.model(**plain).last_hidden_state
        logits = self.lm.model.lm_head(states)[:, :-1].float()
        value = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED)
        places = dict(zip("xy", one.form.numbers, strict=False)) | {one.name: one.form.digits[0]}
        hits = {name: logits[:, at - 1].argmax(-1) == labels[:, at - 1] for name, at in places.items()}
        if self.naming and one.named:
            named, hits[f"{one.name} named"] = self._named(one, states, inputs["input_ids"])
            value = value + self.naming * named
        return value, {name: float(hit.float().mean()) for name, hit in hits.items()}

    def _named(self, one: Exercise, states: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(the head's cross-entropy, which tokens it names right) from states (rows, tokens, hidden)."""
        said = self.head(states[:, one.form.colours].float()).unflatten(-1, (3, len(self.names)))
        said = said[:, :, :2] if one.form.numbers else said[:, :, 2:]
        wanted = (ids[:, one.named, None] == self.names).int().argmax(-1)[:, None].expand(said.shape[:-1])
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
    """Teaches the decoder of (model, processor) to look and saves both in ``folder/model``; the eye stays as it is.

    Goes on from ``folder/point.pt``. Returns (one row a step, shares of what is right on scenes of their own); the
    head that names places is in the checkpoint and not in the model.
    """
    model, processor = parts
    lessons = Lessons(LocalSight(model, processor), scenes, aim, look, seed, settings.naming)
    model.model.visual.requires_grad_(False)
    model.train()

    def lesson(step: int) -> tuple[torch.Tensor, dict[str, float]]:
        return lessons.lesson(step, settings.batch, step < settings.alone)

    taught = {"model": model, "head": lessons.head}
    course = Course("pointing", taught, settings.steps, settings.learning_rate, settings.save_every)
    log = course.run(folder / "point.pt", lesson)
    model.model.visual.requires_grad_(True)
    model.eval()
    with torch.no_grad():
        _, right = lessons.lesson(-1, 4 * settings.batch, False)
    save_sight(model, processor, folder / "model")
    return log, right
