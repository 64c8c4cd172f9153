import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.learn.grams import Matcher
from backcast.learn.hicra import PlanningCredit, semantic_entropy
from backcast.learn.mining import kmeans, mine, tfidf

FAMILIES = [
    ["let me check this again", "let me check that again", "let me check it again"],
    ["there are two cases here", "there are three cases here", "there are several cases here"],
    ["work backwards from the answer", "work backwards from the end", "work backwards from the result"],
    ["what we want to find", "what we have to find", "what we need to find"],
    ["one way to see that", "another way to see that", "a simple way to see that"],
    ["putting all of it together", "putting all of this together", "putting all of that together"],
]
SHARES = [0.3, 0.42, 0.54, 0.66, 0.78, 0.9]


@pytest.fixture(scope="module")
def corpus():
    """U11: 200 solutions, six families of scaffolding in 30 to 90 % of them, 300 content phrases in at most 2 %."""
    rng = np.random.default_rng(0)
    content = [" ".join("".join(rng.choice(list("bcdfghklmnprst"), 5)) for _ in range(4)) for _ in range(300)]
    holders = {phrase: set(rng.choice(200, size=rng.integers(2, 5), replace=False)) for phrase in content}
    solutions = []
    for number in range(200):
        parts = [phrase for phrase, held in holders.items() if number in held]
        parts += [
            str(rng.choice(family)) for family, share in zip(FAMILIES, SHARES, strict=True) if rng.random() < share
        ]
        rng.shuffle(parts)
        solutions.append(". ".join(parts) + ".")
    return solutions


def family_of(text):
    return next((i for i, family in enumerate(FAMILIES) if any(text in phrase for phrase in family)), None)


def test_scaffolding_is_found_and_content_is_not(corpus):
    """U11: at least five of six families, at least 80 % of what is kept belongs to one."""
    grams = mine(corpus)
    families = [family_of(gram.text) for gram in grams]
    assert len({family for family in families if family is not None}) >= 5
    assert sum(family is not None for family in families) / len(families) >= 0.8
    assert grams[0].share == max(gram.share for gram in grams)


def test_what_was_mined_goes_into_planning_credit_as_it_is(corpus):
    grams = mine(corpus)
    assert PlanningCredit(grams).matcher.grams == [gram.text for gram in grams]


def test_mining_is_deterministic(corpus):
    assert mine(corpus, seed=1) == mine(corpus, seed=1)


def test_semantic_entropy_survives_the_loss_of_a_third_of_the_list(corpus):
    """U11: the entropy of a later batch relative to an earlier one changes by less than 5 %."""
    grams = [gram.text for gram in mine(corpus)]
    rng = np.random.default_rng(3)
    fewer = list(rng.choice(grams, size=round(0.7 * len(grams)), replace=False))

    def relative(known):
        matcher = Matcher(known)
        early, late = (
            semantic_entropy(match.gram for text in part for match in matcher.find(text))
            for part in (corpus[:100], corpus[100:])
        )
        return late / early

    assert abs(relative(fewer) / relative(grams) - 1) < 0.05


def test_phrases_piled_up_in_one_solution_are_no_scaffolding():
    """Twice in ten solutions each is kept; ten times in each of three is not."""
    spread = ["we now go on. so much. we now go on." for _ in range(10)]
    piled = ["add the digits up. " * 10 for _ in range(3)]
    texts = {gram.text for gram in mine(spread + piled, top=1.0)}
    assert "we now go" in texts
    assert not any("digits" in text for text in texts)


def test_an_embedding_of_ones_own(corpus):
    """Any function from phrases to vectors will do."""
    asked = []

    def embed(texts):
        asked.extend(texts)
        return tfidf(texts, 8)

    assert mine(corpus[:60], embed=embed)
    assert asked == sorted(set(asked))


def test_what_cannot_be_mined():
    with pytest.raises(BadInput, match="at least 2 solutions, found 1"):
        mine(["let me see now"])
    with pytest.raises(BadInput, match="no phrase of 3 to 5 words occurs in two of 2 solutions"):
        mine(["one two three", "four five six"])


def test_clusters_of_separate_points():
    """Three heaps far apart are found whatever the seed."""
    points = np.concatenate([np.random.default_rng(0).normal(at, 0.01, size=(5, 2)) for at in (0, 5, 10)])
    for seed in range(5):
        labels = kmeans(points, 3, seed)
        assert len(set(labels)) == 3
        assert all(len(set(labels[i : i + 5])) == 1 for i in (0, 5, 10))
