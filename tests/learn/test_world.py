"""The small world: its tasks, its answers, its tokenizer, and the model that it begins with."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.learn import world
from backcast.learn.grams import Matcher, TokenText
from backcast.learn.rethink import waits

task_of = st.builds(
    world.Task, st.tuples(*[st.integers(0, 9)] * 3), st.sampled_from(sorted(world.PLANS))
)  # any task there is


@pytest.fixture(scope="module")
def tokenizer():
    return world.make_tokenizer()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A model after 80 of the 600 steps of warm-up."""
    return world.warm_start(tmp_path_factory.mktemp("world") / "start", 3, steps=80)


@pytest.mark.parametrize(("sign", "found"), [("@", 15), ("#", 9), ("%", 7), ("&", 11)])
def test_results_by_hand(sign, found):
    """4 2 9: the sum is 15, the largest 9, the spread 7; 4 0 7: the ends make 11."""
    digits = (4, 0, 7) if sign == "&" else (4, 2, 9)
    assert world.result(digits, sign) == found
    assert world.Task(digits, sign).prompt == f"{sign} {digits[0]} {digits[1]} {digits[2]} ="


def test_tasks_are_all_there_once_and_held_out_ones_are_not_learnt():
    learn, held = world.tasks(0)
    assert (len(learn), len(held)) == (3200, 800)
    assert len(set(learn) | set(held)) == 4000
    assert world.tasks(0) == (learn, held)
    assert world.tasks(1)[1] != held


@settings(deadline=None)
@given(task_of, st.integers(0, 2**31))
def test_sure_answers_are_right_and_unsure_ones_execute_what_they_plan(task, seed):
    """With the right plan for certain an answer earns 1; otherwise its digits are still those of the plan it names."""
    rng = random.Random(seed)
    assert world.right(world.solution(task, 1.0, rng), task.answer)
    text = world.solution(task, 0.0, rng, second=0.5)
    *_, last = text.split(" wait")
    plan = next(sign for sign, phrases in world.PLANS.items() if any(phrase in last for phrase in phrases))
    assert last.endswith(f": {world.result(task.digits, plan) // 10} {world.result(task.digits, plan) % 10}")


@given(task_of)
def test_only_the_end_of_an_answer_counts(task):
    """The last result counts; a right one with another digit, or a second result, behind it does not."""
    text = f" let me add them up : {task.answer}"
    wrong = "9 9"
    assert world.reward([text, text + " \n", text + " 3", "nothing"], [task.answer] * 4) == [1.0, 1.0, 0.0, 0.0]
    assert world.right(f" let me guess : {wrong} wait{text}", task.answer)
    assert not world.right(f"{text} wait let me guess : {wrong}", task.answer)


def test_every_word_has_a_token_of_its_own(tokenizer):
    """58 tokens at most; nothing that the world says is unknown, and texts come back as they were."""
    rng = random.Random(0)
    for task in world.tasks(0)[0][:50]:
        text = (task.prompt + world.solution(task, 0.5, rng, second=0.5)).strip()
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text
    assert len(tokenizer) == 58


def test_planning_phrases_are_found_in_its_tokens(tokenizer):
    """Grams cover exactly the words of the plan; the trigger is one doubt."""
    text = " let me find the largest : 0 9"
    ids = tokenizer(text).input_ids
    plain, offsets = TokenText(tokenizer)(ids)
    marked = Matcher(world.GRAMS).mask(plain, offsets)
    words = [word for word, mark in zip(tokenizer.convert_ids_to_tokens(ids), marked, strict=True) if mark]
    assert words == ["find", "the", "largest"]
    assert waits("".join(world.TRIGGERS["bare"])) == 1


def test_the_start_is_between_knowing_nothing_and_everything(start):
    """A short warm-up already executes: its answers have the form, and some are right; sampling repeats by seed."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model, tokenizer = AutoModelForCausalLM.from_pretrained(start), AutoTokenizer.from_pretrained(start)
    held = world.tasks(3)[1]
    texts = world.sample(model, tokenizer, held[:200], 0)
    assert sum(": " in text for text in texts) > 150
    assert 0.02 < sum(world.accuracy(model, tokenizer, held[:200], 0)) / 200 < 0.7
    assert texts == world.sample(model, tokenizer, held[:200], 0)
    assert texts != world.sample(model, tokenizer, held[:200], 1)


def test_the_same_seed_warms_up_to_the_same_weights(tmp_path):
    from transformers import AutoModelForCausalLM

    states = [
        AutoModelForCausalLM.from_pretrained(world.warm_start(tmp_path / name, seed, steps=2)).state_dict()
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
