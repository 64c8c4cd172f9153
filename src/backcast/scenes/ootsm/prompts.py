"""What a language model is asked in both stages: one function for training and inference, zero-shot or fitted.

Frames are numbered from the last one seen: 0, earlier ones negative, those to come 1, 2, ... Each frame to come is
asked about by itself, behind the same prompt, so its probabilities depend on the past alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backcast.lm.base import Prompt
from backcast.scenes.problems.clip import Frame
from backcast.scenes.problems.vocabulary import Vocabulary
from backcast.scenes.render import NONE, NOTHING, labels_text, object_text, scene_text

RELATIVE = "Frame 0 is the last one seen, negative ones are before it."


@dataclass(frozen=True)
class Asker:
    """Writes the prompts of one vocabulary."""

    vocabulary: Vocabulary
    told: bool
    """Task, names and form are written out, for a model that was not fitted."""
    limit: int = 1200
    """Most characters of the past; the oldest runs of equal graphs go first, the newest always stays."""

    def listing(self, seen: Sequence[Frame]) -> Prompt:
        """Stage 1: the whole scene's past; the answer to "Frame n: " lists objects."""
        past = self._newest(relative(seen), lambda frames: scene_text(frames, self.vocabulary))
        return self._prompt(self._listing_rules() if self.told else "", f"{past}\nObjects of a later frame?")

    def labelling(self, seen: Sequence[Frame], thing: int) -> Prompt:
        """Stage 2: one object's past, seen or not, and what else is there now; the answer is its labels."""
        words, name = self.vocabulary, self.vocabulary.objects[thing]
        past = self._newest(relative(seen), lambda frames: object_text(frames, thing, words))
        beside = [
            f"{words.objects[o]} ({labels_text(held, words)})"
            for o, held in sorted(seen[-1].objects.items())
            if o != thing
        ]
        now = ", ".join(beside)[: self.limit] or NOTHING
        ask = f"{name}\n{past}\nBeside it: {now}\n{name} in a later frame?"
        return self._prompt(self._labelling_rules() if self.told else "", ask)

    def _prompt(self, rules: str, ask: str) -> Prompt:
        messages = [("system", rules)] if rules else []
        return Prompt((*messages, ("user", ask)))

    def _newest(self, frames: Sequence[Frame], text: Callable[[Sequence[Frame]], str]) -> str:
        found = text(frames[-1:])
        for start in range(len(frames) - 2, -1, -1):
            longer = text(frames[start:])
            if len(longer) > self.limit:
                break
            found = longer
        return found

    def _listing_rules(self) -> str:
        names = ", ".join(self.vocabulary.objects[o] for o in self.vocabulary.candidates)
        return (
            f"You forecast which objects the {self.vocabulary.subject} will have to do with. {RELATIVE} "
            f"Objects, in order: {names}. "
            "Answer with one line for the frame: 'Frame n: ' and its objects in that order, with commas, "
            f"or '{NOTHING}'."
        )

    def _labelling_rules(self) -> str:
        return (
            f"You forecast what holds between the {self.vocabulary.subject} and one object. {RELATIVE} "
            f"Labels, in order: {label_groups(self.vocabulary)}. "
            "Answer with one line for the frame: 'Frame n: ' and the labels of each group in that order, with commas, "
            "groups set apart by semicolons."
        )


def label_groups(words: Vocabulary) -> str:
    """The groups with how many labels each takes, and the labels."""
    return "; ".join(
        f"{group.name} ({'one' if group.arity == 'one' else 'one or more'}"
        f"{f' or {NONE}' if group.allow_empty else ''}): {', '.join(group.predicates)}"
        for group in words.groups
    )


def relative(seen: Sequence[Frame]) -> list[Frame]:
    """The frames, numbered back from the last one: ..., -2, -1, 0."""
    return [replace(frame, index=t - len(seen) + 1) for t, frame in enumerate(seen)]
