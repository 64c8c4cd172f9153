"""The world of single steps: what is shown, what never is, and what a right answer is."""

import itertools
import random

import pytest

from backcast.text.steps import STEP, lines, make_tokenizer, reward, state, steps_in, tables, tasks


@pytest.fixture(scope="module")
def shown():
    """Twenty thousand lines of what models are pre-trained on."""
    return list(itertools.islice(lines(0, random.Random(0)), 20_000))


def test_no_line_that_is_trained_on_holds_two_steps(shown):
    """A step after a step is what the reward has to teach."""
    assert {steps_in(line) for line in shown} == {1}
    assert steps_in("[ 3 r q p ] = [ 7 q p ] = [ 2 p ] = [ 5 ] ! 5") == 3


def test_every_single_step_is_shown_and_is_right(shown):
    """All sixty facts occur, and each line's step is that of its letter's permutation."""
    known, seen = tables(0), set()
    for line in shown:
        before, after = line.split(f" {STEP} ")
        digit, *letters = before.rsplit("[", 1)[1].split()[:-1]
        after_digit = after.split()[1]
        assert known[letters[0]][int(digit)] == int(after_digit)
        seen.add((letters[0], digit))
    assert len(seen) == 60


def test_an_answer_is_shown_only_where_no_letter_is_left(shown):
    assert all(("!" in line) == (len(line.split(f" {STEP} ")[1].split("]")[0].split()) == 2) for line in shown)


def test_held_out_are_whole_compositions():
    """No held-out sequence of letters is trained on under another digit."""
    learn, held = tasks(3)
    assert not {task.letters for task in learn} & {task.letters for task in held}
    assert len(learn) + len(held) == 10 * (120 + 360)
    known = tables(3)
    for task in held[:200]:
        digit = task.digit
        for letter in task.letters:
            digit = known[letter][digit]
        assert digit == task.result


def test_only_the_right_digit_at_the_end_is_rewarded():
    texts = ["[ 7 q ] = [ 2 ] ! 2", "[ 2 ] ! 3", "[ 2 ]", "2", "! 2 2"]
    direct = [False, False, False, True, False]
    assert reward(completions=texts, answer=["2"] * 5, direct=direct) == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_every_line_is_words_of_the_tokenizer(shown):
    tokenizer = make_tokenizer()
    assert tokenizer.padding_side == "left"
    for line in [*shown[:200], state(3, "rqp") + " ! 5"]:
        assert tokenizer.decode(tokenizer(line).input_ids) == line
