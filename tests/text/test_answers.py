"""Answers of real tiny models: by likelihood as scored one by one, by generation as written; figures and the verb."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.core.stats import wilson
from backcast.lm.base import Completion, Prompt, Sampling, Scoring
from backcast.lm.models import load
from backcast.text.answers import Answers, baselines, by_generation, by_likelihood, figures, scoring
from backcast.text.problems import Question

QUESTIONS = [
    Question("a", "Which rises?", "B", options=("the moon", "the river", "a wall"), subject="water", level=1),
    Question("b", "Which falls?", "A", options=("rain", "a mill"), context="It rains.", subject="water", level=2),
    Question("c", "Who writes?", "C", options=("a neighbour", "a river", "a poet", "nobody"), level=2),
]


@pytest.fixture(scope="module")
def lm(tiny_llama):
    return load(str(tiny_llama))


@pytest.mark.parametrize("form", ["letter", "text"])
def test_options_are_weighed_as_if_each_were_scored_alone(lm, form):
    """The oracle: one option at a time, each with its whole prompt; the likeliest is chosen."""
    found = by_likelihood(QUESTIONS, lm, form)
    for question, row, chosen in zip(QUESTIONS, found.nll, found.chosen, strict=True):
        item = scoring(question, form)
        alone = [lm.logprobs([Scoring(item.prompt, (text,), (1,))])[0][0].nll for text in item.continuations]
        np.testing.assert_allclose(row, alone, atol=1e-4)
        assert chosen == question.letters[int(np.argmin(alone))]
    assert found.right.tolist() == [float(c == q.answer) for c, q in zip(found.chosen, QUESTIONS, strict=True)]
    assert found.unparsed == 0


def test_only_options_have_likelihoods(lm):
    with pytest.raises(BadInput, match="question 'n' is no choice"):
        by_likelihood([Question("n", "1 + 1?", "2", "numeric")], lm)


class Script:
    """A language model that says what it is told to, in the order of the prompts."""

    name = fingerprint = "script"

    def __init__(self, *says):
        self.says, self.prompts = iter(says), []

    def sample(self, prompts, n, sampling):
        self.prompts += prompts
        return [[Completion(next(self.says), 7, True)] for _ in prompts]

    def logprobs(self, items):
        raise AssertionError("not asked")


def test_written_answers_are_read_and_counted():
    """Right, wrong and unreadable; an unreadable one counts as wrong and is counted apart."""
    script = Script(r"Water runs: \boxed{B}", r"\boxed{B}", "I cannot say.")
    found = by_generation(QUESTIONS, script, Sampling(0.0, 1.0, 64))
    assert found.right.tolist() == [1.0, 0.0, 0.0]
    assert found.chosen == ("B", "B", None)
    assert found.unparsed == 1
    said = figures(found)
    third = wilson(1, 3)
    assert (said["value"], said["low"], said["high"], said["n"]) == (third.value, third.low, third.high, 3)
    assert said["parts"]["unparsed_rate"] == pytest.approx(1 / 3)
    assert said["parts"]["mean_tokens"] == 7
    assert said["subjects"]["water"]["n"] == 2
    assert said["levels"]["2"]["value"] == 0.0
    text = script.prompts[1].messages[0][1]
    assert text.index("It rains.") < text.index("Which falls?") < text.index("A. rain\nB. a mill") < text.index("boxed")
    assert isinstance(script.prompts[0], Prompt)


def test_numbers_and_words_are_judged_by_rule():
    asked = [Question("n", "1/2 + 1/4?", "0.75", "numeric"), Question("e", "Capital?", "Paris", "exact")]
    found = by_generation(asked, Script(r"\boxed{\frac{3}{4}}", "The answer is paris."), Sampling())
    assert found.right.tolist() == [1.0, 1.0]


def test_free_text_is_refused_not_counted_as_wrong():
    with pytest.raises(BadInput, match="which no rule can judge"):
        by_generation([Question("f", "Write.", "A text.", "free")], Script("A text."), Sampling())


def test_what_answering_blindly_gets():
    """A letter at random: the mean of 1/3, 1/2 and 1/4; every time the commonest letter: one of three."""
    assert baselines(QUESTIONS)["random"] == pytest.approx((1 / 3 + 1 / 2 + 1 / 4) / 3)
    assert baselines(QUESTIONS)["majority"] == pytest.approx(1 / 3)
    assert baselines([Question("n", "1?", "1", "numeric")]) == {"random": None, "majority": None}


def test_groups_without_a_name_are_left_out():
    found = Answers(tuple(QUESTIONS), "generation", np.array([1.0, 1.0, 0.0]), ("B", "A", "A"))
    assert found.by(lambda q: q.subject) == {"water": {"value": 1.0, **_bounds(2, 2)}}


def _bounds(right, n):
    found = wilson(right, n)
    return {"low": found.low, "high": found.high, "n": n}


def judge(*words, cache):
    env = {**os.environ, "BACKCAST_CACHE": str(cache)}
    command = [sys.executable, "-m", "backcast", "judge", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, env=env)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    path.write_text("".join(json.dumps(question.row()) + "\n" for question in QUESTIONS))
    return path


@pytest.mark.parametrize("by", ["generation", "letter", "text"])
def test_the_verb_reads_the_kind_from_the_columns(file, tiny_llama, tmp_path, by):
    """``judge MODEL --on questions.jsonl`` with its promised keys, alone and against the same model."""
    words = (tiny_llama, "--on", file, "--by", by, "--answer-tokens", 8)
    done = judge(*words, "--against", tiny_llama, "--json", cache=tmp_path)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["metric"].startswith("accuracy")
    assert (said["n"], said["difference"], said["value_against"]) == (3, 0.0, said["value"])
    assert said["low"] <= said["value"] <= said["high"]
    assert said["unparsed"] == (3 if by == "generation" else 0), "a random model writes no boxes"
    assert said["parts"]["random"] == pytest.approx(0.3611, abs=1e-4)
    shown = judge(*words, cache=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "subject water" in shown.stdout


def test_bad_questions_are_one_line(tiny_llama, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text('{"question": "Which?", "options": ["x", "y"], "answer": "E"}\n')
    done = judge(tiny_llama, "--on", path, cache=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "line 1 (plain): answer 'E' is none of the options A, B" in done.stderr
