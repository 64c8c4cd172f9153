"""Several answers a question: what is counted, and that the interval is over questions."""

import json

import numpy as np
import pytest

from backcast.core import stats
from backcast.learn.questions import Question
from backcast.learn.rates import METRIC, Rates, pass_rates, rate_gap, rate_traces
from backcast.lm.base import Completion, Sampling

QUESTIONS = [Question("sum", "2 + 3?", "5", "numeric"), Question("sky", "The sky is?", "blue", "exact")]
SAID = {"2 + 3?": ["The answer is 5.", "five", "5"], "The sky is?": ["red", "The answer is blue.", "grey"]}


class Table:
    """A language model that says what a table says."""

    name = fingerprint = "table"

    def sample(self, prompts, n, sampling):
        return [[Completion(SAID[prompt.messages[0][1]][i], 3, True) for i in range(n)] for prompt in prompts]


@pytest.fixture
def rates():
    return pass_rates(Table(), QUESTIONS, 3, Sampling())


def rows(*counts, n=4):
    right = np.array([[i < count for i in range(n)] for count in counts])
    return Rates(tuple(map(str, range(len(counts)))), right, tuple(("",) * n for _ in counts))


def test_every_answer_is_judged_by_its_questions_rule(rates):
    assert rates.right.tolist() == [[True, False, True], [False, True, False]]
    assert rates.missed == pytest.approx([1 / 3, 2 / 3])


def test_the_gap_is_over_questions_and_paired(rates):
    """Two questions are two observations, however often each is answered; differences are taken by question."""
    alone = rate_gap("start", rates, None)
    assert (alone.metric, alone.value, alone.n, alone.baseline, alone.paired) == (METRIC, 0.5, 2, None, False)
    before, after = rows(1, 2, 3), rows(2, 2, 4)
    gap = rate_gap("grpo", after, before)
    assert (gap.baseline, gap.value, gap.n, gap.paired) == (0.5, pytest.approx(1 / 3), 3, True)
    expected = stats.bootstrap([-0.25, 0.0, -0.25])
    assert (gap.low, gap.high) == (expected.low, expected.high)


def test_they_come_back_from_json(rates):
    again = Rates.from_dict(json.loads(json.dumps(rates.to_dict())))
    assert (again.ids, again.replies) == (rates.ids, rates.replies)
    assert (again.right == rates.right).all()


def test_one_trace_a_question_with_both_models_answers(rates):
    traces = rate_traces(QUESTIONS, rates, rates)
    assert [trace.score.value for trace in traces] == pytest.approx([2 / 3, 1 / 3])
    assert traces[1].data["answers"] == traces[1].data["untouched_answers"] == SAID["The sky is?"]
    assert traces[0].outcome == "The answer is 5."
