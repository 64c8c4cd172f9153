"""Contamination: questions of a test set that the training set holds, word for word or nearly."""

from collections.abc import Sequence
from dataclasses import dataclass

from backcast.core.errors import BadInput
from backcast.core.text import ngrams, words
from backcast.text.problems.question import Question


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
    shorter than ``n`` words can only be equal. The training question with the most shared n-grams is named.
    """
    texts = [words(question.question) for question in train]
    same = {tuple(text): i for i, text in reversed(list(enumerate(texts)))}
    holders: dict[tuple[str, ...], list[int]] = {}
    for i, text in enumerate(texts):
        for gram in set(ngrams(text, n)):
            holders.setdefault(gram, []).append(i)
    found = []
    for question in test:
        mine = words(question.question)
        if tuple(mine) in same:
            found.append(Leak(question.id, train[same[tuple(mine)]].id, 1.0))
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


def refuse_leaks(train: Sequence[Question], test: Sequence[Question]) -> None:
    """Raises BadInput when the training set holds questions of the test set, with their number and the first."""
    found = leaks(train, test)
    if found:
        first = found[0]
        raise BadInput(
            f"{len(found)} of {len(test)} test questions are in the training set, such as '{first.test}' "
            f"(as '{first.train}', {first.overlap:.0%} the same); take them out of one of the two"
        )
