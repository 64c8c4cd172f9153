"""A small world for learning from rules alone: single steps are known, composing them is not shown.

Six letters name permutations of the ten digits. A state is a digit and the letters still to be applied, as in
``[ 3 r q p ]``; a step applies the first one: ``[ 3 r q p ] = [ 7 q p ]``. A state without letters is answered:
``[ 5 ] ! 5``. The whole solution of a three-step task is ``[ 3 r q p ] = [ 7 q p ] = [ 2 p ] = [ 5 ] ! 5``. The lines
that a model is pre-trained on hold one step each: that a step can follow a step is never shown. Whether a reward for
the right digit alone teaches it, is the question.
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
STEP = "="
_ANSWER = re.compile(r"!\s*(\d)\s*$")


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
        """Its state."""
        return state(self.digit, self.letters)

    @property
    def prompt(self) -> str:
        """The state, and the sign of a step (or, asked directly, that of the answer)."""
        return f"{self.id} {'!' if self.direct else STEP}"

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


def state(digit: int, letters: str) -> str:
    """A state as text."""
    return " ".join(["[", str(digit), *letters, "]"])


def tasks(seed: int, lengths: Sequence[int] = (3, 4), heldout: float = 0.2) -> tuple[list[Task], list[Task]]:
    """(to learn from, held out): every digit under every sequence of distinct letters; sequences are held out whole."""
    known = tables(seed)
    words = ["".join(word) for length in lengths for word in permutations(LETTERS, length)]
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


def lines(seed: int, rng: random.Random) -> Iterator[str]:
    """Endless lines to pre-train on, each with at most one step.

    A step on a state of one to four letters; where it leaves no letter, the answer follows, and elsewhere the line
    breaks off. It may stand behind up to three other states, which nothing is done with: so the step is one on the
    *last* state of a line.
    """
    known = tables(seed)
    while True:
        letters = "".join(rng.sample(LETTERS, rng.choice((1, 1, 2, 3, 4))))
        digit = rng.randrange(DIGITS)
        after = known[letters[0]][digit]
        before = "".join(f"{_stray(rng)} . " for _ in range(rng.choice((0, 1, 2, 3))))
        end = f" ! {after} <end>" if len(letters) == 1 else ""
        yield f"{before}{state(digit, letters)} {STEP} {state(after, letters[1:])}{end}"


def _stray(rng: random.Random) -> str:
    return state(rng.randrange(DIGITS), "".join(rng.sample(LETTERS, rng.choice((1, 2, 3)))))


def steps_in(text: str) -> int:
    """How many steps a text holds."""
    return text.split().count(STEP)


def reward(completions: Sequence[str], answer: Sequence[str], direct: Sequence[bool], **_: Any) -> list[float]:
    """1.0 for the right digit at the end, else 0.0: nothing else is rewarded. TRL's signature."""
    found = []
    for text, known, at_once in zip(completions, answer, direct, strict=True):
        said = _ANSWER.search(f"! {text}" if at_once else text)
        found.append(float(said is not None and said[1] == known))
    return found


def make_tokenizer() -> Any:
    """A tokenizer of whole words (24 tokens)."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = ["<pad>", "<end>", "<other>", *map(str, range(DIGITS)), *LETTERS, STEP, "!", ".", "[", "]"]
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


def pretrain(folder: Path, seed: int, steps: int = 1200, batch: int = 128) -> Path:
    """Trains a fresh Llama (2 layers of 64) on ``lines`` and saves it with its tokenizer; the folder."""
    import torch

    from backcast.learn.world import make_model

    tokenizer = make_tokenizer()
    model = make_model(tokenizer, seed)
    source = lines(seed, random.Random(f"lines/{seed}"))
    sign = tokenizer.convert_tokens_to_ids(STEP)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        rows = tokenizer([next(source) for _ in range(batch)], return_tensors="pt", padding=True, padding_side="right")
        # Digits and letters before the step are drawn at random: there is nothing in them to learn.
        begun = (rows.input_ids == sign).cumsum(1) > 0
        labels = rows.input_ids.masked_fill((rows.attention_mask == 0) | ~begun, -100)
        model(input_ids=rows.input_ids, attention_mask=rows.attention_mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
