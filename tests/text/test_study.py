"""The arms of the study: what is in each, by hand and as a property, and what the comparison says."""

import json
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.core.run import StageResult
from backcast.report.forest import Estimate, forest
from backcast.text.answers import Answers
from backcast.text.pool import Labelled
from backcast.text.problems import Question, read_questions
from backcast.text.study import ARMS, arm_sets, balanced, check_arms, compare_stage, sets_stage


def labelled(i, correct, subject):
    return Labelled(Question(f"q{i}", f"Question {i}?", "A", options=("yes", "no"), subject=subject), correct, 5)


POOL = [labelled(i, i % 6, "heart" if i % 3 else "lung") for i in range(60)]
POOLS = st.lists(st.tuples(st.integers(0, 5), st.sampled_from(["heart", "lung", "skin"])), min_size=1, max_size=60).map(
    lambda rows: [labelled(i, *row) for i, row in enumerate(rows)]
)


def test_each_arm_holds_what_it_is_for():
    """Ten questions of each level, two in three about the heart."""
    sets = arm_sets(POOL, tuple(ARMS), 24, seed=1)
    assert {arm: len(some) for arm, some in sets.items()} == {
        "mixed": 24,
        "few": 6,
        "narrow": 24,
        "easy": 24,
        "hard": 24,
    }
    assert [one.level for one in sets["mixed"][:6]] == [1, 2, 3, 4, 5, 6]
    assert sets["few"] == sets["mixed"][:6]
    assert {one.question.subject for one in sets["narrow"]} == {"heart"}
    assert {one.level for one in sets["easy"]} == {1, 2, 3}
    assert {one.level for one in sets["hard"]} == {4, 5, 6}
    again = arm_sets(POOL, tuple(ARMS), 24, seed=1)
    assert again == sets
    assert arm_sets(POOL, tuple(ARMS), 24, seed=2) != sets


@given(POOLS, st.integers(1, 40), st.integers(0, 3))
def test_a_balanced_draw_takes_levels_in_turn(pool, size, seed):
    """No question twice; no level runs ahead of another that still has questions; every prefix is such a draw."""
    found = balanced(pool, size, seed)
    assert len({one.question.id for one in found}) == len(found) == min(size, len(pool))
    have = {level: sum(one.level == level for one in pool) for level in range(1, 7)}
    took = {level: sum(one.level == level for one in found) for level in range(1, 7)}
    for a in range(1, 7):
        for b in range(1, 7):
            assert took[a] <= took[b] + 1 or took[b] == have[b]
    assert found[: size // 2] == balanced(pool, size // 2, seed) if size > 1 else True


@pytest.mark.parametrize(
    ("pool", "arm", "said"),
    [
        ([one for one in POOL if one.level > 3], "easy", "finds no question"),
        ([one for one in POOL if one.level > 3], "hard", "has the questions of 'mixed'"),
        ([labelled(i, i % 6, "") for i in range(12)], "narrow", "finds no question"),
        ([labelled(i, i % 6, "heart") for i in range(12)], "narrow", "has the questions of 'mixed'"),
    ],
)
def test_an_arm_that_compares_nothing_is_refused(pool, arm, said):
    with pytest.raises(BadInput, match=said):
        arm_sets(pool, ("mixed", arm), 100)


@pytest.mark.parametrize("arms", [("mixed",), ("easy", "hard"), ("mixed", "easy", "easy"), ("mixed", "eazy")])
def test_arms_need_something_to_compare_with(arms):
    with pytest.raises(ValueError, match=r"mixed|did you mean"):
        check_arms(arms)


def test_the_sets_are_written_and_read_back(tmp_path):
    sets = arm_sets(POOL, ("mixed", "hard"), 40)
    result = sets_stage(tmp_path / "2-sets", sets, 40, 8)
    found = read_questions(tmp_path / "2-sets" / "hard.jsonl")
    assert [question.id for question in found] == result.outputs["hard"]
    assert {question.level for question in found} == {4, 5, 6}
    rows = {row[0]: row for row in result.tables[0].rows}
    assert rows["hard"][2:5] == [30, 10, 5.0], "thirty of forty found, their mean level"
    assert StageResult.from_dict(json.loads(json.dumps(result.to_dict()))).outputs == result.outputs


def answers(right):
    some = tuple(one.question for one in POOL[: len(right)])
    return [Answers(some, "generation", np.array(right, float), ("A",) * len(right))]


def test_arms_are_compared_pair_by_pair(tmp_path):
    """By hand: before 2 of 4 right; mixed 3 and 4 of 4 (mean 0.875), hard 2 and 2 (0.5)."""
    after = {
        "mixed": [answers([1, 1, 1, 0]), answers([1, 1, 1, 1])],
        "hard": [answers([1, 1, 0, 0]), answers([1, 0, 1, 0])],
    }
    result = compare_stage(tmp_path / "9-compare", answers([1, 1, 0, 0]), after)
    rows = {row["arm"]: row for row in result.outputs["arms"]}
    assert (rows["mixed"]["before"], rows["mixed"]["after"], rows["mixed"]["above mixed"]) == (0.5, 0.875, None)
    assert (rows["hard"]["after"], rows["hard"]["above mixed"], rows["hard"]["each seed"]) == (
        0.5,
        -0.375,
        "0.500 0.500",
    )
    assert rows["hard"]["low"] <= -0.375 <= rows["hard"]["high"]
    assert [(gap.baseline, gap.value, gap.paired) for gap in result.gaps] == [(0.5, 0.125, True), (0.5, 0.5, True)]
    picture = (tmp_path / "9-compare" / "arms-1.svg").read_text()
    assert "hard" in picture
    assert "mixed&#x27;" in picture or "'mixed'" in picture


def test_a_forest_plot_puts_estimates_in_order_of_their_values():
    """The points lie to the left and right of the line as the numbers do, and a wrong interval is refused."""
    rows = [Estimate("a", -0.2, -0.3, -0.1), Estimate("b", 0.0), Estimate("c", 0.4, 0.1, 0.7)]
    picture = forest("Title", rows, "difference")
    places = [float(part.split('"')[0]) for part in picture.split('cx="')[1:]]
    assert all(a < b for a, b in pairwise(places))
    assert float(picture.split('class="zero" x1="')[1].split('"')[0]) == places[1]
    with pytest.raises(ValueError, match="outside its interval"):
        forest("Title", [Estimate("a", 1.0, 0.0, 0.5)], "difference")
    with pytest.raises(ValueError, match="at least one"):
        forest("Title", [], "difference")
