import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.learn.rewards import accuracy, combine, doubtful, matches, no_repetition, same, shaped, short_enough


@pytest.mark.parametrize(
    ("valid", "correct", "doubts", "forced", "reward"),
    [
        (1, 1, 0, 0, 1.0),
        (1, 1, 1, 0, 1.1),
        (1, 1, 2, 0, 1.1),
        (1, 1, 3, 0, 0.4),
        (1, 1, 5, 0, 0.0),
        (1, 1, 9, 0, -0.1),
        (0, 1, 0, 0, -0.1),
        (0, 1, 1, 0, 1.1),
        (0, 0, 0, 0, -0.1),
        (1, 0, 1, 0, 0.0),
        (1, 1, 4, 1, 1.0),
    ],
)
def test_the_shaped_reward_of_the_authors_code(valid, correct, doubts, forced, reward):
    """U8."""
    assert shaped(bool(valid), bool(correct), doubts, bool(forced)) == pytest.approx(reward)


def test_the_paper_rewards_only_right_and_wrong():
    """U8, mode paper: one and zero whatever the doubts."""
    texts = [r"Wait. Wait. Wait. \boxed{4}", r"\boxed{5}", "no answer"]
    assert accuracy()(completions=texts, answer=["4"] * 3) == [1.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("given", "answer", "kind", "equal"),
    [
        ("1,024", "1024", "numeric", True),
        ("$3.50", "3.5", "numeric", True),
        ("3.6", "3.5", "numeric", False),
        ("x", "3", "numeric", False),
        ("nan", "nan", "numeric", False),
        ("(B)", "B", "choice", True),
        (r"\text{B}", "B", "choice", True),
        ("B. aspirin", "b", "choice", True),
        ("BC", "B", "choice", False),
        ("Paris ", "paris", "exact", True),
        (None, "paris", "exact", False),
    ],
)
def test_when_answers_are_the_same(given, answer, kind, equal):
    assert same(given, answer, kind) is equal


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (r"so \boxed{B}", 1.0),
        (r"\boxed{B.}", 1.0),
        (r"\boxed{(B)}", 1.0),
        (r"\boxed{\text{B}}", 1.0),
        (r"\boxed{\mathbf{(B)}}", 1.0),
        (r"\boxed{B. aspirin}", 1.0),
        (r"$\boxed{B}$", 1.0),
        (r"\boxed{A}, no: \boxed{B}", 1.0),
        (r"\boxed{B}, no: \boxed{A}", 0.0),
        (r"\boxed{\boxed{B}}", 1.0),
        (r"\boxed{BC}", 0.0),
        ("it must be B, surely", 0.0),
    ],
)
def test_boxed_letters(text, right):
    """U12, from the text of a reply to its reward: the last box counts, two letters in it are no answer."""
    assert accuracy("choice")(completions=[text], answer=["B"]) == [right]


def test_conversations_and_texts_are_rewarded_alike():
    chat = [[{"role": "assistant", "content": r"so \boxed{7}"}], [{"role": "assistant", "content": "the answer is 8"}]]
    assert accuracy("numeric")(completions=chat, answer=["7", "7"]) == [1.0, 0.0]


@pytest.mark.parametrize("answer", [None, [""], [None]])
def test_prompts_without_answers_are_bad_input(answer):
    columns = {} if answer is None else {"answer": answer}
    with pytest.raises(BadInput, match=r"no column 'answer'|prompt 0 of this batch has no answer"):
        accuracy()(completions=["4"], **columns)


def test_length_falls_in_a_line():
    """Free up to 8 of 10 tokens, then half a point a token, never below -1."""
    reward = short_enough(10, 2)
    assert reward(completion_ids=[[0] * n for n in (1, 8, 9, 10, 30)]) == [0, 0, -0.5, -1, -1]
    with pytest.raises(BadInput, match="buffer=0"):
        short_enough(10, 0)


def test_repetition_by_hand():
    """Five bigrams of which two are repeats."""
    assert no_repetition(2)(completions=["a b a b a b", "a b c", "a"]) == [pytest.approx(2 / 5 - 1), 0, 0]


@given(st.text(alphabet="ab ", max_size=40), st.integers(1, 5))
def test_repetition_is_never_a_bonus(text, n):
    (reward,) = no_repetition(n)(completions=[text])
    assert -1 < reward <= 0


def test_format_sees_newlines():
    reward = matches(r"<think>.*</think>.*\\boxed", "thought")
    assert reward(completions=["<think>\na\n</think>\n\\boxed{1}", "\\boxed{1}"]) == [1, 0]
    assert reward.__name__ == "thought"
    with pytest.raises(BadInput, match="no regular expression"):
        matches("(")


def test_combinations_keep_the_names_of_their_parts():
    """The weighted sum, and each part's mean under its own name."""
    logged = {}
    reward = combine({"accuracy": (accuracy(), 1.0), "repetition": (no_repetition(1), 0.5)})
    texts = [r"\boxed{4} \boxed{4}", r"\boxed{5}"]
    found = reward(completions=texts, answer=["4", "4"], log_metric=logged.__setitem__)
    assert found == [0.75, 0.0]
    assert logged == {"rewards/accuracy": 0.5, "rewards/repetition": -0.25}
    assert reward.__name__ == "accuracy+repetition"


def test_combinations_check_their_parts():
    with pytest.raises(BadInput, match="at least one part"):
        combine({})
    short = combine({"short": (lambda completions, **_: [1.0], 1.0)})
    with pytest.raises(BadInput, match="'short' returned 1 values for 2 completions"):
        short(completions=["a", "b"])


def test_doubts_are_counted_in_the_text():
    """One doubt pays, three cost; a forced one is plain; without a box or an end the answer is invalid."""
    reward = doubtful(accuracy(), ends={2})
    texts = [
        r"Wait, \boxed{4}",
        r"wait wait wait \boxed{4}",
        r"wait wait wait \boxed{4}",
        "the answer is 4",
        r"\boxed{5}",
    ]
    ids = [[1, 2]] * 5
    found = reward(completions=texts, completion_ids=ids, answer=["4"] * 5, forced=[False, False, True, False, False])
    assert found == pytest.approx([1.1, 0.4, 1.0, -0.1, 0.0])
    assert reward(completions=texts[:1], completion_ids=[[1]], answer=["5"]) == [-0.1]
