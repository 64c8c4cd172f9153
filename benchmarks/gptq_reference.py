"""GPTQ by a package, as the calibrated reference beside the rows of ``wgm_table.py``.

    python benchmarks/gptq_reference.py MODEL_FOLDER TEXT --out FILE.safetensors [--bits 4] [--group 64]

Needs llmcompressor in an environment of its own (``benchmarks/peers.txt`` has the line). Calibrates on the first
windows of TEXT, in order, quantises every linear layer but the head on symmetric grids of ``--group`` columns, and
writes the numbers as stored, with their bits (codes and a 16-bit scale per group) in the metadata. Then:

    python benchmarks/wgm_table.py MODEL_FOLDER TEST --out rows.jsonl --dense "GPTQ 4 g64, calibrated=gptq4.safetensors"
"""

import argparse
import json
import time
from pathlib import Path

import torch
from datasets import Dataset
from llmcompressor import __version__, oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--context", type=int, default=256)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    ids = tokenizer(options.text.read_text()).input_ids[: options.windows * options.context]
    rows = [ids[at : at + options.context] for at in range(0, len(ids), options.context)]
    data = Dataset.from_dict({"input_ids": rows, "attention_mask": [[1] * len(row) for row in rows]})
    weights = {"num_bits": options.bits, "type": "int", "symmetric": True, "strategy": "group"}
    scheme = {"targets": ["Linear"], "weights": {**weights, "group_size": options.group}}
    modifier = GPTQModifier(ignore=["lm_head"], config_groups={"group_0": scheme})
    start = time.process_time()
    oneshot(
        model=model, dataset=data, recipe=[modifier], max_seq_length=options.context, num_calibration_samples=len(rows),
        shuffle_calibration_samples=False,
    )  # fmt: skip
    spent = time.process_time() - start
    head = model.get_output_embeddings()
    layers = {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head}
    levels = max(len(torch.unique(m.weight[0, : options.group])) for m in layers.values())
    if levels > 2**options.bits:
        raise SystemExit(f"a group of {options.group} weights has {levels} levels: the weights are not quantised")
    about = {
        "by": f"llmcompressor {__version__}",
        "true_bits": options.bits + 16 / options.group,
        "calibration": f"{options.text.name}, first {len(rows)} windows of {options.context}",
        "cpu_seconds": round(spent, 1),
    }
    dense = {name: module.weight.detach().float().contiguous() for name, module in layers.items()}
    save_file(dense, options.out, metadata={name: json.dumps(value) for name, value in about.items()})
    print(about, f"{len(dense)} layers")


if __name__ == "__main__":
    main()
