"""What GroupTrainer does through TRL's callbacks, so that it need not override the methods around them."""

import math
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from backcast.core.errors import BadInput
from backcast.core.vitals import must_act


def state_file(checkpoint: Path | str, rank: int) -> Path:
    """Where the state of one process lies in a checkpoint; written last, so where it is, the rest is whole."""
    return Path(checkpoint) / f"group_trainer_{rank}.pt"


def complete(checkpoint: Path) -> bool:
    """Whether a checkpoint was written to its end (a killed process may leave half of one)."""
    return state_file(checkpoint, 0).exists()


class Keeper(TrainerCallback):
    """Saves the parts with each checkpoint, drops the gradients of steps that teach nothing, ends with a check."""

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, train_dataloader: Any = None, **_: Any) -> None:  # noqa: ARG002
        """A training that goes on from a checkpoint asks its prompts in the order of the epoch that was left."""
        sampler = _shuffled(train_dataloader)
        if state.global_step == 0 or sampler is None:
            return
        epoch = math.ceil(len(train_dataloader) / args.gradient_accumulation_steps)
        for _epoch in range(state.global_step // epoch):
            next(iter(sampler))  # draws one epoch's order; a new sampler begins with the first epoch's

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, model: Any = None, **_: Any) -> None:  # noqa: ARG002
        """If no row of the whole optimiser step teaches anything, its gradients are dropped unused.

        A zero gradient would still move the weights, by momentum and weight decay.
        """
        skips, self.trainer.skips = self.trainer.skips, []
        if skips and all(skips):
            model.zero_grad(set_to_none=True)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Writes batch, parts and counts of this process beside TRL's own checkpoint; the first process writes last."""
        trainer = self.trainer
        path = state_file(Path(args.output_dir) / f"checkpoint-{state.global_step}", trainer.accelerator.process_index)
        kept = {
            "step": trainer._step,
            "buffered": trainer._buffered_inputs,
            "processes": trainer.accelerator.num_processes,
            "names": [part.name for part in trainer.parts],
            "parts": [part.state_dict() for part in trainer.parts],
            "counting": [reward.state_dict() for reward in trainer.counting],
            "groups": trainer.group_sums.state_dict(),
        }
        beside = path.with_suffix(".part")
        torch.save(kept, beside)
        if trainer.accelerator.is_main_process:
            trainer.accelerator.wait_for_everyone()
            beside.replace(path)
        else:
            beside.replace(path)
            trainer.accelerator.wait_for_everyone()

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
        """Raises InertMethod if a part had opportunities and changed nothing, BadInput if there was no step at all."""
        if state.global_step == 0:
            rows = args.generation_batch_size
            raise BadInput(
                f"no step was taken: a batch needs {rows // self.trainer.num_generations} different prompts "
                f"({rows} answers, {self.trainer.num_generations} to each), and the data set holds fewer; give more "
                "prompts, or make the batch smaller"
            )
        for part in self.trainer.parts:
            must_act(part.name, *self.trainer.everywhere(part))


def _shuffled(loader: Any) -> Any:
    """The sampler of prompts below accelerate's layers, if it draws an order for each epoch."""
    layer = loader
    while hasattr(layer, "batch_sampler"):
        layer = layer.batch_sampler
    sampler = getattr(layer, "sampler", None)
    return sampler if hasattr(sampler, "generator") else None


def _list(names: list[str]) -> str:
    return ", ".join(names) or "none"


def restore(trainer: Any, checkpoint: str) -> None:
    """Takes back what ``Keeper.on_save`` wrote; BadInput if it is missing or of other parts."""
    path = state_file(checkpoint, trainer.accelerator.process_index)
    if not path.exists():
        raise BadInput(
            f"'{path}' is missing: this checkpoint is of another trainer or number of processes, or was never finished"
        )
    device = trainer.accelerator.device
    # Of several processes on a CPU, accelerate's device is "cpu:0", from which torch restores nothing.
    state = torch.load(path, map_location="cpu" if device.type == "cpu" else device, weights_only=True)
    written, here = state["names"], [part.name for part in trainer.parts]
    if written != here:
        raise BadInput(f"'{path}' was written with parts {_list(written)}; this trainer has {_list(here)}")
    if state["processes"] != trainer.accelerator.num_processes:
        raise BadInput(
            f"'{path}' was written by {state['processes']} processes, each with its own buffer; this training has "
            f"{trainer.accelerator.num_processes}; start as many"
        )
    trainer._step, trainer._buffered_inputs = state["step"], state["buffered"]
    for part, kept in zip(trainer.parts, state["parts"], strict=True):
        part.load_state_dict(kept)
    for reward, kept in zip(trainer.counting, state.get("counting", ()), strict=True):
        reward.load_state_dict(kept)
    trainer.group_sums.load_state_dict(state["groups"])
