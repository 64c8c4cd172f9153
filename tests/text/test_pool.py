"""The pool: levels, buckets, forecasts against sampling, duplicates against all pairs, draws that keep their band."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.text.pool import (
    Labelled,
    _shingles,
    buckets,
    draw,
    duplicates,
    entropy,
    forecast,
    summary,
)
from backcast.text.problems import Question


def labelled(name, correct, subject="s", n=5):
    return Labelled(Question(str(name), f"Question {name}?", "A", options=("x", "y"), subject=subject), correct, n)


def test_levels_count_from_all_right_to_none():
    assert [labelled(k, k).level for k in (5, 4, 3, 2, 1, 0)] == [1, 2, 3, 4, 5, 6]


def test_the_code_s_buckets_of_eight_answers():
    """0 all-false; 1-2 hard; 3-5 medium; 6-7 easy; 8 all-true."""
    expected = ["all-false", "hard", "hard", "medium", "medium", "medium", "easy", "easy", "all-true"]
    assert [buckets(k) for k in range(9)] == expected
    for wrong in ((9, 8), (-1, 8), (0, 0)):
        with pytest.raises(ValueError, match=r"correct must lie in 0\.\.n"):
            buckets(*wrong)


def test_an_effective_group_by_hand():
    """p = 1/2 and two answers: they differ half the time. Always right or always wrong teaches nothing."""
    assert forecast([labelled(1, 1, n=2)], 2)["plain"] == 0.5
    assert forecast([labelled(1, 1, n=2)], 8)["plain"] == 1 - 2 / 256
    assert forecast([labelled(2, 0, n=2), labelled(3, 2, n=2)], 8)["plain"] == 0.0


@pytest.mark.parametrize(("correct", "n", "group"), [(0, 5, 8), (3, 5, 8), (5, 5, 2), (1, 8, 16)])
def test_the_expected_share_is_that_of_sampled_pass_rates(correct, n, group):
    """The oracle: p drawn from Beta(k + 1, n - k + 1), its posterior under a uniform prior, groups drawn from p."""
    rng = np.random.default_rng(0)
    right = rng.binomial(group, rng.beta(correct + 1, n - correct + 1, 200_000))
    mixed = np.mean((right > 0) & (right < group))
    pool = [labelled(0, correct, n=n)]
    assert forecast(pool, group)["expected"] == pytest.approx(mixed, abs=0.005)


def test_the_forecast_is_a_mean_over_questions():
    pool = [labelled(0, 5), labelled(1, 0), labelled(2, 3)]
    assert forecast(pool, 4)["plain"] == pytest.approx((1 - 0.6**4 - 0.4**4) / 3)
    assert forecast([], 4) == {"plain": None, "expected": None}
    with pytest.raises(BadInput, match="group must be at least 2"):
        forecast(pool, 1)


def test_entropy_by_hand():
    assert entropy(["a", "b", "a", "b"]) == pytest.approx(math.log(2))
    assert entropy(["a"]) == entropy([]) == 0.0


VOCABULARY = ["fever", "cough", "pain", "child", "night", "left", "heart", "acute"]


@given(st.lists(st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=9), max_size=12), st.floats(0.05, 1))
def test_duplicates_are_those_of_comparing_all_pairs(texts, share):
    """The oracle compares every question with every one kept before it."""
    asked = [Question(str(i), " ".join(text), "A", options=("x", "y")) for i, text in enumerate(texts)]
    kept, repeated = [], set()
    for question in asked:
        mine = _shingles(question, 3)
        same = any(len(mine & _shingles(o, 3)) / len(mine | _shingles(o, 3)) >= share for o in kept)
        if same:
            repeated.add(question.id)
        else:
            kept.append(question)
    assert set(duplicates(asked, share)) == repeated


def test_options_in_another_order_hide_no_duplicate():
    one = Question("1", "Which drug lowers fever in a child?", "A", options=("ibuprofen tablets", "iron tablets"))
    other = Question("2", "Which drug lowers FEVER in a child", "B", options=("iron tablets", "ibuprofen tablets"))
    assert duplicates([one, other]) == {"2": "1"}


POOLS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("uvw")), max_size=40)


@given(POOLS, st.integers(1, 6), st.sets(st.integers(1, 6), min_size=1), st.integers(0, 9))
def test_a_draw_keeps_exactly_the_band_asked_for(rows, per_level, levels, seed):
    """Only levels of the band, at most so many of each, all there are where there are fewer, the rest reported."""
    pool = [labelled(i, k, subject) for i, (k, subject) in enumerate(rows)]
    found = draw(pool, per_level, levels, seed)
    for level in range(1, 7):
        have = sum(one.level == level for one in pool)
        want = min(per_level, have) if level in levels else 0
        assert sum(one.level == level for one in found.chosen) == want
        assert found.missing.get(level, 0) == (per_level - want if level in levels else 0)
    assert len({one.question.id for one in found.chosen}) == len(found.chosen)
    assert found == draw(pool, per_level, levels, seed)
    assert all(question.level is not None for question in found.questions())


def test_subjects_take_turns():
    """Of nine questions about one thing and one about another, two drawn are one of each."""
    pool = [labelled(i, 3, "common") for i in range(9)] + [labelled("r", 3, "rare")]
    for seed in range(5):
        assert {one.question.subject for one in draw(pool, 2, [3], seed).chosen} == {"common", "rare"}


def test_a_summary_adds_up():
    pool = [labelled(i, k) for i, k in enumerate(itertools.chain(range(6), [5]))]
    said = summary(pool, 8)
    assert said["levels"] == {"1": 2, "2": 1, "3": 1, "4": 1, "5": 1, "6": 1}
    assert said["pass_rate"] == pytest.approx(20 / 35)
    assert said["letters"] == {"A": 7}
