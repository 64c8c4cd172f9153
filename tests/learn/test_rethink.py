import numpy as np
import pytest
import torch

from backcast.core.credit import Batch
from backcast.core.errors import BadInput
from backcast.learn.rethink import TRIGGERS, Attempt, ForcedRethink, Second, cut_point, draw_category, waits
from backcast.lm.tiny import tiny_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return tiny_tokenizer()


def part(tokenizer, **settings):
    found = ForcedRethink(**settings)
    found.attach(tokenizer, 0)
    return found


def attempts(tokenizer, rights, group=4, text="the answer is 42"):
    ids = (*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id)
    return [Attempt(ids, right, i // group, True) for i, right in enumerate(rights)]


def test_trigger_shares():
    """U13: 20 / 30 / 50 within 1.5 points over 10,000 draws; right answers are verified, wrong ones corrected."""
    rng = np.random.default_rng(0)
    for right, other in ((True, "verify"), (False, "correct")):
        drawn = [draw_category(right, rng) for _ in range(10_000)]
        for category, share in (("bare", 0.2), ("question", 0.3), (other, 0.5)):
            assert drawn.count(category) / 10_000 == pytest.approx(share, abs=0.015)


def test_every_trigger_begins_with_a_blank_line_and_the_word():
    assert all(text.startswith("\n\nWait") for texts in TRIGGERS.values() for text in texts)
    assert waits("Wait, wait! Alternatively I waited.") == 3


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("First.\n\nSecond.\n\nThe answer is 4.", "First.\n\nSecond."),
        ("First.\n\nSecond so \\boxed{4}", "First."),
        ("One.\n\nWait, two.\n\nWait, three.", "One.\n\nWait, two."),
        ("all in one line", "all in one line"),
        ("answer", "answer"),
    ],
)
def test_cut_points(text, kept):
    """The conclusion goes, step by step, and never the whole text."""
    assert text[: cut_point(text)].rstrip() == kept


def test_plans_only_for_finished_answers_with_room(tokenizer):
    """Without an end token, or without room for one more token, there is no second look; else for a share of all."""
    rethink = part(tokenizer, share=1.0)
    (whole,) = attempts(tokenizer, [True])
    open_end = Attempt(whole.ids[:-1], True, 0, False)
    planned = rethink.plan([whole, open_end], 100)
    assert [second.index for second in planned] == [0]
    assert planned[0].kept == whole.ids[:-1]
    assert tokenizer.decode(planned[0].trigger) in TRIGGERS[planned[0].category]
    assert rethink.plan([whole], len(whole.ids)) == []
    some = part(tokenizer, share=0.65).plan([whole] * 4000, 100)
    assert len(some) / 4000 == pytest.approx(0.65, abs=0.03)


def test_the_code_variant_leaves_easy_groups_their_wrong_answers(tokenizer):
    """Group 0 is 75 % right: its wrong answer is no candidate. Group 1 is half right: all are."""
    rethink = part(tokenizer, variant="code", share=1.0, longest=50)
    tried = attempts(tokenizer, [True, True, True, False, True, True, False, False])
    assert [second.index for second in rethink.plan(tried, 100)] == [0, 1, 2, 4, 5, 6, 7]
    long = [Attempt(tried[0].ids * 20, True, 0, True)]
    assert rethink.plan(long, 100) == []


def test_the_code_variant_cuts_half_of_the_answers(tokenizer):
    text = "First we add.\n\nThe answer is 42"
    rethink = part(tokenizer, variant="code", share=1.0, longest=50)
    planned = rethink.plan(attempts(tokenizer, [True] * 2000, text=text), 200)
    cut = [second for second in planned if tokenizer.decode(second.kept) != text]
    assert len(cut) / 2000 == pytest.approx(0.5, abs=0.04)
    assert {tokenizer.decode(second.kept) for second in cut} == {"First we add."}


def test_quota_and_rightness_belong_to_the_slot(tokenizer):
    """U13: at most two per prompt and only right ones, whatever the order in which they were asked for."""
    tried = attempts(tokenizer, [False] * 8)
    order = np.random.default_rng(5).permutation(8)
    seconds = [Second(int(i), (1, 2), (3,), "bare") for i in order]
    right = [bool(i % 2) for i in order]
    accepted = part(tokenizer).accept(tried, seconds, [[7, 8]] * 8, right)
    slots = [seconds[number].index for number in accepted]
    assert len(slots) == 4
    assert all(slot % 2 for slot in slots)
    assert sorted(slot // 4 for slot in slots) == [0, 0, 1, 1]


def test_the_code_variant_bounds_the_second_part(tokenizer):
    """More than ``shortest``, fewer than ``longest`` tokens, at most ``most_waits`` doubts."""
    rethink = part(tokenizer, variant="code", shortest=2, longest=40, quota=9)
    tried = attempts(tokenizer, [False] * 4)
    word = tokenizer(" wait", add_special_tokens=False).input_ids
    trigger = tuple(tokenizer("\n\nWait", add_special_tokens=False).input_ids)
    parts = [[50, 51], [50, 51, 52], [50] * 40, word * 4]
    seconds = [Second(i, (60,), trigger, "bare") for i in range(4)]
    assert rethink.accept(tried, seconds, parts, [True] * 4) == [1]


def flagged(rethink, advantages):
    mask = torch.tensor([[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])
    data = {"advantages": torch.tensor(advantages), "completion_mask": mask}
    data["replayed"] = torch.tensor([False, False, False, True])
    return rethink.flag(Batch(data, data["advantages"], 0, 4)).data


def test_the_imitation_term_by_hand(tokenizer):
    """U13: mean over the tokens of flagged rows; none without a doubt or with A <= 0; the gradient is theirs alone."""
    rethink = part(tokenizer, variant="code", imitate=0.05)
    rethink.settle([], [], [1, 0, 2, 1], [True] * 4)
    inputs = flagged(rethink, [0.5, 0.5, -0.5, 0.5])
    assert inputs["imitate"].tolist() == [True, False, False, True]
    logps = torch.full((4, 3), -2.0, requires_grad=True)
    term = rethink.imitation(logps, inputs)
    assert term.item() == pytest.approx(0.05 * 2.0)
    term.backward()
    assert logps.grad[0].tolist() == pytest.approx([-0.025, -0.025, 0])
    assert not logps.grad[1:].any()  # row 3 is replayed: not imitated twice
    rethink.settle([], [], [0] * 4, [True] * 4)
    assert rethink.imitation(logps, flagged(rethink, [1.0] * 4)).item() == 0


def test_the_paper_variant_imitates_only_what_was_forced(tokenizer):
    rethink = part(tokenizer)
    rethink.settle([0], [Second(1, (1,), (2,), "bare")], [3, 3, 0, 0], [True] * 4)
    assert flagged(rethink, [1.0] * 4)["imitate"].tolist() == [False, True, False, False]


def test_books_by_hand(tokenizer):
    """Four answers, two tried: one turned right, one spoilt; one accepted; one doubted by itself."""
    rethink = part(tokenizer)
    tried = attempts(tokenizer, [False, True, True, False])
    seconds = [Second(0, (1,), (2,), "correct"), Second(1, (1,), (2,), "verify")]
    rethink.count(tried, [0, 1, 0, 0], seconds, [True, False])
    rethink.settle([0], seconds, [1, 1, 0, 0], [True, True, True, False])
    assert {vital.name: vital.value for vital in rethink.vitals()} == {
        "rethink/tried": 0.5,
        "rethink/accepted": 0.5,
        "rethink/to_right": 0.5,
        "rethink/to_wrong": 0.5,
        "rethink/flip_gain": 0.0,
        "rethink/spontaneous": 0.25,
    }
    assert rethink.metrics()["rethink/right_before"] == 0.5
    assert rethink.metrics()["rethink/right_after"] == 0.75
    assert (rethink.acted, rethink.opportunities) == (1, 1)
    other = part(tokenizer)
    other.load_state_dict(rethink.state_dict())
    assert other.state_dict() == rethink.state_dict()


def test_second_looks_that_all_end_wrong_are_chance_at_first_and_a_fault_after_twenty_batches(tokenizer):
    rethink = part(tokenizer)
    tried, seconds = attempts(tokenizer, [False] * 4), [Second(0, (1,), (2,), "correct")]
    for batch in range(1, 21):
        rethink.count(tried, [0] * 4, seconds, [False])
        rethink.settle([], seconds, [0] * 4, [False] * 4)
        assert (rethink.acted, rethink.opportunities) == (0, 20 if batch == 20 else 0)
    must = part(tokenizer, variant="code")  # right, but not kept: by the settings, whatever the number of batches
    must.count(tried, [0] * 4, seconds, [True])
    must.settle([], seconds, [0] * 4, [False] * 4)
    assert (must.acted, must.opportunities) == (0, 1)


@pytest.mark.parametrize("settings", [{"share": 0.0}, {"quota": 0}, {"imitate": -1.0}])
def test_settings_that_make_no_sense(settings):
    with pytest.raises(BadInput, match="rethinking needs 0 < share <= 1, quota >= 1 and imitate >= 0"):
        ForcedRethink(**settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variant": "papr"}, "variant='papr'"),
        ({"temperature": 0.0}, "temperature=0.0"),
        ({"triggers": {"bare": ["Wait"], "verify": []}}, "lack question, verify, correct"),
    ],
)
def test_names_and_triggers_that_are_not_there(settings, message):
    with pytest.raises(BadInput, match=message):
        ForcedRethink(**settings)


# ---------------------------------------------------------------- through the trainer


class Watch(ForcedRethink):
    """Rethinking that also keeps what it planned and accepted."""

    def plan(self, attempts, room):
        self.attempts, self.planned = attempts, super().plan(attempts, room)
        return self.planned

    def accept(self, attempts, seconds, ids, right):
        self.parts = ids
        self.taken = super().accept(attempts, seconds, ids, right)
        return self.taken


def wants_forced(completions, forced=None, **_):
    """Right is what holds our trigger; the column ``forced`` must say the same."""
    right = [float("Wait" in text) for text in completions]
    if forced is not None:
        assert [bool(r) for r in right] == list(forced)
    return right


def test_stitching_through_the_trainers_own_path(make_trainer):
    """U13: prompt, kept prefix, trigger, second part, in their slots; log-probabilities are the behaviour policy's."""
    rethink = Watch(share=1.0, quota=2, temperature=1.0)
    trainer = make_trainer(wants_forced, parts={"rethink": rethink}, max_completion_length=48, max_steps=1)
    trainer.generation_config.eos_token_id = list(range(2, 300, 3))
    trainer.eos_token_ids = list(range(2, 300, 3))  # a random model seldom ends by itself
    batches = []
    flag = rethink.flag
    rethink.flag = lambda batch: batches.append(flag(batch)) or batches[-1]
    before = {name: value.clone() for name, value in trainer.model.state_dict().items()}
    trainer.train()
    data = batches[0].data
    slots = {rethink.planned[number].index: number for number in rethink.taken}
    assert 0 < len(slots) <= 4
    for slot in range(8):
        ids = data["completion_ids"][slot][data["completion_mask"][slot].bool()].tolist()
        if slot in slots:
            second = rethink.planned[slots[slot]]
            assert ids == [*second.kept, *second.trigger, *rethink.parts[slots[slot]]]
            assert second.kept == rethink.attempts[slot].ids[:-1]
        else:
            assert ids == list(rethink.attempts[slot].ids)
    assert data["forced"].tolist() == [slot in slots for slot in range(8)]
    trainer.model.load_state_dict(before)
    fresh, _ = trainer._behaviour({**data}, False)
    mask = data["completion_mask"].bool()
    torch.testing.assert_close(data["old_per_token_logps"][mask], fresh[mask], atol=1e-4, rtol=0)
    assert trainer.state.log_history[0]["rethink/imitation"] > 0
    assert {vital.name: vital.ok for vital in trainer.vitals()}["rethink/accepted"]


def test_the_quota_is_of_the_group_also_where_the_next_prompt_is_the_same(make_trainer):
    """A question that stands twice in the data makes two groups, each with its own quota."""
    rethink = Watch(share=1.0, quota=1)
    rows = [{"prompt": "Count 1: "}] * 6
    trainer = make_trainer(wants_forced, rows, parts={"rethink": rethink}, max_completion_length=48, max_steps=1)
    trainer.generation_config.eos_token_id = trainer.eos_token_ids = list(range(2, 300, 3))
    trainer.train()
    assert [attempt.group for attempt in rethink.attempts] == [0] * 4 + [1] * 4
    assert sorted(rethink.planned[number].index // 4 for number in rethink.taken) == [0, 1]


def test_triggers_can_be_left_out_of_the_loss(make_trainer):
    """With ``train_on_trigger`` off, the trigger's tokens are masked by TRL's own tool mask."""
    rethink = Watch(share=1.0, train_on_trigger=False)
    trainer = make_trainer(wants_forced, parts={"rethink": rethink}, max_completion_length=48, max_steps=1)
    trainer.generation_config.eos_token_id = trainer.eos_token_ids = list(range(2, 300, 3))
    trainer.train()
    (chunk,) = trainer._buffered_inputs
    masked = sum(len(rethink.planned[number].trigger) for number in rethink.taken)
    assert masked > 0
    assert int((chunk["completion_mask"] * (1 - chunk["tool_mask"])).sum()) == masked


def test_the_imitation_term_is_added_to_the_loss_and_absent_at_zero(make_trainer):
    """U13: with coefficient 0 nothing is computed; with 0.5 the same first loss is larger by exactly the term."""
    lines = []
    for imitate in (0.0, 0.5):
        parts = {"rethink": ForcedRethink(share=1.0, imitate=imitate)}
        trainer = make_trainer(wants_forced, parts=parts, max_completion_length=48, max_steps=1)
        trainer.generation_config.eos_token_id = trainer.eos_token_ids = list(range(2, 300, 3))
        trainer.train()
        lines.append(trainer.state.log_history[0])
    assert "rethink/imitation" not in lines[0]
    assert lines[1]["rethink/imitation"] > 0.1
    assert lines[1]["loss"] - lines[0]["loss"] == pytest.approx(lines[1]["rethink/imitation"], abs=2e-4)


def test_all_parts_with_lora_resume_bit_for_bit(make_trainer):
    """HICRA, replay, rethinking and an adapter in one run; stopped after one step, it ends with the same weights."""
    from peft import LoraConfig

    from backcast.learn.hicra import PlanningCredit
    from backcast.learn.replay import SampleReplay

    def reward(prompts, completions, **_):
        """Every other prompt is always right, so that replay has flat rows to replace."""
        return [float("Wait" in c or int(p.split()[1][0]) % 2 == 0) for p, c in zip(prompts, completions, strict=True)]

    def build(folder):
        adapter = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM")
        shapers = [SampleReplay(), PlanningCredit([chr(code) for code in range(97, 123)])]
        parts = {"shapers": shapers, "rethink": ForcedRethink(share=1.0), "peft_config": adapter}
        values = {"max_steps": 3, "save_strategy": "steps", "save_steps": 1, "max_completion_length": 40}
        trainer = make_trainer(reward, parts=parts, folder=folder, **values)
        trainer.generation_config.eos_token_id = trainer.eos_token_ids = list(range(2, 300, 3))
        return trainer

    whole, resumed = build("whole"), build("resumed")
    whole.train()
    assert all(part.acted for part in whole.parts)
    resumed.train(resume_from_checkpoint=whole.args.output_dir + "/checkpoint-1")
    first, second = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert [part.acted for part in whole.parts] == [part.acted for part in resumed.parts]
