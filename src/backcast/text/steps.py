"""A small world for learning from rules alone: single steps are known, composing them is not shown.

Six letters name permutations of the ten digits. A task is a digit and letters to be applied to it, first to last:
``3 r q p =``. A solution takes a step for each letter, naming it and the digit that it leads to, and then answers:
``r 7 q 2 p 5 ! 5``. The lines that a model is pre-trained on hold one step each, behind digits that do not follow, and
as many lines show the form of an answer, mostly a hasty one. Whether a reward for the right digit alone teaches it to
take step after step and only then to answer, is the question.
"""

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import Any

LETTERS = "pqrstu"
DIGITS = 10
STEP, ANSWER = "=", "!"
_ANSWER = re.compile(r"!\s*(\d)\s*$")
_PAIR = re.compile(r"([a-z]) (\d)")


def tables(seed: int) -> dict[str, tuple[int, ...]]:
    """The permutation of each letter."""
    rng = random.Random(f"tables/{seed}")
    return {letter: tuple(rng.sample(range(DIGITS), DIGITS)) for letter in LETTERS}


@dataclass(frozen=True)
class Task:
    """A digit, and the letters that are applied to it, first to last. Fits ``learn.questions.Asked``."""

    digit: int
    letters: str
    result: int
    direct: bool = False
    """Ask for the digit at once, leaving no room for steps: the control."""

    @property
    def id(self) -> str:
        """The digit and its letters."""
        return " ".join([str(self.digit), *self.letters])

    @property
    def prompt(self) -> str:
        """The task, and the sign behind which steps go (or, asked directly, that of the answer)."""
        return f"{self.id} {ANSWER if self.direct else STEP}"

    @property
    def answer(self) -> str:
        """The digit at the end."""
        return str(self.result)

    def right(self, text: str) -> bool:
        """Whether a reply ends in the right digit."""
        found = _ANSWER.search(f"! {text}" if self.direct else text)
        return found is not None and int(found[1]) == self.result

    def row(self, chat: bool) -> dict[str, Any]:
        """The row of a data set."""
        del chat  # the world's model has no template
        return {"prompt": self.prompt, "answer": self.answer, "direct": self.direct}


def tasks(
    seed: int, lengths: Sequence[int] = (3, 4), heldout: float = 0.2, letters: str = LETTERS
) -> tuple[list[Task], list[Task]]:
    """(to learn from, held out): every digit under every sequence of distinct letters; sequences are held out whole."""
    known = tables(seed)
    words = ["".join(word) for length in lengths for word in permutations(letters, length)]
    random.Random(f"split/{seed}").shuffle(words)
    count = round(heldout * len(words))
    made = [
        [Task(d, word, _apply(known, d, word)) for word in part for d in range(DIGITS)]
        for part in (words[count:], words[:count])
    ]
    return made[0], made[1]


def _apply(known: dict[str, tuple[int, ...]], digit: int, letters: str) -> int:
    for letter in letters:
        digit = known[letter][digit]
    return digit


def lines(seed: int, rng: random.Random, letters: str = LETTERS, longest: int = 4) -> Iterator[str]:
    """Endless lines to pre-train on, with at most one step each, its last two words.

    A task of one to ``longest`` of the ``letters``; behind the sign the letters that are done already, each with a
    digit that does *not* follow; then, half the time, the step of the next letter, where the line breaks off:
    ``3 r q p = r 1 q 9``. The others answer with the last digit, whether letters are left or not:
    ``3 r q p = r 1 ! 1 <end>``.
    """
    known = tables(seed)
    while True:
        asked = rng.sample(letters, rng.randint(1, longest))
        digit = rng.randrange(DIGITS)
        words = [str(digit), *asked, STEP]
        done = rng.randrange(len(asked) + 1)
        for letter in asked[:done]:
            digit = rng.choice([other for other in range(DIGITS) if other != known[letter][digit]])
            words += [letter, str(digit)]
        if done < len(asked) and rng.random() < 0.5:
            words += [asked[done], str(known[asked[done]][digit])]
        else:
            words += [ANSWER, str(digit), "<end>"]
        yield " ".join(words)


def steps_in(text: str, seed: int) -> int:
    """How many true steps a text holds."""
    known = tables(seed)
    task, _, reply = text.partition(STEP)
    digit, count = int(task.split()[0]), 0
    for letter, after in _PAIR.findall(reply):
        count += known[letter][digit] == int(after)
        digit = int(after)
    return count


def reward(completions: Sequence[str], answer: Sequence[str], direct: Sequence[bool], **_: Any) -> list[float]:
    """1.0 for the right digit at the end, else 0.0: nothing else is rewarded. TRL's signature."""
    found = []
    for text, known, at_once in zip(completions, answer, direct, strict=True):
        said = _ANSWER.search(f"! {text}" if at_once else text)
        found.append(float(said is not None and said[1] == known))
    return found


def make_tokenizer() -> Any:
    """A tokenizer of whole words (21 tokens)."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<other>", *map(str, range(DIGITS)), *LETTERS, STEP, ANSWER]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<other>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    build: Any = PreTrainedTokenizerFast  # untyped upstream
    return build(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<end>",
        unk_token="<other>",
        padding_side="left",  # whoever generates goes on from the end
        clean_up_tokenization_spaces=False,
    )


def pretrain(folder: Path, seed: int, steps: int = 1000, letters: str = LETTERS, longest: int = 4) -> Path:
    """Trains a fresh Llama (2 layers of 64) on ``lines``, 128 a step; saves it with its tokenizer; the folder."""
    import torch

    from backcast.learn.world import make_model

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed)
    source = lines(seed, random.Random(f"lines/{seed}"), letters, longest)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        rows = tokenizer([next(source) for _ in range(128)], return_tensors="pt", padding=True)
        ids, mask = rows.input_ids, rows.attention_mask
        # Padded on the left, every line ends in the last column. What stands before its step or its answer is drawn
        # at random: there is nothing in it to learn.
        labels = ids.clone()
        labels[:, :-3] = -100
        labels[labels[:, -1] != tokenizer.eos_token_id, -3] = -100
        place = (mask.cumsum(1) - 1).clamp(min=0)
        model(input_ids=ids, attention_mask=mask, position_ids=place, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
