"""Contamination: questions of a test set that the training set holds, word for word or nearly."""

from collections.abc import Sequence
from dataclasses import dataclass

from backcast.core.errors import BadInput
from backcast.core.text import ngrams, words
from backcast.text.problems.question import Question, folded


@dataclass(frozen=True)
class Leak:
    """A test question and the training question that gives it away."""

    test: str
    train: str
    """Ids of the two."""
    overlap: float
    """Share of the test question's n-grams that the training question holds; 1.0 for equal texts."""


def leaks(train: Sequence[Question], test: Sequence[Question], n: int = 8, share: float = 0.5) -> list[Leak]:
    """The test questions that ``train`` holds: equal after normalisation, or sharing at least ``share`` of the n-grams.

    Compared are the words of the question without its options and context (many questions share a passage). A question
    shorter than ``n`` words can only be equal; as "Which of these is true?" is asked of many things, two such are the
    same only where their options or their right answers are. Named is the training question that shares most n-grams.
    """
    texts = [words(question.question) for question in train]
    same: dict[tuple[str, ...], list[int]] = {}
    for i, text in enumerate(texts):
        same.setdefault(tuple(text), []).append(i)
    holders: dict[tuple[str, ...], list[int]] = {}
    for i, text in enumerate(texts):
        for gram in set(ngrams(text, n)):
            holders.setdefault(gram, []).append(i)
    found = []
    for question in test:
        mine = words(question.question)
        equal = [i for i in same.get(tuple(mine), ()) if len(mine) >= n or _same_options(question, train[i])]
        if equal:
            found.append(Leak(question.id, train[equal[0]].id, 1.0))
            continue
        grams = set(ngrams(mine, n))
        counts: dict[int, int] = {}
        for gram in grams:
            for i in holders.get(gram, ()):
                counts[i] = counts.get(i, 0) + 1
        if counts:
            best = max(counts, key=lambda i: (counts[i], -i))
            if counts[best] >= share * len(grams):
                found.append(Leak(question.id, train[best].id, counts[best] / len(grams)))
    return found


def _same_options(a: Question, b: Question) -> bool:
    if not a.options or not b.options:
        return True
    return folded(a.right) == folded(b.right) or set(map(folded, a.options)) == set(map(folded, b.options))


def refuse_leaks(train: Sequence[Question], test: Sequence[Question]) -> None:
    """Raises BadInput when the training set holds questions of the test set, with their number and the first."""
    found = leaks(train, test)
    if found:
        first = found[0]
        raise BadInput(
            f"{len(found)} of {len(test)} test questions are in the training set, such as '{first.test}' "
            f"(as '{first.train}', {first.overlap:.0%} the same); take them out of one of the two"
        )


def without_leaks(train: Sequence[Question], test: Sequence[Question]) -> list[Question]:
    """The training questions that give no test question away, in their order."""
    left = list(train)
    while found := {leak.train for leak in leaks(left, test)}:
        left = [question for question in left if question.id not in found]
    return left
