"""GRPO, filter, replay, HICRA, HICRA on the wrong tokens, rethinking, all together: equal rollouts, paired by seed.

    python benchmarks/effects/learn_world.py [--first-seed 10] [--seeds 5] [--steps 60] [--work FOLDER]

On the small world of ``backcast.learn.world``. A second look is a rollout too: runs are compared where they have
sampled as many answers as GRPO did in all its steps, on the curve of held-out accuracy between its measurements.
Seeds from 10 on: seed 0 was used when the learning rate was chosen. Resumable: finished runs in FOLDER are not
repeated. Prints the table and writes ``benchmarks/effects/results/learn_world.json`` when all runs are there.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

from effects_file import over_seeds, write

from backcast.core.files import code_version, write_atomic

ARMS = ("grpo", "filter", "ssr", "hicra", "hicra wrong tokens", "rethink", "all")
ROWS = 128
"""Answers a step."""


def parts(arm):
    from backcast.learn import FilterFlat, ForcedRethink, PlanningCredit, SampleReplay
    from backcast.learn.world import GRAMS, TRIGGERS

    replay, credit = SampleReplay(), PlanningCredit(GRAMS)
    rethink = ForcedRethink(temperature=1.0, triggers=TRIGGERS)
    return {
        "grpo": {},
        "filter": {"shapers": [FilterFlat()]},
        "ssr": {"shapers": [replay]},
        "hicra": {"shapers": [credit]},
        "hicra wrong tokens": {"shapers": [PlanningCredit(GRAMS, target="execution")]},
        "rethink": {"rethink": rethink},
        "all": {"shapers": [replay, credit], "rethink": rethink},
    }[arm]


def train(arm, seed, start, out, steps):
    """One run; returns accuracy by step on held-out tasks and what the parts said."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback

    from backcast.learn import GroupTrainer, GRPOConfig, world

    torch.set_num_threads(1)
    tokenizer = AutoTokenizer.from_pretrained(start)
    model = AutoModelForCausalLM.from_pretrained(start)
    learn, held = world.tasks(seed)
    curve = {0: sum(world.accuracy(model, tokenizer, held, 99)) / len(held)}

    class Watch(TrainerCallback):
        def on_step_end(self, args, state, control, **_):  # noqa: ARG002
            if state.global_step % 10 == 0:
                model.eval()
                curve[state.global_step] = sum(world.accuracy(model, tokenizer, held, 99)) / len(held)
                model.train()

    values = {
        "per_device_train_batch_size": ROWS,
        "num_generations": 8,
        "max_completion_length": 24,
        "max_steps": steps,
        "learning_rate": 3e-4,
        "lr_scheduler_type": "constant",
        "epsilon_high": 0.28,
        "seed": seed,
        "logging_steps": 1,
    }
    fixed = {"output_dir": str(out / "trainer"), "report_to": "none", "save_strategy": "no", "use_cpu": True}
    trainer = GroupTrainer(
        model,
        world.reward,
        args=GRPOConfig(**values, **fixed, bf16=False, disable_tqdm=True, activation_checkpointing=False),
        train_dataset=Dataset.from_list(world.rows(learn)),
        processing_class=tokenizer,
        callbacks=[Watch()],
        advantage="center",
        **parts(arm),
    )
    begun = time.process_time()
    trainer.train()
    texts = world.sample(model, tokenizer, held, 100)
    log = [{k: v for k, v in line.items() if isinstance(v, float)} for line in trainer.state.log_history]
    return {
        "code": code_version(),
        "curve": curve,
        "waits": sum("wait" in text for text in texts) / len(texts),
        "vitals": {vital.name: vital.value for vital in trainer.vitals()},
        "semantic": [line.get("planning/semantic_entropy") for line in log[:1] + log[-2:-1]],
        "effective": [line["frac_effective"] for line in log if "frac_effective" in line],
        "second looks": [line.get("rethink/tried", 0.0) * ROWS for line in log if "frac_effective" in line],
        "cpu_seconds": round(time.process_time() - begun, 1),
        "settings": values,
    }


def main():
    read = argparse.ArgumentParser()
    read.add_argument("--first-seed", type=int, default=10)
    read.add_argument("--seeds", type=int, default=5)
    read.add_argument("--steps", type=int, default=60)
    read.add_argument("--work", type=Path, default=Path("runs/learn-world"))
    asked = read.parse_args()
    from backcast.learn.world import warm_start

    runs = {arm: [] for arm in ARMS}
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        start = asked.work / f"start-{seed}"
        if not (start / "tokenizer_config.json").exists():
            warm_start(start, seed)
        for arm in ARMS:
            done = asked.work / f"{arm.replace(' ', '-')}-{seed}-{asked.steps}.json"
            if not done.exists():
                write_atomic(done, json.dumps(train(arm, seed, start, asked.work, asked.steps)))
            runs[arm].append(json.loads(done.read_text()))
            print(time.strftime("%H:%M:%S"), seed, arm, runs[arm][-1]["cpu_seconds"], flush=True)
    rows = table(runs, asked.steps)
    shown = {arm: {key: row.get(key) for key in ("accuracy", "middle", "against grpo")} for arm, row in rows.items()}
    print(json.dumps(shown, indent=1))
    first = runs["grpo"][0]
    write(
        "learn_world",
        {
            "seeds": list(range(asked.first_seed, asked.first_seed + asked.seeds)),
            "n": asked.seeds,
            "measure": f"800 held-out tasks, one sample each; at {asked.steps * ROWS} sampled answers, second looks "
            "counted; paired by seed; 95 % t intervals over seeds",
            "steps": asked.steps,
            "settings": first["settings"],
            "code of the runs": sorted({run["code"] for arm in ARMS for run in runs[arm]}),
            "arms": rows,
        },
    )


def along(run, steps):
    """(answers sampled, accuracy) at each measurement, up to the budget of plain GRPO, where the curve is cut."""
    import numpy as np

    at = sorted(map(int, run["curve"]))
    spent = np.concatenate([[0], np.cumsum(ROWS + np.array(run["second looks"][:steps]))])
    sampled, accuracy = spent[at], np.array([run["curve"][str(step)] for step in at])
    budget = steps * ROWS
    inside = sampled < budget
    end = np.interp(budget, sampled, accuracy)
    return np.append(sampled[inside], budget), np.append(accuracy[inside], end)


def table(runs, steps):
    """Per arm: accuracy at equal rollouts and its mean on the way there, each with the paired difference to GRPO."""
    import numpy as np

    ends, middles = {}, {}
    for arm in runs:
        lines = [along(run, steps) for run in runs[arm]]
        ends[arm] = [float(accuracy[-1]) for _, accuracy in lines]
        middles[arm] = [float(np.trapezoid(y, x) / x[-1]) for x, y in lines]

    def against(found, arm, other="grpo"):
        return over_seeds([a - b for a, b in zip(found[arm], found[other], strict=True)])

    rows = {}
    for arm in runs:
        rows[arm] = {
            "accuracy": over_seeds(ends[arm]),
            "middle": over_seeds(middles[arm]),
            "after all steps": over_seeds([run["curve"][str(steps)] for run in runs[arm]]),
            "sampled": over_seeds([ROWS * steps + sum(run["second looks"][:steps]) for run in runs[arm]]),
            "start": over_seeds([run["curve"]["0"] for run in runs[arm]]),
            "waits": over_seeds([run["waits"] for run in runs[arm]]),
            "effective share, first 10 steps": over_seeds([statistics.fmean(r["effective"][:10]) for r in runs[arm]]),
            "effective share, last 10 steps": over_seeds([statistics.fmean(r["effective"][-10:]) for r in runs[arm]]),
            "cpu_seconds": [run["cpu_seconds"] for run in runs[arm]],
            "runs": [run["curve"] for run in runs[arm]],
            "vitals": [run["vitals"] for run in runs[arm]],
        }
        if arm != "grpo":
            rows[arm]["against grpo"] = against(ends, arm)
            rows[arm]["middle against grpo"] = against(middles, arm)
    rows["hicra"]["against wrong tokens"] = against(ends, "hicra", "hicra wrong tokens")
    rows["ssr"]["against filter"] = against(ends, "ssr", "filter")
    return rows


if __name__ == "__main__":
    main()
