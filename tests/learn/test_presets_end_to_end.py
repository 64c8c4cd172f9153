"""S9: twenty steps of each preset on tasks of the small world, from a model that knows a little.

Every preset is trained through TRL's own path, logs what its method is judged by, and goes on from a checkpoint bit for
bit. Group and learning rate are made to fit (a preset's 1e-6 would not move so small a model in twenty steps).
"""

import math

import pytest
import torch

from backcast.learn import world
from backcast.learn.presets import grpo_values, parts

GROUPS = ("frac_effective", "frac_all_correct", "frac_all_wrong")
LOGGED = {
    "grpo": GROUPS,
    "dapo": (*GROUPS, "filter/share"),
    "hicra": (*GROUPS, "planning/share", "planning/semantic_entropy", "planning/credit_moved"),
    "alphamed": GROUPS,
    "vl_rethinker": (*GROUPS, "replay/share", "replay/age", "rethink/accepted", "rethink/spontaneous"),
}
STEPS, HALF = 20, 10


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return world.warm_start(tmp_path_factory.mktemp("world") / "start", 0, steps=150)


def make(start, name, folder):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from backcast.learn.trainer import GroupTrainer, GRPOConfig

    values = {**grpo_values(name), "num_generations": 8, "learning_rate": 3e-4, "max_completion_length": 20}
    return GroupTrainer(
        AutoModelForCausalLM.from_pretrained(start),
        world.reward,
        args=GRPOConfig(
            **values,
            output_dir=str(folder),
            per_device_train_batch_size=32,
            max_steps=STEPS,
            save_strategy="steps",
            save_steps=HALF,
            report_to="none",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            activation_checkpointing=False,
            seed=3,
        ),
        train_dataset=Dataset.from_list(world.rows(world.tasks(0)[0][:64])),
        processing_class=AutoTokenizer.from_pretrained(start),
        **parts(name, grams=world.GRAMS, triggers=world.TRIGGERS),
    )


@pytest.mark.parametrize("name", list(LOGGED))
def test_twenty_steps_and_a_resume_of_each_preset(start, tmp_path, name):
    """Losses are numbers, the log holds the method's figures, every part acted, and the second half repeats exactly."""
    whole = make(start, name, tmp_path / "run")
    whole.train()
    log = [line for line in whole.state.log_history if "loss" in line]
    assert len(log) == STEPS
    assert all(math.isfinite(line["loss"]) and math.isfinite(line["grad_norm"]) for line in log)
    for key in LOGGED[name]:
        assert any(key in line for line in log), key
    assert sum(line["frac_effective"] for line in log) > 0
    assert all(part.acted for part in whole.parts)
    resumed = make(start, name, tmp_path / "run")
    resumed.train(resume_from_checkpoint=str(tmp_path / "run" / f"checkpoint-{HALF}"))
    first, second = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    for one, two in zip(whole.parts, resumed.parts, strict=True):
        assert (one.acted, one.opportunities) == (two.acted, two.opportunities)
        if hasattr(one, "rng"):
            assert one.rng.bit_generator.state == two.rng.bit_generator.state
        for a, b in zip(getattr(one, "buffer", []), getattr(two, "buffer", []), strict=True):
            assert a.advantage == b.advantage
            assert all(torch.equal(a.row[key], b.row[key]) for key in a.row)
    assert [vital.value for vital in whole.vitals()] == [vital.value for vital in resumed.vitals()]
