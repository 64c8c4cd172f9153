"""Supervised training of two epochs by one process or several; the first writes what came of it to a file."""

import json
import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from backcast.learn import ranks
from backcast.learn.sft import SFTSettings, train

model, out = sys.argv[1], Path(sys.argv[2])


def row(number):
    said = f"<think>{'so ' * (number % 5 + 1)}</think>\n\nThe sea is {number}."
    return {"messages": [{"role": "user", "content": f"Count {number}:"}, {"role": "assistant", "content": said}]}


if not ranks.first():
    sys.exit(ranks.follow())
with ranks.led():
    settings = SFTSettings(
        batch=4, device_batch=1, epochs=2, learning_rate=1e-3, method="full", samples=0, device="cpu", dtype="float32"
    )
    result = train([row(i) for i in range(8)], model, out.parent / "model", settings, [row(i) for i in range(20, 25)])
weights = AutoModelForCausalLM.from_pretrained(out.parent / "model").state_dict()
out.write_text(
    json.dumps(
        {
            "processes": ranks.processes(),
            "before": result.outputs["held_out_before"],
            "after": result.outputs["held_out_after"],
            "steps": max(step for step, _ in result.curves[0].series["train"]),
            "weights": torch.cat([value.flatten() for value in weights.values()]).tolist(),
        }
    )
)
