"""Verifiable questions: prompts with an answer that a rule can check. Reading, splitting, and checking."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from backcast.core.errors import BadInput
from backcast.core.problem import content_id, read_jsonl
from backcast.learn import gym, world
from backcast.learn.rewards import content, same
from backcast.lm.chat import last_answer, split_thinking

WORLD = "world"
"""Instead of a file or a model: the small world of ``backcast.learn.world``."""

KINDS = ("numeric", "choice", "exact")
_MEANT = {"numeric": "a number", "choice": "a letter", "exact": "a text"}


class Asked(Protocol):
    """What a training stage needs of a question; other rooms bring their own."""

    @property
    def id(self) -> str:
        """Its name."""
        ...

    @property
    def prompt(self) -> str:
        """The text put to the model."""
        ...

    @property
    def answer(self) -> str:
        """The right answer."""
        ...

    def right(self, text: str) -> bool:
        """Whether a reply ends in the right answer."""
        ...

    def row(self, chat: bool) -> dict[str, Any]:
        """The row of a data set, with every column that the reward reads."""
        ...


@dataclass(frozen=True)
class Question:
    """One prompt and its right answer."""

    id: str
    prompt: str
    answer: str
    kind: str
    """``numeric``, ``choice``, ``exact``; ``world`` for the small world, the question itself for reasoning-gym."""
    images: tuple[Path, ...] = ()
    """Files of the pictures that the question is about."""

    def right(self, text: str) -> bool:
        """Whether a reply ends in the right answer."""
        return is_right(text, self.answer, self.kind)

    def row(self, chat: bool) -> dict[str, Any]:
        """The row of a data set; the prompt as a conversation if ``chat``."""
        prompt = [{"role": "user", "content": self.prompt}] if chat else self.prompt
        row: dict[str, Any] = {"prompt": prompt, "answer": self.answer, "kind": self.kind}
        if self.images:
            row["images"] = self.pictures()
        return row

    def pictures(self) -> list[Any]:
        """The pictures (PIL, RGB), opened now. Raises BadInput for a file that is none."""
        from backcast.lm.pictures import open_image

        return [open_image(file) for file in self.images]


def is_right(text: str, answer: str, kind: str) -> bool:
    """Whether the last answer that ``text`` states is ``answer``, by the rules of ``kind``."""
    if kind == WORLD:
        return world.right(text, answer)
    if gym.is_gym(kind):
        return gym.score(last_answer(text), kind) >= 1.0
    return same(stated(text, kind), answer, kind)  # type: ignore[arg-type]


def stated(text: str, kind: str) -> str | None:
    """The answer that a reply states (``last_answer``); a reply that states none may be the answer itself.

    Of a choice that is the bare letter only: many sentences begin with "A".
    """
    found = last_answer(text)
    if found is not None:
        return found
    reply = split_thinking(text)[1].strip().rstrip(".")
    return reply if kind != "choice" or len(reply.strip("().: ")) == 1 else None


def correct(completions: Sequence[Any], answer: Sequence[str], kind: Sequence[str], **_: Any) -> list[float]:
    """The reward for the trainer: 1.0 for a right reply, else 0.0."""
    rows = zip(completions, answer, kind, strict=True)
    return [float(is_right(content(given), known, rule)) for given, known, rule in rows]


def read(path: Path | str) -> list[Question]:
    """The questions of a JSON Lines file ``{id?, prompt, answer, kind?, image? | images?}`` (kind: exact).

    Images are files, looked for beside the questions. Either all questions have images or none, since the trainer
    cannot put both kinds into one batch. Raises BadInput naming the line.
    """
    home = Path(path).expanduser().parent
    found = []
    for number, record in read_jsonl(path):
        for key in ("prompt", "answer"):
            value = record.get(key)
            if isinstance(value, bool) or not isinstance(value, str | int | float) or not str(value).strip():
                raise BadInput(f"{path}, line {number}: no '{key}'; every question needs a prompt and an answer")
        kind = record.get("kind", "exact")
        if kind not in KINDS:
            raise BadInput(f"{path}, line {number}: kind '{kind}' is not one of {', '.join(KINDS)}")
        prompt, answer = str(record["prompt"]), str(record["answer"])
        if not same(answer, answer, kind):
            said = f"the answer '{answer[:40]}' is not {_MEANT[kind]}"
            raise BadInput(f"{path}, line {number}: {said}; mend it, or its kind")
        images = _images(record, home, f"{path}, line {number}")
        name = str(record.get("id", content_id(prompt, answer, *map(str, images))))
        found.append(Question(name, prompt, answer, kind, images))
        if bool(images) != bool(found[0].images):
            raise BadInput(
                f"{path}, line {number}: some questions have images and some have none; put them into two files"
            )
    if len(found) < 4:
        raise BadInput(f"{path}: {len(found)} questions; give at least 4, so that some can be held out")
    return found


def _images(record: Mapping[str, Any], home: Path, where: str) -> tuple[Path, ...]:
    named = record.get("images") or record.get("image") or ()
    files = tuple(home / str(name) for name in (named if isinstance(named, list) else [named] if named else ()))
    for file in files:
        if not file.is_file():
            raise BadInput(f"{where}: no image '{file}'; paths are relative to the questions' folder")
    return files


def load(named: str, heldout: float, seed: int) -> tuple[list[Question], list[Question]]:
    """(to learn from, held out) of a file, the small world or reasoning-gym; a share ``heldout`` drawn by ``seed``.

    No prompt (with its images) is on both sides: what repeats a held-out one is left out. BadInput if nothing else is
    there.
    """
    if named == WORLD:
        learn, held = world.tasks(seed)
        return [_of(task) for task in learn], [_of(task) for task in held]
    if gym.is_gym(named):
        rows = gym.generate(named, seed)
        found = [Question(f"{named}#{number}", *row) for number, row in enumerate(rows)]
    else:
        found = read(named)
    random.Random(seed).shuffle(found)
    count = min(len(found) - 1, max(1, round(heldout * len(found))))
    known = {(question.prompt, question.images) for question in found[:count]}
    rest = [question for question in found[count:] if (question.prompt, question.images) not in known]
    if not rest:
        raise BadInput(f"{named}: every question repeats a held-out one; give different prompts")
    return rest, found[:count]


def _of(task: world.Task) -> Question:
    return Question(task.prompt, task.prompt, task.answer, WORLD)
