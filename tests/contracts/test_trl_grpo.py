"""What we take for granted about TRL's GRPOTrainer. When TRL moves, these fail first and say where."""

import hashlib
import inspect
from importlib import metadata
from pathlib import Path

import pytest
import torch


def test_the_tested_minor_is_the_one_installed():
    assert metadata.version("trl").startswith("1.16.")


LOGPS = "model input_ids attention_mask logits_to_keep batch_size compute_entropy compute_aux_loss pixel_values"
LOGPS += " image_grid_thw num_images pixel_attention_mask spatial_shapes num_tiles image_sizes token_type_ids"
LOGPS += " mm_token_type_ids image_position_ids"

OVERRIDDEN = {
    "_tokenize_prompts": ("prompts", "d2d27f7c9bfd"),
    "_generate": ("prompts", "2a27fdf8f5e6"),
    "_calculate_rewards": ("inputs prompts completions completion_ids_list", "736ae29b0838"),
    "_generate_and_score_completions": ("inputs", "1fa48922792d"),
    "_get_per_token_logps_and_entropies": (LOGPS, "ea73c3909275"),
    "_compute_loss": ("model inputs", "80295546bbdb"),
    "_load_optimizer_and_scheduler": ("checkpoint", "5c1772becdfd"),
}
"""Parameters behind ``self``, and the beginning of the SHA-256 of the source, of each method that ours override."""

CALLED = {
    "_generate_single_turn": ("prompt_ids images multimodal_fields num_generations has_tool_images", "e0f02e4fc094"),
    "_prepare_inputs": ("generation_batch", "f824e7fb0714"),
    "_tool_call_loop": (
        "prompts prompt_ids completion_ids completions logprobs images multimodal_fields",
        "1c501f7f3b46",
    ),
    "compute_loss": ("model inputs return_outputs num_items_in_batch", "a2d6ef8bd29c"),
    "training_step": ("model inputs num_items_in_batch", "9e18632f7dd8"),
}
"""The same of methods that ours call, or whose order of work they rely on."""

FUNCTIONS = {
    "split_pixel_values_by_grid": ("batch", "3aca66e33a79"),
    "unsplit_pixel_values_by_grid": ("batch", "9d31b407fc5f"),
    "shuffle_sequence_dict": ("seq_dict", "bab038755e57"),
    "split_tensor_dict": ("tensor_dict num_chunks", "b61a5760a03e"),
}
"""The same of functions in ``trl.trainer.utils``."""


def pinned(function):
    """(parameters without self, digest of the source)."""
    plain = inspect.unwrap(function)
    names = [name for name in inspect.signature(plain).parameters if name != "self"]
    return " ".join(names), hashlib.sha256(inspect.getsource(plain).encode()).hexdigest()[:12]


@pytest.mark.parametrize("method", [*OVERRIDDEN, *CALLED])
def test_trls_methods_are_those_we_read(method):
    """Signature and source: whatever TRL changes in them has to be read, and then pinned again."""
    from trl import GRPOTrainer

    assert pinned(getattr(GRPOTrainer, method)) == {**OVERRIDDEN, **CALLED}[method], (
        f"TRL has changed GRPOTrainer.{method}: read it beside backcast.learn.trainer, then update this pin"
    )


@pytest.mark.parametrize("function", list(FUNCTIONS))
def test_trls_functions_are_those_we_read(function):
    from trl.trainer import utils

    assert pinned(getattr(utils, function)) == FUNCTIONS[function], f"TRL has changed {function}: read it, pin it again"


def test_nothing_is_overridden_without_a_pin():
    """Every method of TRL's (or of its bases) that ours replaces stands in the table above, and no other."""
    from trl import GRPOTrainer

    from backcast.learn.trainer import GroupTrainer

    ours = {name for name in vars(GroupTrainer) if hasattr(GRPOTrainer, name) and not name.startswith("__")}
    assert ours == set(OVERRIDDEN)


def test_callbacks_come_when_we_take_them_to(make_trainer):
    """Gradients are there before the optimiser's step, a checkpoint is written before ``on_save``, both in order."""
    from transformers import TrainerCallback

    seen = []

    class Watch(TrainerCallback):
        def on_pre_optimizer_step(self, args, state, control, model=None, **_):
            seen.append(("gradients", any(p.grad is not None for p in model.parameters()), state.global_step))

        def on_save(self, args, state, control, **_):
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            seen.append(("saved", (folder / "trainer_state.json").exists(), state.global_step))

        def on_train_end(self, args, state, control, **_):
            seen.append(("end", True, state.global_step))

    trainer = make_trainer(parts={"callbacks": [Watch()]}, max_steps=1, save_strategy="steps", save_steps=1)
    trainer.train()
    assert seen == [("gradients", True, 0), ("saved", True, 1), ("end", True, 1)]


@pytest.mark.parametrize("aligned", [True, False])
def test_without_parts_it_is_trl_bit_for_bit(make_trainer, aligned):
    """The same weights and the same log after three steps, with aligned and with misaligned generation."""
    from trl import GRPOTrainer

    from backcast.learn.trainer import GroupTrainer

    weights, logs = [], []
    for kind in (GRPOTrainer, GroupTrainer):
        trainer = make_trainer(trainer=kind, steps_per_generation=1 if aligned else 2)
        trainer.train()
        weights.append(trainer.model.state_dict())
        logs.append(
            [
                {k: v for k, v in line.items() if "time" not in k and "per_second" not in k and "runtime" not in k}
                for line in trainer.state.log_history
            ]
        )
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
    for plain, ours in zip(*logs, strict=True):
        assert all(ours[name] == value for name, value in plain.items())


def test_with_aligned_steps_trl_leaves_the_old_log_probabilities_out(make_trainer):
    """The danger that the trainer guards against: were this to change, the extra forward pass could go."""
    trainer = make_trainer()
    trainer.train()
    assert "old_per_token_logps" not in trainer._buffered_inputs[0]
