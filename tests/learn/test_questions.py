"""How the reply to a question of a user's file is read."""

import pytest

from backcast.learn.questions import is_right


@pytest.mark.parametrize(
    ("reply", "answer", "kind", "right"),
    [
        ("So \\boxed{12}", "12", "numeric", True),
        ("12", "12", "numeric", True),
        ("12.", "12", "numeric", True),
        ("<think>3 or 4?</think>\n1,200", "1200", "numeric", True),
        ("There are 12 of them", "12", "numeric", False),
        ("Paris.", "paris", "exact", True),
        ("It is Paris", "Paris", "exact", False),
        ("The answer is Rome. Paris", "Paris", "exact", False),
        ("(B)", "B", "choice", True),
        ("A long story", "A", "choice", False),
        ("The answer is B. aspirin", "B", "choice", True),
        ("", "12", "numeric", False),
    ],
)
def test_a_stated_answer_counts_and_a_reply_that_is_the_answer(reply, answer, kind, right):
    """``\\boxed{}``, ``<answer>`` and "answer is" first; a bare reply is the answer, a sentence holding it is not."""
    assert is_right(reply, answer, kind) is right
