"""The world of single steps: what is shown, what never is, what a right answer is, and that the reward teaches."""

import itertools
import random

import pytest

from backcast.text.steps import STEP, lines, make_tokenizer, pretrain, reward, steps_in, tables, tasks


@pytest.fixture(scope="module")
def shown():
    """Twenty thousand lines of what models are pre-trained on."""
    return list(itertools.islice(lines(0, random.Random(0)), 20_000))


def solved(task, seed):
    digit, words = task.digit, []
    for letter in task.letters:
        digit = tables(seed)[letter][digit]
        words += [letter, str(digit)]
    return " ".join([task.prompt, *words, "!", str(digit)])


def test_no_line_that_is_trained_on_holds_two_steps(shown):
    """A step after a step is what the reward has to teach; a whole solution holds one a letter."""
    assert {steps_in(line, 0) for line in shown} == {0, 1}
    for task in tasks(0)[1][:50]:
        assert steps_in(solved(task, 0), 0) == len(task.letters)
        assert task.right(solved(task, 0))


def test_every_single_step_is_shown_and_is_right(shown):
    """All sixty facts occur; a line either ends in a true step or in an answer."""
    known, seen = tables(0), set()
    for line in shown:
        if "!" in line:
            assert steps_in(line, 0) == 0
            continue
        *before, letter, after = line.split()
        digit = next(int(word) for word in reversed(before) if word.isdigit())
        assert known[letter][digit] == int(after)
        seen.add((letter, digit))
    assert len(seen) == 60


def test_an_answer_repeats_the_last_digit_and_is_mostly_hasty(shown):
    """So that the right digit at the end is worth nothing but by taking the steps."""
    answers = [line for line in shown if "!" in line]
    early = 0
    for line in answers:
        before, after = line.split(" ! ")
        asked, reply = before.split(f" {STEP}")
        assert after.split()[0] == next(word for word in reversed(before.split()) if word.isdigit())
        early += sum(map(str.isalpha, reply.split())) < sum(map(str.isalpha, asked.split()))
    assert 0.4 < early / len(answers) < 0.7


def test_held_out_are_whole_compositions():
    """No held-out sequence of letters is trained on under another digit."""
    learn, held = tasks(3)
    assert not {task.letters for task in learn} & {task.letters for task in held}
    assert len(learn) + len(held) == 10 * (120 + 360)
    assert all(int(solved(task, 3)[-1]) == task.result for task in held[:200])


def test_only_the_right_digit_at_the_end_is_rewarded():
    texts = ["q 7 r 2 ! 2", "q 2 ! 3", "q 2", "2", "! 2 2"]
    direct = [False, False, False, True, False]
    assert reward(completions=texts, answer=["2"] * 5, direct=direct) == [1.0, 0.0, 0.0, 1.0, 0.0]


def test_every_line_is_words_of_the_tokenizer(shown):
    tokenizer = make_tokenizer()
    assert tokenizer.padding_side == "left"
    for line in [*shown[:200], "3 r q p !"]:
        assert tokenizer.decode(tokenizer(line).input_ids) == line


@pytest.mark.method(3, proves="learns to compose steps in a small world")
def test_the_reward_alone_teaches_to_compose(tmp_path):
    """Three letters, 250 steps of pre-training on single steps: the reward adds a quarter on held-out tasks.

    Five seeds of the whole world beside its control: ``benchmarks/effects/text_steps.py``.
    """
    from backcast.learn.stages import Training, measure, train

    start = pretrain(tmp_path / "start", 1, 250, "pqr", 3)
    learn, held = tasks(1, (2, 3), 1 / 3, "pqr")
    settings = Training(
        steps=40, prompts=8, group=16, micro=128, learning_rate=6e-4, longest=10, save_every=100, measured=40, seed=1
    )
    folder = tmp_path / "1-steps"
    folder.mkdir()
    rights = measure(folder, start, held, settings)
    before = sum(rights) / len(rights)
    found = train(folder, start, (learn, held), settings, lambda: {"reward_funcs": reward}, None)
    assert before <= 0.4
    assert found.outputs["accuracy"] >= before + 0.25
