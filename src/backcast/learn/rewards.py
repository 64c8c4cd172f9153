"""Rewards with TRL's signature: right answer, format, length, repetition, and combinations that keep their names.

A reward is called with lists of equal length, ``completions`` (texts or conversations), ``completion_ids`` and the
columns of the data set, and returns a list of numbers. Each maker here returns such a function.
"""

import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

from backcast.core.errors import BadInput
from backcast.learn.rethink import waits
from backcast.lm.chat import last_answer

Reward = Callable[..., list[float]]
Kind = Literal["exact", "numeric", "choice"]


def content(completion: Any) -> str:
    """The text of a completion, which TRL gives as a string or as a conversation of one message."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def same(given: str | None, answer: str, kind: Kind = "exact", tolerance: float = 1e-6) -> bool:
    """Whether a stated answer is the known one.

    ``exact``: equal but for case and white space. ``numeric``: equal numbers within ``tolerance`` (relative); thousands
    separators, currency signs and a final dot are dropped. ``choice``: the same letter, as "B", "(B)" or "B. aspirin".
    Equivalence of formulas is the business of ``backcast.text``.
    """
    if given is None:
        return False
    if kind == "numeric":
        found, known = _number(given), _number(answer)
        return found is not None and known is not None and math.isclose(found, known, rel_tol=tolerance, abs_tol=1e-9)
    if kind == "choice":
        return _letter(given) is not None and _letter(given) == _letter(answer)
    return " ".join(given.split()).casefold() == " ".join(answer.split()).casefold()


def _number(text: str) -> float | None:
    plain = re.sub(r"[,$€£\s]", "", text).rstrip(".%")
    try:
        value = float(plain)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _letter(text: str) -> str | None:
    plain = re.sub(r"\\(?:text|textbf|mathrm|mathbf)\s*\{([^{}]*)\}", r"\1", text).strip()
    found = re.match(r"\(?([A-Za-z])\)?(?![A-Za-z])", plain)
    return found.group(1).upper() if found else None


def accuracy(kind: Kind = "exact") -> Reward:
    r"""1.0 where the last answer stated (in ``\boxed{}``, ``<answer>``, or after "answer is") is the column ``answer``.

    The reward raises BadInput when the data has no ``answer``, or an empty one.
    """

    def accuracy(completions: Sequence[Any], answer: Sequence[Any] | None = None, **_: Any) -> list[float]:
        if answer is None:
            raise BadInput("the data has no column 'answer', which this reward compares with; add it to every line")
        missing = [number for number, known in enumerate(answer) if known is None or not str(known).strip()]
        if missing:
            raise BadInput(f"prompt {missing[0]} of this batch has no answer; every prompt needs one to be rewarded")
        pairs = zip(completions, answer, strict=True)
        return [float(same(last_answer(content(given)), str(known), kind)) for given, known in pairs]

    return accuracy


def matches(pattern: str, name: str = "format") -> Reward:
    """1.0 where ``pattern`` (a regular expression, the dot takes newlines) is found in a completion, else 0.0."""
    try:
        known = re.compile(pattern, re.DOTALL)
    except re.error as error:
        raise BadInput(f"format pattern '{pattern}' is no regular expression: {error}") from None

    def reward(completions: Sequence[Any], **_: Any) -> list[float]:
        return [float(known.search(content(given)) is not None) for given in completions]

    return _named(reward, name)


def short_enough(longest: int, buffer: int) -> Reward:
    """0.0 up to ``longest - buffer`` tokens, falling linearly to -1.0 at ``longest`` (DAPO's punishment)."""
    if not 0 < buffer <= longest:
        raise BadInput(f"length reward needs 0 < buffer <= longest, found buffer={buffer}, longest={longest}")

    def length(completion_ids: Sequence[Sequence[int]], **_: Any) -> list[float]:
        return [-min(1.0, max(0.0, (len(ids) - (longest - buffer)) / buffer)) for ids in completion_ids]

    return length


def no_repetition(n: int = 4) -> Reward:
    """Minus the share of a completion's ``n``-word sequences that it has used before, from 0.0 to nearly -1.0."""
    if n < 1:
        raise BadInput(f"repetition needs n >= 1, found {n}")

    def repetition(completions: Sequence[Any], **_: Any) -> list[float]:
        found = []
        for given in completions:
            words = content(given).lower().split()
            grams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
            found.append(len(set(grams)) / len(grams) - 1 if grams else 0.0)
        return found

    return repetition


def shaped(valid: bool, correct: bool, doubts: int, forced: bool) -> float:
    """The reward of VL-Rethinker's code, which is not in the paper: a bonus for one or two doubts, a price for more."""
    if not correct:
        return 0.0 if valid else -0.1
    if forced:
        return 1.0 if valid else -0.1
    if doubts in (1, 2):
        return 1.1
    return round(max((1.0 if valid else -0.1) - 0.2 * doubts, -0.1), 10)


def doubtful(correct: Reward, box: bool = True, ends: Collection[int] = ()) -> Reward:
    """``shaped`` on top of the reward ``correct``.

    An answer is valid with at most five "wait", a box if ``box``, and a last token in ``ends`` if there are any.
    """

    def shaped_accuracy(
        completions: Sequence[Any], completion_ids: Any = None, forced: Sequence[bool] | None = None, **more: Any
    ) -> list[float]:
        rights = correct(completions=completions, completion_ids=completion_ids, **more)
        rewards = []
        for i, given in enumerate(completions):
            text = content(given)
            valid = text.lower().count("wait") <= 5 and (not box or "\\boxed" in text)
            valid = valid and (not ends or completion_ids[i][-1] in ends)
            rewards.append(shaped(valid, rights[i] > 0, waits(text), bool(forced and forced[i])))
        return rewards

    return shaped_accuracy


def combine(parts: Mapping[str, tuple[Reward, float]]) -> Reward:
    """The weighted sum of several rewards as one; each part's mean goes to the log under its own name.

    TRL also takes a list of rewards with ``reward_weights``; this is for where one function is wanted. Raises BadInput
    for no parts, and when a part returns the wrong number of values.
    """
    if not parts:
        raise BadInput("a combination of rewards needs at least one part")

    def combined(completions: Sequence[Any], log_metric: Any = None, **more: Any) -> list[float]:
        total = [0.0] * len(completions)
        for name, (reward, weight) in parts.items():
            values = reward(completions=completions, **more)
            if len(values) != len(total):
                raise BadInput(f"reward '{name}' returned {len(values)} values for {len(total)} completions")
            if log_metric is not None:
                log_metric(f"rewards/{name}", sum(values) / max(len(values), 1))
            total = [so_far + weight * value for so_far, value in zip(total, values, strict=True)]
        return total

    return _named(combined, "+".join(parts))


def _named(reward: Reward, name: str) -> Reward:
    reward.__name__ = name
    return reward
