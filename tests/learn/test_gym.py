"""Questions of reasoning-gym, generated and checked by the package itself."""

import subprocess
import sys

import pytest

from backcast.core.errors import BadInput
from backcast.learn import gym
from backcast.learn.questions import correct, load

reasoning_gym = pytest.importorskip("reasoning_gym")
NAMED = "reasoning-gym:simple_equations:20"


def test_questions_repeat_by_seed_and_are_split():
    """The same seed gives the same questions, in the same halves; another seed gives others."""
    learn, held = load(NAMED, 0.2, 5)
    assert (len(learn), len(held)) == (16, 4)
    assert not {question.id for question in learn} & {question.id for question in held}
    assert load(NAMED, 0.2, 5) == (learn, held)
    assert {q.prompt for q in load(NAMED, 0.2, 6)[0]} != {q.prompt for q in learn}
    assert len(load("reasoning-gym:simple_equations", 0.2, 0)[0]) == 800


def test_the_packages_own_rules_decide():
    """Its own answer in a box is right; another one, and an answer that is not stated, are wrong."""
    for question in load(NAMED, 0.2, 5)[0]:
        assert question.prompt.endswith("\\boxed{}.")
        assert question.right(f"so \\boxed{{{question.answer}}}")
        assert not question.right("\\boxed{no such thing}")
        assert not question.right("nothing is stated")


def test_rules_that_know_more_than_one_right_answer():
    """A question with many solutions takes any of them: equality with the one that is stored would not do."""
    data = reasoning_gym.create_dataset("countdown", size=4, seed=1)
    kind = gym.generate("reasoning-gym:countdown:4", 1)[0][2]
    stored, entry = data[0]["answer"], data[0]
    other = f"({stored})"
    assert data.score_answer(other, entry) == 1.0
    assert correct([f"\\boxed{{{other}}}"], [stored], [kind]) == [1.0]


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("reasoning-gym:simple_equation", "no questions called 'simple_equation'; did you mean 'simple_equations'"),
        ("reasoning-gym:simple_equations:few", "the size 'few' is not a number of at least 4"),
        ("reasoning-gym:simple_equations:3", "the size '3' is not a number of at least 4"),
    ],
)
def test_what_cannot_be_generated(named, message):
    with pytest.raises(BadInput, match=message):
        load(named, 0.2, 0)


def test_without_the_extra_one_line_says_so():
    """In a process where the package cannot be imported."""
    code = (
        "import sys; sys.modules['reasoning_gym'] = None\n"
        "from backcast.learn.questions import load\n"
        "load('reasoning-gym:countdown', 0.2, 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "BadInput: reasoning-gym is not installed; pip install 'backcast[reasoning-gym]'" in done.stderr
