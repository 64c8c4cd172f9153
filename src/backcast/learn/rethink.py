"""Forced rethinking (VL-Rethinker, 2504.08837): finished answers are made to doubt themselves, and go on.

Some answers get a trigger such as "Wait, is that right?" appended, and the policy goes on writing. What ends right
replaces the answer it came from and is imitated besides. ``ForcedRethink`` is the part for ``GroupTrainer``.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import torch

from backcast.core.credit import Batch
from backcast.core.errors import BadInput
from backcast.core.vitals import PATIENCE, Vital
from backcast.learn.grams import TokenText

Category = Literal["bare", "question", "verify", "correct"]

TRIGGERS: dict[Category, tuple[str, ...]] = {
    "bare": ("\n\nWait",),
    "question": ("\n\nWait, is that really right?", "\n\nWait, does this hold up?"),
    "verify": ("\n\nWait, let me verify this once more.", "\n\nWait, let me check that again."),
    "correct": ("\n\nWait, there might be a mistake in this.", "\n\nWait, something here seems wrong."),
}
"""Our wording of the paper's three categories (self-questioning, -verification, -correction), and the bare word."""

_WAIT = re.compile(r"\b(?:wait|alternatively)\b", re.IGNORECASE)


def waits(text: str) -> int:
    """How often a text stops to rethink: the whole words "wait" and "alternatively"."""
    return len(_WAIT.findall(text))


def draw_category(right: bool, rng: np.random.Generator) -> Category:
    """20 % bare, 30 % self-questioning, 50 % verification of a right answer or correction of a wrong one.

    The shares of the authors' code; the paper names the categories only.
    """
    if rng.random() < 0.5:
        return "bare" if rng.random() < 0.4 else "question"
    return "verify" if right else "correct"


def cut_point(text: str) -> int:
    """Where to cut a solution so that its conclusion is gone, in characters; ``len(text)`` where nothing fits.

    As in the authors' code, one after the other: before the last "Wait", before the last ``\\boxed``, before the first
    "answer", and back to the last blank line.
    """
    kept = text
    for at in (text.rfind("Wait"), text.rfind("\\boxed"), text.lower().find("answer")):
        kept = kept[: min(at, len(kept))] if at > 0 else kept
    blank = kept.rfind("\n\n")
    kept = kept[:blank] if blank > 0 else kept
    return len(kept) if kept.strip() else len(text)


@dataclass(frozen=True)
class Attempt:
    """A generated answer, as rethinking sees it."""

    ids: tuple[int, ...]
    right: bool
    group: int
    """Answers to one prompt share it."""
    ended: bool
    """Whether it closed with an end token (which is part of ``ids``)."""


@dataclass(frozen=True)
class Second:
    """A second look that is to be generated: answer ``index`` goes on after ``kept`` and ``trigger`` (token ids)."""

    index: int
    kept: tuple[int, ...]
    trigger: tuple[int, ...]
    category: Category


@dataclass
class ForcedRethink:
    """Rethinking as in the paper (section 3.3), or with ``variant`` "code" as in the authors' code, less its bugs.

    Both: a ``share`` of finished answers goes on behind a trigger; of those that end right, at most ``quota`` a prompt
    take the place of the answer they came from, before advantages are computed; ``imitate`` times their mean negative
    log-probability is added to the loss while their advantage is positive. The code variant also keeps wrong answers of
    easy groups (more than 70 % right) out, cuts half of the answers back before their conclusion, wants a second part
    of ``shortest`` to ``longest`` tokens and at most ``most_waits`` doubts, and imitates every answer with a doubt.
    The share is not in the paper; 0.65 is the code's.

    ``correct(completions, **columns)`` says what is right by values above zero; by default the trainer's first reward.
    Not for trainers with tools.
    """

    share: float = 0.65
    quota: int = 2
    imitate: float = 0.05
    variant: Literal["paper", "code"] = "paper"
    temperature: float = 0.9
    shortest: int = 30
    longest: int = 1024
    most_waits: int = 4
    train_on_trigger: bool = True
    triggers: Mapping[Category, Sequence[str]] = field(default_factory=lambda: dict(TRIGGERS))
    correct: Callable[..., Sequence[float | None]] | None = None
    seed: int = 42

    name = "rethink"
    replays = True  # stitched answers were not sampled in one piece: their log-probabilities are computed
    entropies = False

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.quota < 1 or self.imitate < 0:
            raise BadInput(
                f"rethinking needs 0 < share <= 1, quota >= 1 and imitate >= 0, found share={self.share}, "
                f"quota={self.quota}, imitate={self.imitate}"
            )
        if self.variant not in ("paper", "code") or self.temperature <= 0:
            raise BadInput(
                "rethinking needs variant 'paper' or 'code' and a temperature above 0, found "
                f"variant='{self.variant}', temperature={self.temperature}"
            )
        lacking = [category for category in TRIGGERS if not self.triggers.get(category)]
        if lacking:
            raise BadInput(f"triggers of rethinking lack {', '.join(lacking)}; give phrases for {', '.join(TRIGGERS)}")
        self.rng = np.random.default_rng(self.seed)
        self.acted = self.looked = self.usable = 0
        self.sums = dict.fromkeys(("answers", "spontaneous", "tried", "accepted", "to_right", "to_wrong"), 0)
        self._last: dict[str, float] = {}
        self._forced: list[bool] = []
        self._doubts: list[int] = []

    @property
    def opportunities(self) -> int:
        """Batches with a second look that ended right; with any second look at all, once ``PATIENCE`` had some.

        A few batches without one are chance, as a weak model's are; twenty are a model or a reward that rethinking
        does not suit.
        """
        return self.looked if self.looked >= PATIENCE else self.usable

    def attach(self, tokenizer: Any, rank: int) -> None:
        """Takes the tokenizer; every process draws its own random numbers."""
        self._text = TokenText(tokenizer)
        self._tokenizer = tokenizer
        self.rng = np.random.default_rng([self.seed, rank])

    def plan(self, attempts: Sequence[Attempt], room: int) -> list[Second]:
        """Which answers get a second look, and behind what; ``room`` is the most tokens that an answer may have."""
        easy = self._easy(attempts)
        planned = []
        for index, attempt in enumerate(attempts):
            fits = len(attempt.ids) + self._least() < room
            if self.variant == "code":
                fits = len(attempt.ids) <= room - self.longest and (attempt.right or attempt.group not in easy)
            if not attempt.ended or not fits or self.rng.random() >= self.share:
                continue
            category = draw_category(attempt.right, self.rng)
            words = self.triggers[category]
            trigger = self._tokenizer(words[int(self.rng.integers(len(words)))], add_special_tokens=False).input_ids
            planned.append(Second(index, self._kept(attempt), tuple(trigger), category))
        return planned

    def _least(self) -> int:
        return self.shortest if self.variant == "code" else 1

    def _easy(self, attempts: Sequence[Attempt]) -> set[int]:
        rights: dict[int, list[bool]] = {}
        for attempt in attempts:
            rights.setdefault(attempt.group, []).append(attempt.right)
        return {group for group, right in rights.items() if sum(right) / len(right) > 0.7}

    def _kept(self, attempt: Attempt) -> tuple[int, ...]:
        """The answer without its end token; in the code variant half of the time without its conclusion."""
        ids = attempt.ids[:-1]
        if self.variant == "paper" or self.rng.random() >= 0.5:
            return ids
        text, spans = self._text(ids)
        end = cut_point(text)
        kept = sum(1 for span in spans if span[1] <= end)
        return ids[:kept] if kept else ids

    def accept(
        self,
        attempts: Sequence[Attempt],
        seconds: Sequence[Second],
        ids: Sequence[Sequence[int]],
        right: Sequence[bool],
    ) -> list[int]:
        """The numbers of the second looks that replace their answer, in random order of trial, ``quota`` per prompt.

        ``ids`` and ``right`` belong to ``seconds``: what was generated behind the trigger, and whether the stitched
        answer is right.
        """
        taken: dict[int, int] = {}
        accepted = []
        for number in self.rng.permutation(len(seconds)):
            group = attempts[seconds[number].index].group
            if right[number] and taken.get(group, 0) < self.quota and self._fits(seconds[number], ids[number]):
                taken[group] = taken.get(group, 0) + 1
                accepted.append(int(number))
        return sorted(accepted)

    def _fits(self, second: Second, ids: Sequence[int]) -> bool:
        if self.variant == "paper":
            return len(ids) >= self._least()
        text, _ = self._text([*second.kept, *second.trigger, *ids])
        return self.shortest < len(ids) < self.longest and waits(text) <= self.most_waits

    # ------------------------------------------------------------------ in the trainer

    def count(self, attempts: Sequence[Attempt], doubts: Sequence[int], seconds: Sequence[Second], right: Any) -> None:
        """Books of a batch before replacement: spontaneous doubts, answers tried, and how they turned."""
        self.looked += bool(seconds)
        self.usable += any(right)
        before = [attempts[second.index].right for second in seconds]
        to_right = sum(now and not was for was, now in zip(before, right, strict=True))
        to_wrong = sum(was and not now for was, now in zip(before, right, strict=True))
        spontaneous = sum(number > 0 for number in doubts)
        for name, value in zip(
            self.sums, (len(attempts), spontaneous, len(seconds), 0, to_right, to_wrong), strict=True
        ):
            self.sums[name] += value
        tried = max(len(seconds), 1)
        self._last = {
            "rethink/tried": len(seconds) / max(len(attempts), 1),
            "rethink/spontaneous": spontaneous / max(len(attempts), 1),
            "rethink/to_right": to_right / tried,
            "rethink/to_wrong": to_wrong / tried,
            "rethink/right_before": sum(attempt.right for attempt in attempts) / max(len(attempts), 1),
        }

    def settle(self, accepted: Sequence[int], seconds: Sequence[Second], doubts: Sequence[int], right: Any) -> None:
        """Books of a batch after replacement: ``doubts`` and ``right`` are those of the final answers."""
        forced = {seconds[number].index for number in accepted}
        self._forced = [index in forced for index in range(len(doubts))]
        self._doubts = list(doubts)
        self.sums["accepted"] += len(accepted)
        self._last["rethink/accepted"] = len(accepted) / max(len(seconds), 1)
        self._last["rethink/forced"] = len(accepted) / max(len(doubts), 1)
        self._last["rethink/right_after"] = sum(right) / max(len(right), 1)
        self.acted += bool(accepted)

    def flag(self, batch: Batch) -> Batch:
        """The batch with ``forced`` and ``imitate`` (B,): which rows were stitched, and which are imitated."""
        advantages = batch.data["advantages"]
        forced = torch.tensor(self._forced, device=advantages.device)
        doubtful = torch.tensor(self._doubts, device=advantages.device) > 0
        chosen = (forced if self.variant == "paper" else doubtful) & (advantages > 0)
        return replace(batch, data={**batch.data, "forced": forced, "imitate": chosen})

    def imitation(self, logps: torch.Tensor, inputs: Mapping[str, Any]) -> torch.Tensor:
        """``imitate`` times the mean negative log-probability of the flagged rows' tokens; 0 where there are none.

        Replayed rows are not imitated a second time.
        """
        mask = inputs["completion_mask"] * (inputs["imitate"] & ~inputs["replayed"])[:, None]
        if "tool_mask" in inputs:
            mask = mask * inputs["tool_mask"]
        term: torch.Tensor = -self.imitate * (logps * mask).sum() / mask.sum().clamp(min=1)
        return term

    def metrics(self) -> dict[str, float]:
        """Shares of the last batch: tried, accepted (of tried), forced, turned right or wrong, spontaneous doubts."""
        return dict(self._last)

    def vitals(self) -> list[Vital]:
        """Accepted second looks, how answers turned, and spontaneous doubts, over all batches."""
        sums, tried = self.sums, self.sums["tried"]

        def share(name: str, of: str) -> float | None:
            return sums[name] / sums[of] if sums[of] else None

        return [
            Vital("rethink/tried", share("tried", "answers"), 0.01, 1, "Share of answers made to go on."),
            Vital(
                "rethink/accepted",
                share("accepted", "tried"),
                0.01,
                1,
                "Share of second looks that ended right and were kept; 0 means that rethinking changes nothing.",
            ),
            Vital(
                "rethink/to_right", share("to_right", "tried"), 0, 1, "Second looks that turned a wrong answer right."
            ),
            Vital("rethink/to_wrong", share("to_wrong", "tried"), 0, 0.5, "Second looks that spoilt a right answer."),
            Vital(
                "rethink/flip_gain",
                (sums["to_right"] - sums["to_wrong"]) / tried if tried else None,
                0,
                1,
                "Second looks that mended less those that spoilt; below 0, thinking again costs more than it brings.",
            ),
            Vital(
                "rethink/spontaneous",
                share("spontaneous", "answers") if tried else None,
                0,
                0.9,
                "Share of unforced answers that doubt themselves; it should rise if imitation works, not to all.",
            ),
        ]

    def state_dict(self) -> dict[str, Any]:
        """Random state and counts."""
        return {
            "rng": self.rng.bit_generator.state,
            "counts": [self.acted, self.looked, self.usable],
            "sums": dict(self.sums),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes a ``state_dict`` back."""
        self.rng.bit_generator.state = state["rng"]
        self.acted, self.looked, self.usable = state["counts"]
        self.sums = dict(state["sums"])
