"""One GRPO step on the bundled model of 135 million parameters: CPU-seconds and memory, TRL alone and with all parts.

    python benchmarks/learn_real_step.py [--group 8] [--tokens 48] [--repeats 3]

One prompt that asks for a boxed answer, ``group`` answers of at most ``tokens`` tokens, one optimiser step on every
weight (float32, AdamW). Each kind runs in processes of its own, in turn, so that peaks of memory do not mix; figures
are medians over ``repeats``, the step without loading the model.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time

KINDS = ("trl", "group_trainer", "all_parts")
PROMPT = "What is 17 + 25? Think step by step, then put the final answer in \\boxed{}."


def one(kind, group, tokens):
    """Takes the step and prints what it took as JSON."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import GRPOTrainer

    from backcast.learn import ForcedRethink, GroupTrainer, GRPOConfig, PlanningCredit, SampleReplay
    from backcast.lm.models import resolve

    torch.set_num_threads(1)
    folder = resolve("smollm2")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)

    def reward(completions, **_):
        """Right answers are rare in eight tries; distance by length makes the group mixed, so that a step is taken."""
        return [float("42" in text[-1]["content"]) + len(text[-1]["content"]) / 1000 for text in completions]

    def always(completions, **_):
        """Second looks count as right, so that one is kept and imitated."""
        return [1.0] * len(completions)

    parts = {"trl": {}, "group_trainer": {}}.get(kind)
    if parts is None:
        shapers = [SampleReplay(), PlanningCredit(token_metrics=True)]
        parts = {"advantage": "center", "shapers": shapers, "rethink": ForcedRethink(correct=always)}
    seen = []

    class Timed(GRPOTrainer if kind == "trl" else GroupTrainer):
        def training_step(self, *args, **kwargs):
            start = time.process_time()
            found = super().training_step(*args, **kwargs)
            seen.append(time.process_time() - start)
            return found

    with tempfile.TemporaryDirectory() as out:
        trainer = Timed(
            model,
            reward,
            args=GRPOConfig(
                output_dir=out,
                per_device_train_batch_size=group,
                num_generations=group,
                max_completion_length=tokens,
                max_steps=1,
                learning_rate=1e-6,
                report_to="none",
                save_strategy="no",
                use_cpu=True,
                bf16=False,
                disable_tqdm=True,
                logging_steps=1,
            ),
            train_dataset=Dataset.from_list([{"prompt": [{"role": "user", "content": PROMPT}]}] * 2),
            processing_class=tokenizer,
            **parts,
        )
        start = time.process_time()
        trainer.train()
        whole = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    log = trainer.state.log_history[0]
    assert log["loss"] == log["loss"], "the loss is not a number"
    print(
        json.dumps({"step": seen[0], "whole": whole, "peak": peak, "loss": log["loss"], "grad_norm": log["grad_norm"]})
    )


def main():
    read = argparse.ArgumentParser()
    read.add_argument("--group", type=int, default=8)
    read.add_argument("--tokens", type=int, default=48)
    read.add_argument("--repeats", type=int, default=3)
    read.add_argument("--kind", choices=KINDS, help="take one step of this kind in this process")
    asked = read.parse_args()
    if asked.kind:
        return one(asked.kind, asked.group, asked.tokens)
    found = {kind: [] for kind in KINDS}
    for _ in range(asked.repeats):
        for kind in KINDS:
            words = ["--kind", kind, "--group", str(asked.group), "--tokens", str(asked.tokens)]
            env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
            done = subprocess.run(
                [sys.executable, __file__, *words], capture_output=True, text=True, env=env, check=False
            )
            if done.returncode:
                raise SystemExit(done.stderr[-3000:])
            found[kind].append(json.loads(done.stdout.splitlines()[-1]))
    base = statistics.median(run["whole"] for run in found["trl"])
    print(f"one GRPO step, {asked.group} answers of at most {asked.tokens} tokens, medians of {asked.repeats}")
    for kind, runs in found.items():
        whole, peak = (statistics.median(run[key] for run in runs) for key in ("whole", "peak"))
        ratio = f"{whole / base:.2f} times TRL's"
        print(f"{kind:14s} {whole:6.2f} CPU-s ({ratio})  peak {peak / 2**30:.2f} GiB  loss {runs[0]['loss']:.5f}")
    return None


if __name__ == "__main__":
    main()
