"""A question about an image or a video, its right answer, and, where known, where the answer is to be seen."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from backcast.core.problem import Score, content_id
from backcast.lm.chat import last_answer, split_thinking
from backcast.vision.media import Media, open_media

Kind = Literal["exact", "numeric", "choice", "anls"]
KINDS = ("exact", "numeric", "choice", "anls")
"""As in verifiable problems; anls: similarity to the nearest of several answers (InfographicVQA)."""
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True)
class VisualProblem:
    """One question and what it is about."""

    id: str
    question: str
    answers: tuple[str, ...]
    """Right answers; any of them counts. Of a choice: its letter."""
    kind: Kind = "exact"
    options: tuple[str, ...] = ()
    files: tuple[Path, ...] = ()
    """Images, or one video or folder of frames."""
    given: Media | None = field(default=None, repr=False, compare=False)
    """The images themselves, for generated problems."""
    box: tuple[float, float, float, float] | None = None
    """Where the answer is to be seen, in pixels of the first image (or of frames ``moments``); None if unknown."""
    moments: tuple[int, ...] = ()
    """Frames (counted from 1, of the overview) in which it is to be seen; empty for images."""
    group: str = ""
    """Part of the set (a V* category, "complex", "small")."""

    def media(self, frames: int = 16) -> Media:
        """The images, opened now: sets are larger than memory. Raises BadInput for files that cannot be read."""
        if self.given is not None:
            return self.given
        if len(self.files) == 1:
            found = open_media(self.files[0], frames)
            boxes = () if self.box is None else (self.box,)
            return Media(found.images, found.video, found.times, found.name, boxes, self.moments)
        from backcast.lm.pictures import open_image

        images = tuple(open_image(file) for file in self.files)
        return Media(images, name=self.files[0].name, boxes=() if self.box is None else (self.box,))

    @property
    def prompt(self) -> str:
        """The question with its options, as it is put to a model."""
        if not self.options:
            return self.question
        lines = [f"({LETTERS[number]}) {option}" for number, option in enumerate(self.options)]
        return "\n".join([self.question, *lines, "Answer with the letter of the right option."])

    @property
    def answer(self) -> str:
        """The first right answer."""
        return self.answers[0]

    def score(self, outcome: str | None) -> Score:
        """How good a reply is: 1 or 0, of kind anls anything between; None stays unscored."""
        if outcome is None:
            return Score(None, reference=1.0)
        return Score(value_of(outcome, self), reference=1.0)

    def right(self, text: str) -> bool:
        """Whether a reply ends in a right answer (of kind anls: one that scores at least a half)."""
        return value_of(text, self) >= 0.5

    def row(self, chat: bool = True) -> dict[str, Any]:
        """The row of a data set for TRL: prompt, images, answer and kind."""
        prompt = [{"role": "user", "content": self.prompt}] if chat else self.prompt
        media = self.media()
        return {
            "prompt": prompt,
            "images": list(media.images),
            "video": media.video,
            "answer": self.answer,
            "kind": self.kind,
        }


def make(question: str, answers: tuple[str, ...], id: str = "", **more: Any) -> VisualProblem:
    """A problem; without an id it gets one from its content."""
    files = [str(file) for file in more.get("files", ())]
    return VisualProblem(id or content_id(question, *answers, *files), question, answers, **more)


def stated(text: str, problem: VisualProblem) -> str | None:
    """What a reply states: its last box, tag or "answer is"; a short reply without any may be the answer itself."""
    found = last_answer(text)
    if found is not None:
        return found
    reply = split_thinking(text)[1].strip().rstrip(".")
    if problem.kind == "choice" and len(reply.strip("().: ")) != 1:
        return None
    return reply or None


def value_of(text: str, problem: VisualProblem) -> float:
    """The score of a reply, from 0 to 1."""
    given = stated(text, problem)
    if given is None:
        return 0.0
    if problem.kind == "anls":
        return anls(given, problem.answers)
    if problem.kind == "choice" and problem.options:
        return float(_letter(given, problem.options) == problem.answer.upper())
    from backcast.learn.rewards import same  # with torch behind it, which generating and reading do without

    return float(any(same(given, known, problem.kind) for known in problem.answers))


def _letter(given: str, options: tuple[str, ...]) -> str | None:
    """The option a stated answer means: its letter in any dress, or the text of one option."""
    import re

    plain = " ".join(given.split()).casefold().rstrip(".")
    texts = [" ".join(option.split()).casefold().rstrip(".") for option in options]
    if texts.count(plain) == 1:
        return LETTERS[texts.index(plain)]
    found = re.match(r"\W*([A-Za-z])(?![A-Za-z'])", given)
    letter = found.group(1).upper() if found else ""
    return letter if letter and LETTERS.index(letter) < len(options) else None


def anls(given: str, answers: tuple[str, ...], threshold: float = 0.5) -> float:
    """Similarity to the nearest answer: 1 - edit distance / longer length; 0 where that distance reaches ``threshold``.

    Averaged over questions this is ANLS (Biten et al. 2019), the score of InfographicVQA.
    """
    best = 0.0
    for known in answers:
        a, b = (" ".join(text.split()).casefold() for text in (given, known))
        far = edits(a, b) / max(len(a), len(b), 1)
        best = max(best, 1 - far if far < threshold else 0.0)
    return best


def edits(a: str, b: str) -> int:
    """Levenshtein distance: least number of insertions, deletions and replacements."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a, start=1):
        before, row[0] = row[0], i
        for j, other in enumerate(b, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (one != other))
    return row[-1]
