import numpy as np
import pytest
import torch

from backcast.core.errors import BadInput, InertMethod, WorkFailed
from backcast.learn.hicra import PlanningCredit
from backcast.learn.keeper import state_file
from backcast.learn.replay import SampleReplay
from backcast.learn.trainer import GroupTrainer, check_groups, check_sync


class Recorder:
    """A shaper that keeps what passes through and changes nothing."""

    name, replays, entropies, acted, opportunities = "recorder", False, False, 0, 0

    def __init__(self):
        self.batches = []

    def attach(self, tokenizer, rank):
        self.tokenizer = tokenizer

    def observe(self, batch):
        pass

    def __call__(self, batch):
        self.batches.append(batch)
        return batch

    def metrics(self):
        return {}

    def vitals(self):
        return []

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


def half_flat(prompts, completions, **_):
    """Even prompts are always right; odd ones differ from attempt to attempt (by position in the group)."""
    return [1.0 if int(prompt.split()[1][0]) % 2 == 0 else float(i % 4 == 0) for i, prompt in enumerate(prompts)]


async def nan_later(completions, **_):
    return [float("nan")] * len(completions)


def test_replay_through_the_trainers_own_path(make_trainer):
    """U5: N rows come out, none flat; drawn rows bring their own log-probabilities; the ratio sees the policy move."""
    before, after = Recorder(), Recorder()
    before.replays = True
    replay = SampleReplay(episode=None)
    trainer = make_trainer(half_flat, parts={"shapers": [before, replay, after], "advantage": "center"}, max_steps=4)
    trainer.train()
    written = {}
    drawn_late = 0
    for raw, out in zip(before.batches, after.batches, strict=True):
        for i, ids in enumerate(raw.data["completion_ids"]):
            n = int(raw.data["completion_mask"][i].sum())
            written[(raw.step, tuple(ids[:n].tolist()))] = raw.data["old_per_token_logps"][i, :n]
        effective = int((raw.data["advantages"] != 0).sum())
        rows = len(raw.data["advantages"])
        assert len(out.data["advantages"]) == rows
        assert bool((out.data["advantages"] != 0).all())
        assert int(out.data["replayed"].sum()) == rows - effective
        for i in torch.nonzero(out.data["replayed"]).flatten().tolist():
            n = int(out.data["completion_mask"][i].sum())
            ids = tuple(out.data["completion_ids"][i, :n].tolist())
            sources = [logps for (step, key), logps in written.items() if key == ids]
            assert any(torch.equal(out.data["old_per_token_logps"][i, :n], logps) for logps in sources)
            drawn_late += all(key != ids for step, key in written if step == raw.step)
    assert drawn_late > 0
    ratios = [line["replay/ratio_max"] for line in trainer.state.log_history if "replay/ratio_max" in line]
    assert max(abs(ratio - 1) for ratio in ratios) > 1e-3
    found = {vital.name: vital for vital in trainer.vitals()}
    assert found["replay/ratio_shift"].value > 1e-4
    assert found["replay/share"].value == pytest.approx(replay._sums.drawn / replay._sums.rows)


def test_the_normaliser_counts_the_tokens_that_are_trained_on(make_trainer):
    """``num_items_in_batch`` after replay is the number of unmasked completion tokens of the new rows."""
    trainer = make_trainer(half_flat, parts={"shapers": [SampleReplay()]}, steps_per_generation=2, max_steps=2)
    trainer.train()
    chunks = trainer._buffered_inputs
    assert sum(int(chunk["completion_mask"].sum()) for chunk in chunks) == int(chunks[0]["num_items_in_batch"])


def test_a_batch_that_teaches_nothing_moves_no_weight(make_trainer):
    """All groups flat from the second batch on and nothing kept: neither momentum nor weight decay may act."""

    def reward(completions, trainer_state, **_):
        return [float(i % 4 == 0) if trainer_state.global_step == 0 else 1.0 for i in range(len(completions))]

    trainer = make_trainer(reward, parts={"shapers": [SampleReplay(episode=1)]}, weight_decay=0.5, max_steps=3)
    seen = []
    kept = trainer.training_step

    def step(*args, **kwargs):
        seen.append({name: value.clone() for name, value in trainer.model.state_dict().items()})
        return kept(*args, **kwargs)

    trainer.training_step = step
    trainer.train()
    end = trainer.model.state_dict()
    assert any(not torch.equal(seen[0][name], seen[1][name]) for name in end)
    assert all(torch.equal(seen[1][name], end[name]) for name in end)
    assert [line["replay/skipped"] for line in trainer.state.log_history[:3]] == [0, 1, 1]
    assert {vital.name: vital.value for vital in trainer.vitals()}["replay/skipped"] == pytest.approx(2 / 3)


def test_resume_is_bit_equal(make_trainer):
    """Killed between two uses of one generated batch: weights, buffer and random state go on as if nothing happened."""
    ends = []
    for folder in ("whole", "resumed"):
        values = {"folder": folder, "max_steps": 6, "steps_per_generation": 2, "num_iterations": 2}
        values |= {"save_strategy": "steps", "save_steps": 3, "temperature": 1.0}

        def build(values=values):
            return make_trainer(half_flat, parts={"shapers": [SampleReplay()]}, **values)

        trainer = build()
        trainer.train()
        if folder == "resumed":
            trainer = build()
            trainer.train(resume_from_checkpoint=trainer.args.output_dir + "/checkpoint-3")
        ends.append(trainer)
    first, second = (trainer.model.state_dict() for trainer in ends)
    assert all(torch.equal(first[name], second[name]) for name in first)
    states = [trainer.shapers[0].state_dict() for trainer in ends]
    assert states[0]["rng"] == states[1]["rng"]
    assert states[0]["counts"] == states[1]["counts"]
    for a, b in zip(states[0]["buffer"], states[1]["buffer"], strict=True):
        assert a["advantage"] == b["advantage"]
        assert all(torch.equal(a["row"][key], b["row"][key]) for key in a["row"])


@pytest.mark.parametrize("step", [1, 3, 4])
def test_resume_in_any_epoch_is_bit_equal(make_trainer, step):
    """An adapter, replay and planning credit, three steps an epoch: killed in the first, between two, in the second.

    Each epoch asks the prompts in an order of its own, and going on takes up the order of the epoch that was left.
    """
    from peft import LoraConfig

    def build(folder):
        adapter = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        parts = {"shapers": [SampleReplay(), PlanningCredit(LETTERS)], "peft_config": adapter}
        values = {"save_strategy": "steps", "save_steps": 1, "max_steps": 5, "folder": folder}
        micro = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
        return make_trainer(half_flat, parts=parts, **values, **micro)

    whole, resumed = build("whole"), build("resumed")
    whole.train()
    resumed.train(resume_from_checkpoint=f"{whole.args.output_dir}/checkpoint-{step}")
    first, second = (trainer.model.state_dict() for trainer in (whole, resumed))
    assert all(torch.equal(first[name], second[name]) for name in first)
    names = ("reward", "completions/mean_length", "replay/share", "planning/share")
    logs = [
        [[line.get(name) for name in names] for line in trainer.state.log_history[:-1]] for trainer in (whole, resumed)
    ]
    assert logs[0] == logs[1]


def test_a_checkpoint_of_other_parts_is_refused(make_trainer):
    values = {"max_steps": 1, "save_strategy": "steps", "save_steps": 1}
    make_trainer(**values).train()
    other = make_trainer(parts={"shapers": [SampleReplay()]}, **values)
    with pytest.raises(BadInput, match="written with parts none; this trainer has replay"):
        other.train(resume_from_checkpoint=other.args.output_dir + "/checkpoint-1")


def test_a_checkpoint_of_as_many_other_parts_or_of_other_processes_is_refused(make_trainer):
    values = {"max_steps": 1, "save_strategy": "steps", "save_steps": 1}
    first = make_trainer(half_flat, parts={"shapers": [SampleReplay()]}, **values)
    first.train()
    checkpoint = first.args.output_dir + "/checkpoint-1"
    other = make_trainer(parts={"shapers": [PlanningCredit(LETTERS)]}, **values)
    with pytest.raises(BadInput, match="written with parts replay; this trainer has planning"):
        other.train(resume_from_checkpoint=checkpoint)
    path = state_file(checkpoint, 0)
    torch.save({**torch.load(path, weights_only=True), "processes": 2}, path)
    with pytest.raises(BadInput, match="written by 2 processes, each with its own buffer; this training has 1"):
        make_trainer(half_flat, parts={"shapers": [SampleReplay()]}, **values).train(resume_from_checkpoint=checkpoint)


@pytest.mark.parametrize(
    ("reward", "message"),
    [
        (lambda completions, **_: [1.0], "returned 1 values for 8 completions"),
        (lambda completions, **_: [float("nan")] * len(completions), "returned nan"),
        (lambda completions, **_: [float("inf")] + [0.0] * 7, "returned inf"),
        (lambda completions, **_: ["1"] * len(completions), "returned '1'"),
        (lambda completions, **_: None, "returned None; return a list"),
        (lambda completions, **_: "11111111", "returned '11111111'; return a list"),
        (nan_later, "'nan_later' returned nan"),
    ],
)
def test_a_reward_that_cannot_be_used(make_trainer, reward, message):
    with pytest.raises(BadInput, match=message):
        make_trainer(reward).train()


@pytest.mark.parametrize("made", [np.array, torch.tensor])
def test_rewards_as_arrays(make_trainer, made):
    trainer = make_trainer(lambda completions, **_: made([1.0, 0.0] * 4), max_steps=1)
    trainer.train()
    assert trainer.state.log_history[0]["reward"] == 0.5


def test_fewer_prompts_than_one_batch_asks_for_is_an_error(make_trainer):
    """TRL drops the incomplete batch and ends without a step; nobody should take that for a training."""
    with pytest.raises(BadInput, match=r"needs 2 different prompts \(8 answers, 4 to each\)"):
        make_trainer(half_flat, rows=[{"prompt": "Count 1: "}]).train()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"shapers": SampleReplay()}, "shapers must be a list, found SampleReplay"),
        ({"shapers": [SampleReplay()]}, "use_liger_kernel computes the loss where no part can act"),
    ],
)
def test_parts_that_would_not_act(make_trainer, parts, message):
    with pytest.raises(BadInput, match=message):
        make_trainer(parts=parts, use_liger_kernel=True)


def test_truncated_answers_that_are_masked_are_not_replayed(make_trainer):
    """TRL's ``mask_truncated_completions`` leaves rows without a token, which teach nothing."""
    replay, after = SampleReplay(), Recorder()
    parts = {"shapers": [replay, after], "advantage": "center"}
    trainer = make_trainer(half_flat, parts=parts, mask_truncated_completions=True, max_steps=2)
    trainer.train()  # a random model ends hardly ever: all rows are masked
    assert all(bool(batch.data["skip"].all()) for batch in after.batches)
    assert replay.buffer == []
    trainer = make_trainer(half_flat, parts=parts, mask_truncated_completions=True, max_steps=2)
    trainer.generation_config.eos_token_id = trainer.eos_token_ids = list(range(2, 300, 10))
    after.batches.clear()
    trainer.train()
    assert replay.buffer
    assert all(len(kept.row["completion_ids"]) for kept in replay.buffer)
    assert all(bool(batch.data["completion_mask"].any(1).all()) for batch in after.batches if "skip" not in batch.data)


def test_replay_stands_before_credit(make_trainer):
    with pytest.raises(BadInput, match="'replay' replays rows and must stand before 'recorder'"):
        make_trainer(parts={"shapers": [Recorder(), SampleReplay()]})


def test_a_part_that_never_acts_is_an_error(make_trainer):
    """Opportunities without an act end the training with one line."""
    idle = Recorder()
    idle.opportunities = 3
    with pytest.raises(InertMethod, match="recorder is switched on but changed nothing"):
        make_trainer(parts={"shapers": [idle]}, max_steps=1).train()


def test_groups_of_one_and_stale_servers(make_trainer):
    with pytest.raises(ValueError, match="at least 2 generations"):
        make_trainer(num_generations=1)
    with pytest.raises(BadInput, match="found 2 answers a process in groups of 4"):
        check_groups(2, 4, 2)
    check_groups(8, 4, 2)
    check_groups(2, 4, 1)
    with pytest.raises(WorkFailed, match="weights of step 3, the policy is at step 5"):
        check_sync(True, 3, 5)
    check_sync(True, 5, 5)
    check_sync(False, -1, 5)


def test_what_cannot_be_scored_is_left_out(make_trainer):
    """TRL's None: no advantage for the answer, and no weight in the mean of its group, whatever the convention."""
    seen = []

    def reward(completions, **_):
        """Two groups of four: 1, None, 0, None, and 1, 1, 1, None, which is flat."""
        return [1.0, None, 0.0, None, 1.0, 1.0, 1.0, None]

    class Watch(Recorder):
        def __call__(self, batch):
            seen.append(batch)
            return batch

    trainer = make_trainer(reward, parts={"shapers": [Watch()], "advantage": "center"}, max_steps=1)
    trainer.train()
    assert seen[0].data["advantages"].tolist() == [0.5, 0.0, -0.5, 0.0, 0.0, 0.0, 0.0, 0.0]
    assert trainer.state.log_history[0]["frac_effective"] == 0.5


def test_a_checkpoint_that_was_not_finished_is_refused(make_trainer):
    """Killed after TRL's files and before ours: one line, and ``complete`` knows it."""
    from pathlib import Path

    from backcast.learn.keeper import complete

    values = {"max_steps": 2, "save_strategy": "steps", "save_steps": 1}
    trainer = make_trainer(parts={"shapers": [SampleReplay()]}, **values)
    trainer.train()
    whole, torn = (Path(trainer.args.output_dir) / f"checkpoint-{step}" for step in (1, 2))
    state_file(torn, 0).unlink()
    assert [complete(whole), complete(torn)] == [True, False]
    with pytest.raises(BadInput, match="or was never finished"):
        make_trainer(parts={"shapers": [SampleReplay()]}, **values).train(resume_from_checkpoint=str(torn))


def test_shares_of_groups_are_logged_without_any_part(make_trainer):
    trainer = make_trainer(half_flat, max_steps=3)
    trainer.train()
    line = trainer.state.log_history[0]
    assert line["frac_effective"] + line["frac_all_correct"] + line["frac_all_wrong"] == pytest.approx(1)
    assert isinstance(trainer, GroupTrainer)


def test_credit_of_alpha_zero_is_plain_grpo_bit_for_bit(make_trainer):
    """U14: the part is attached and changes nothing; with alpha 0.5 the same run ends elsewhere."""
    ends = []
    for parts in (
        {},
        {"shapers": [PlanningCredit(["a", "e"], alpha=0.0)]},
        {"shapers": [PlanningCredit(LETTERS, 0.5)]},
    ):
        trainer = make_trainer(half_flat, parts=parts)
        trainer.train()
        ends.append(trainer.model.state_dict())
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])
    assert any(not torch.equal(ends[0][name], ends[2][name]) for name in ends[0])


LETTERS = [chr(code) for code in range(ord("a"), ord("z") + 1)]
"""Grams that a random model writes by chance."""


def test_credit_and_replay_compose_with_lora(make_trainer, small_llama):
    """Both parts act on one run that trains an adapter only; the metrics of both are in the log."""
    from peft import LoraConfig

    shapers = [SampleReplay(), PlanningCredit(LETTERS, token_metrics=True)]
    parts = {"shapers": shapers, "peft_config": LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")}
    trainer = make_trainer(half_flat, parts=parts, max_steps=3)
    trainer.train()
    assert all(shaper.acted > 0 for shaper in shapers)
    line = trainer.state.log_history[-2]
    for name in ("planning/share", "planning/semantic_entropy", "planning/planning_entropy", "replay/share"):
        assert line[name] >= 0
    trained = [name for name, value in trainer.model.named_parameters() if value.requires_grad]
    assert trained
    assert all("lora" in name for name in trained)
