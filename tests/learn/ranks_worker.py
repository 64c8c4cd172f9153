"""Trains two steps on fixed completions and rewards, twice, then on rows; rank 0 writes what came of it to a file."""

import json
import sys
from pathlib import Path

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from backcast.learn import ranks
from backcast.learn.hicra import PlanningCredit
from backcast.learn.replay import SampleReplay
from backcast.learn.sft import SFTSettings, train
from backcast.learn.trainer import GroupTrainer, GRPOConfig

model, out, rows = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
tokenizer = AutoTokenizer.from_pretrained(model)
TEXTS = ["wait the road", "the sea", "wait for bread and salt", "one of them is right"]


def completions(prompts, trainer):
    """The k-th attempt at a prompt is always the k-th text; all four differ in reward."""
    ids = [tokenizer(TEXTS[i % 4], add_special_tokens=False).input_ids for i in range(len(prompts))]
    return {"prompt_ids": [tokenizer(p).input_ids for p in prompts], "completion_ids": ids, "logprobs": None}


def reward(prompts, completions, **_):
    return [len(text) / 10 * (1 + int(prompt[-2])) for prompt, text in zip(prompts, completions, strict=True)]


def trained(group):
    """Two steps in groups of so many; the losses, all processes' buffers and the weights."""
    replay = SampleReplay()
    trainer = GroupTrainer(
        AutoModelForCausalLM.from_pretrained(model),
        reward,
        args=GRPOConfig(
            output_dir=str(out.parent / f"trainer-{group}"),
            per_device_train_batch_size=rows,
            num_generations=group,
            max_completion_length=16,
            max_steps=2,
            learning_rate=1e-2,
            report_to="none",
            save_strategy="no",
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list([{"prompt": f"Count {i}:"} for i in range(8)]),
        processing_class=tokenizer,
        rollout_func=completions,
        shapers=[replay, PlanningCredit(["wait"])],
    )
    trainer.train()
    kept = gather_object(
        [[row.row["prompt_ids"].tolist(), row.row["completion_ids"].tolist(), row.advantage] for row in replay.buffer]
    )
    return {
        "processes": trainer.accelerator.num_processes,
        "losses": [line["loss"] for line in trainer.state.log_history if "loss" in line],
        "buffer": sorted(kept),
        "weights": torch.cat([value.flatten() for value in trainer.model.state_dict().values()]).tolist(),
    }


def supervised():
    """Two epochs by ``sft.train``, which the first process leads; None in the others."""
    if not ranks.first():
        sys.exit(ranks.follow())
    sizes = {"batch": 4, "device_batch": 1, "epochs": 2, "learning_rate": 1e-3, "method": "full", "samples": 0}
    settings = SFTSettings(**sizes, device="cpu", dtype="float32")
    with ranks.led():
        made = train([row(i) for i in range(8)], model, out.parent / "model", settings, [row(i) for i in range(20, 25)])
    weights = AutoModelForCausalLM.from_pretrained(out.parent / "model").state_dict()
    return {
        "before": made.outputs["held_out_before"],
        "after": made.outputs["held_out_after"],
        "steps": max(step for step, _ in made.curves[0].series["train"]),
        "weights": torch.cat([value.flatten() for value in weights.values()]).tolist(),
    }


def row(number):
    said = f"<think>{'so ' * (number % 5 + 1)}</think>\n\nThe sea is {number}."
    return {"messages": [{"role": "user", "content": f"Count {number}:"}, {"role": "assistant", "content": said}]}


found = {group: trained(group) for group in (4, 16)}
out.write_text(json.dumps({**found, "sft": supervised()}))
