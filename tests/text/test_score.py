r"""Reading the chosen option out of replies: a hundred nasty completions, written for this test, and formulas."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.text.problems import Question
from backcast.text.score import choose, equivalent, judge, letter_of, option_reward

DRUGS = ("ibuprofen", "aspirin", "5% dextrose in water", "None of the above")
VERDICTS = ("yes", "no", "maybe")
TRICKY = ("D", "A fracture of the hip", "vitamin B", "C and D")

NASTY = [
    # the letter in every dress
    (r"\boxed{B}", DRUGS, "B"),
    (r"\boxed{B.}", DRUGS, "B"),
    (r"\boxed{(B)}", DRUGS, "B"),
    (r"\boxed{[B]}", DRUGS, "B"),
    (r"\boxed{{B}}", DRUGS, "B"),
    (r"\boxed{b}", DRUGS, "B"),
    (r"\boxed{ B }", DRUGS, "B"),
    (r"\boxed{\text{B}}", DRUGS, "B"),
    (r"\boxed{\text{(B)}}", DRUGS, "B"),
    (r"\boxed{\textbf{(B)}}", DRUGS, "B"),
    (r"\boxed{\mathrm{B}}", DRUGS, "B"),
    (r"\boxed{\mathbf{\text{B}}}", DRUGS, "B"),
    (r"\boxed{\ B\ }", DRUGS, "B"),
    (r"\boxed{\rm B}", DRUGS, "B"),
    (r"\boxed{**B**}", DRUGS, "B"),
    (r"\boxed{`B`}", DRUGS, "B"),
    (r"\boxed{'B'}", DRUGS, "B"),
    (r"\boxed{$B$}", DRUGS, "B"),
    ("\\boxed{\n  B\n}", DRUGS, "B"),
    ("\\boxed{\uff22}", DRUGS, "B"),  # full width
    (r"\boxed {B}", DRUGS, "B"),
    (r"$\boxed{B}$", DRUGS, "B"),
    (r"$$\boxed{\text{B}}.$$", DRUGS, "B"),
    (r"\[\boxed{B}\]", DRUGS, "B"),
    (r"\boxed{Option B}", DRUGS, "B"),
    (r"\boxed{Answer: B}", DRUGS, "B"),
    (r"\boxed{\text{Answer: (B)}}", DRUGS, "B"),
    (r"\boxed{The correct answer is B.}", DRUGS, "B"),
    # the letter and the option's text
    (r"\boxed{B. aspirin}", DRUGS, "B"),
    (r"\boxed{B) aspirin}", DRUGS, "B"),
    (r"\boxed{(B) aspirin}", DRUGS, "B"),
    (r"\boxed{B: aspirin}", DRUGS, "B"),
    (r"\boxed{B - aspirin}", DRUGS, "B"),
    (r"\boxed{B aspirin}", DRUGS, "B"),
    (r"\boxed{\text{B. Aspirin}}", DRUGS, "B"),
    (r"\boxed{\text{B}. \text{aspirin}}", DRUGS, "B"),
    (r"\boxed{C. 5\% dextrose in water}", DRUGS, "C"),
    # the text alone
    (r"\boxed{aspirin}", DRUGS, "B"),
    (r"\boxed{Aspirin.}", DRUGS, "B"),
    (r"\boxed{\text{aspirin}}", DRUGS, "B"),
    (r"\boxed{5\%\ dextrose in water}", DRUGS, "C"),
    (r"\boxed{none of  the above}", DRUGS, "D"),
    (r"\boxed{maybe}", VERDICTS, "C"),
    (r"\boxed{Yes.}", VERDICTS, "A"),
    (r"\boxed{A. yes}", VERDICTS, "A"),
    # texts that look like letters
    (r"\boxed{A fracture of the hip}", TRICKY, "B"),
    (r"\boxed{D}", TRICKY, "D"),
    (r"\boxed{A. D}", TRICKY, "A"),
    (r"\boxed{D. C and D}", TRICKY, "D"),
    (r"\boxed{vitamin B}", TRICKY, "C"),
    # several boxes, braces, thinking
    (r"First \boxed{A}, but on reflection \boxed{B}.", DRUGS, "B"),
    (r"\boxed{\boxed{B}}", DRUGS, "B"),
    (r"\boxed{B}, since \frac{1}{2} of \{A, C\} is out", DRUGS, "B"),
    (r"\boxed{B} and then it broke off: \boxed{C", DRUGS, "B"),
    (r"<think>It could be \boxed{A}.</think> So \boxed{B}", DRUGS, "B"),
    (r"I read \boxed{A} <think> in the book </think> \boxed{C}", DRUGS, "C"),
    (r"\boxed{\textcolor{red}{B}}", DRUGS, "B"),
    (r"\boxed{\color{blue} B}", DRUGS, "B"),
    (r"\boxed{\Large\textbf{B}}", DRUGS, "B"),
    (r"\boxed{\operatorname{B}}", DRUGS, "B"),
    (r"\boxed{\{B\}}", DRUGS, "B"),
    ("\\boxed{B\u200b}", DRUGS, "B"),  # a space of no width
    (r"\boxed{A, because it is safe}", DRUGS, "A"),
    (r"\boxed{B. Aspirin, since (as said) it is cheap}", DRUGS, "B"),
    (r"\boxed{D. C and D, not (A)}", TRICKY, None),
    (r"<think>\boxed{A}</think> \boxed{B} <think>or \boxed{C}?</think>", DRUGS, "B"),
    # two options, or one that is taken back
    (r"\boxed{(A) and (B)}", DRUGS, None),
    (r"\boxed{A. or B.}", DRUGS, None),
    (r"\boxed{A. vs. B.}", DRUGS, None),
    (r"\boxed{A: ibuprofen, B: aspirin}", DRUGS, None),
    (r"\boxed{A. ibuprofen; C. 5% dextrose in water}", DRUGS, None),
    (r"\boxed{A. ibuprofen or B. aspirin}", DRUGS, None),
    (r"\boxed{A. is incorrect}", DRUGS, None),
    (r"\boxed{B is wrong}", DRUGS, None),
    (r"\boxed{B: not the right one}", DRUGS, None),
    (r"\boxed{\frac{A}{B}}", DRUGS, None),
    ("\\boxed{\u0412}", DRUGS, None),  # Cyrillic
    # nothing that can be read
    ("The answer is B.", DRUGS, None),
    ("B", DRUGS, None),
    ("", DRUGS, None),
    (r"boxed{B}", DRUGS, None),
    (r"\boxed{}", DRUGS, None),
    (r"\boxed{BC}", DRUGS, None),
    (r"\boxed{B, C}", DRUGS, None),
    (r"\boxed{B and C}", DRUGS, None),
    (r"\boxed{A or B}", DRUGS, None),
    (r"\boxed{(A)(B)}", DRUGS, None),
    (r"\boxed{A/B}", DRUGS, None),
    (r"\boxed{A, B, and C}", DRUGS, None),
    (r"\boxed{E}", DRUGS, None),
    (r"\boxed{Z. aspirin}", DRUGS, None),
    (r"\boxed{2}", DRUGS, None),
    (r"\boxed{paracetamol}", DRUGS, None),
    (r"\boxed{A drug of that kind}", DRUGS, None),
    (r"\boxed{not B}", DRUGS, None),
    (r"\boxed{?}", DRUGS, None),
    (r"\boxed{B", DRUGS, None),
    (r"<think>So \boxed{B}</think> Rest and fluids.", DRUGS, None),
    (r"<think>So \boxed{B}", DRUGS, None),
]


@pytest.mark.parametrize(("reply", "options", "letter"), NASTY)
def test_a_nasty_completion_is_read_or_is_unparsed(reply, options, letter):
    assert choose(reply, options) == letter


def test_the_list_is_as_long_as_it_should_be():
    assert len({reply for reply, _, _ in NASTY}) >= 60


@given(st.integers(2, 26), st.data())
def test_every_letter_of_every_number_of_options_is_read(count, data):
    """Any letter in range in a box is itself; any beyond it is unparsed."""
    options = tuple(f"text {i}" for i in range(count))
    letter = data.draw(st.sampled_from(string.ascii_uppercase))
    found = choose(rf"so \boxed{{{letter}}}", options)
    assert found == (letter if letter in string.ascii_uppercase[:count] else None)


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=6))
def test_whatever_stands_there_is_a_letter_in_range_or_nothing(stated, options):
    """No text crashes the reader, and none makes it answer with something else than one of the options."""
    assert letter_of(stated, options) in (None, *string.ascii_uppercase[: len(options)])


def test_without_a_box_a_stated_letter_counts_only_where_asked():
    assert choose("The answer is (B).", DRUGS, boxed=False) == "B"
    assert choose("<answer>aspirin</answer>", DRUGS, boxed=False) == "B"
    assert choose("I would say aspirin", DRUGS, boxed=False) is None


def test_a_score_tells_unparsed_from_wrong():
    question = Question("q", "Which?", "B", options=DRUGS)
    right, wrong, unread = (judge(question, reply) for reply in (r"\boxed{B}", r"\boxed{A}", "hm"))
    assert (right.value, wrong.value, unread.value) == (1.0, 0.0, 0.0)
    assert [score.parts["unparsed"] for score in (right, wrong, unread)] == [0.0, 0.0, 1.0]
    assert right.gap == 0.0
    assert judge(Question("q", "Write.", "A text.", "free"), "A text.").value is None


@pytest.mark.parametrize(
    ("stated", "known", "same"),
    [
        ("1/2", "0.5", True),
        (r"\frac{1}{2}", "1/2", True),
        ("x^2 + 2x + 1", "(x+1)^2", True),
        ("$1{,}000$", "1000", True),
        (r"\{1, 2\}", r"\{2, 1\}", True),
        ("2e3", "2000", True),
        ("1.5e-3", "0.0015", True),
        ("½", "0.5", True),
        ("3 1/2", "3.5", True),
        ("-3 1/2", "-3.5", True),
        ("1 000", "1000", True),
        (r"\$5", "5", True),
        (r"\varnothing", r"\emptyset", True),
        ("10²", "100", True),
        ("10²", "102", False),
        ("Paris", "paris.", True),
        ("7", "8", False),
        ("x", "x + 1", False),
        ("Paris", "London", False),
    ],
)
def test_formulas_are_equal_when_they_mean_the_same(stated, known, same):
    """Equivalence is math-verify's, and works outside the main thread too, where it can set no time limit."""
    from concurrent.futures import ThreadPoolExecutor

    assert equivalent(stated, known) is same
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(equivalent, stated, known).result() is same


def test_a_numeric_answer_without_a_number_is_unparsed():
    """Words and unknowns are no number; a wrong number is wrong, and so is a set of two."""
    question = Question("q", "How many?", "7", "numeric")
    found = {said: judge(question, rf"\boxed{{{said}}}") for said in ("7", "14/2", "8", "7 or 8", "x", "I do not know")}
    assert [score.value for score in found.values()] == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert [score.parts["unparsed"] for score in found.values()] == [0.0, 0.0, 0.0, 0.0, 1.0, 1.0]


def test_the_reward_is_one_for_the_right_box_and_nothing_else():
    """TRL's signature: completions as texts or conversations, columns as lists; padding of options is ignored."""
    said = [r"\boxed{B}", [{"role": "assistant", "content": r"\boxed{no}"}], "B", r"\boxed{A}"]
    options = [DRUGS, (*VERDICTS, None), DRUGS, DRUGS]
    assert option_reward(completions=said, answer=["B", "B", "B", "B"], options=options) == [1.0, 1.0, 0.0, 0.0]
