"""A pool of labelled questions: difficulty, what it can teach, near-duplicates, and a balanced draw. Pure functions."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from backcast.core.credit import effective_chance, expected_effective_chance
from backcast.core.errors import BadInput
from backcast.core.text import ngrams, words
from backcast.text.problems.question import Question


@dataclass(frozen=True)
class Labelled:
    """A question, and how often a model got it right. The label belongs to that model: another one needs its own."""

    question: Question
    correct: int
    n: int
    unparsed: int = 0
    """Of the n answers, those in which nothing could be read; they count as wrong."""
    tokens: float = 0.0
    """Mean length of the answers."""

    @property
    def level(self) -> int:
        """1 (all n right) to n + 1 (none): six levels for n = 5, as AlphaMed's are described to be."""
        return self.n + 1 - self.correct


def buckets(correct: int, n: int = 8) -> str:
    """The difficulty buckets of the VL-Rethinker code: ``all-false``, ``hard``, ``medium``, ``easy``, ``all-true``.

    For n = 8: 0; 1-2; 3-5; 6-7; 8. Other n are scaled to it. Raises ValueError for a count outside 0..n.
    """
    if not 0 <= correct <= n or n < 1:
        raise ValueError(f"correct must lie in 0..n, found {correct} of {n}")
    if correct in (0, n):
        return "all-true" if correct else "all-false"
    share = 8 * correct / n
    return "hard" if share < 3 else "medium" if share < 6 else "easy"


def forecast(pool: Sequence[Labelled], group: int) -> dict[str, float | None]:
    """The share of effective groups that training on this pool begins with, for groups of ``group`` answers.

    ``plain`` takes each question's pass rate as its p and so calls one with 5 of 5 right worthless; ``expected``
    averages over what p may be (uniform before the first answer).
    """
    if group < 2:
        raise BadInput(f"group must be at least 2, found {group}: one answer has nothing to compare with")
    if not pool:
        return {"plain": None, "expected": None}
    plain = [effective_chance(one.correct / one.n, group) for one in pool]
    expected = [expected_effective_chance(one.correct, one.n, group) for one in pool]
    return {"plain": sum(plain) / len(plain), "expected": sum(expected) / len(expected)}


def entropy(names: Iterable[str]) -> float:
    """Shannon entropy (nats) of how often each name occurs; 0 for one name or none."""
    counts = Counter(names)
    total = counts.total()
    return -sum(count / total * math.log(count / total) for count in counts.values()) if total else 0.0


def duplicates(questions: Sequence[Question], share: float = 0.8, n: int = 3) -> dict[str, str]:
    """Near-duplicates: the id of each question that repeats an earlier one, and that one's id.

    Compared are the ``n``-grams of their words, options in sorted order included: Jaccard similarity of at least
    ``share``. Candidates come from an index of n-grams, so the cost goes with what they share, not with all pairs.
    """
    if not 0 < share <= 1:
        raise BadInput(f"share of equal n-grams must lie in (0, 1], found {share}")
    holders: dict[tuple[str, ...], list[int]] = {}
    kept: list[set[tuple[str, ...]]] = []
    names: list[str] = []
    found = {}
    for question in questions:
        mine = _shingles(question, n)
        counts: Counter[int] = Counter(i for gram in mine for i in holders.get(gram, ()))
        best = next((i for i, common in counts.most_common() if common / len(mine | kept[i]) >= share), None)
        if best is not None:
            found[question.id] = names[best]
            continue
        for gram in mine:
            holders.setdefault(gram, []).append(len(kept))
        kept.append(mine)
        names.append(question.id)
    return found


def _shingles(question: Question, n: int) -> set[tuple[str, ...]]:
    mine = words(" ".join([question.question, *sorted(question.options)]))
    return set(ngrams(mine, n)) or {tuple(mine)}


def draw(pool: Sequence[Labelled], per_level: int, levels: Iterable[int], seed: int = 0) -> "Draw":
    """``per_level`` questions of each level, drawn by ``seed``; a level with fewer gives all, and tells its shortfall.

    Within a level, subjects take turns, so that a common one does not crowd out the others. No other level is touched.
    """
    if per_level < 1:
        raise BadInput(f"questions per level must be at least 1, found {per_level}")
    chosen: list[Labelled] = []
    missing: dict[int, int] = {}
    for level in sorted(set(levels)):
        here = [one for one in pool if one.level == level]
        random.Random(f"{seed}/{level}").shuffle(here)
        chosen += taking_turns(here)[:per_level]
        if len(here) < per_level:
            missing[level] = per_level - len(here)
    return Draw(tuple(chosen), missing)


def taking_turns(pool: Sequence[Labelled]) -> list[Labelled]:
    """The same questions so that subjects take turns, each subject's in their order."""
    seen: Counter[str] = Counter()
    ranked = []
    for place, one in enumerate(pool):
        ranked.append((seen[one.question.subject], place, one))
        seen[one.question.subject] += 1
    return [one for _, _, one in sorted(ranked, key=lambda entry: entry[:2])]


@dataclass(frozen=True)
class Draw:
    """What was drawn, and by how many each level fell short of what was asked (levels that did not are absent)."""

    chosen: tuple[Labelled, ...]
    missing: Mapping[int, int]

    def questions(self) -> list[Question]:
        """The questions with their level, ready to be written."""
        return [replace(one.question, level=one.level) for one in self.chosen]


def summary(pool: Sequence[Labelled], group: int) -> dict[str, object]:
    """Counts per level, letters, subjects, lengths, and the forecast: what a picture of the pool is drawn from."""
    levels = Counter(one.level for one in pool)
    top = max((one.n for one in pool), default=0) + 1
    return {
        "n": len(pool),
        "levels": {str(level): levels[level] for level in range(1, top + 1)},
        "letters": dict(sorted(Counter(one.question.answer for one in pool if one.question.options).items())),
        "subjects": dict(Counter(one.question.subject or "(none)" for one in pool).most_common()),
        "subject_entropy": entropy(one.question.subject for one in pool),
        "mean_words": sum(len(words(one.question.question)) for one in pool) / len(pool) if pool else None,
        "pass_rate": sum(one.correct / one.n for one in pool) / len(pool) if pool else None,
        "effective": forecast(pool, group),
        "effective_by_level": {
            str(level): forecast([one for one in pool if one.level == level], group)["expected"] for level in levels
        },
    }
