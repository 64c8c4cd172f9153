"""S6: replay, the filter and plain GRPO on a small transformer that learns (a + b) mod 11, paired by seed.

    python benchmarks/effects/learn_modular.py [--seeds 5] [--work FOLDER]

The parts are the trainer's own (``SampleReplay``, ``FilterFlat``); the loop is plain PyTorch: 64 prompts x 8 answers a
step, behaviour policy and buffer renewed every 4 steps, AdamW 6e-4, clip 0.2 / 0.35, advantages centred, gradient clip
1, 160 steps. Begins where supervised training first gives right answers a mean chance of 0.45. Resumable: finished
runs in FOLDER are not repeated. Prints the table, writes ``benchmarks/effects/results/learn_modular.json``.
"""

import argparse
import copy
import json
import statistics
import sys
import time
from pathlib import Path

import torch
from effects_file import over_seeds, write
from torch import nn
from torch.nn import functional

from backcast.core.credit import Batch, clipped_loss, group_advantages
from backcast.core.files import write_atomic

ARMS = ("grpo", "filter", "ssr")
NUMBERS, ANSWERS, PROMPTS, GROUP, SYNC, STEPS = 31, 11, 64, 8, 4, 160


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        rows, length, width = x.shape
        q, k, v = (
            part.view(rows, length, self.heads, -1).transpose(1, 2) for part in self.qkv(self.before(x)).chunk(3, -1)
        )
        seen = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(seen.transpose(1, 2).reshape(rows, length, width))
        return x + self.narrow(functional.gelu(self.wide(self.between(x))))


class Net(nn.Module):
    """Reads a, b and "=", and answers one of eleven: two pre-norm blocks of width 64 with four heads."""

    def __init__(self, width=64):
        super().__init__()
        self.words, self.places = nn.Embedding(NUMBERS + 1, width), nn.Embedding(3, width)
        self.blocks = nn.Sequential(Block(width, 4), Block(width, 4))
        self.end, self.answer = nn.LayerNorm(width), nn.Linear(width, ANSWERS)

    def forward(self, ids):
        x = self.blocks(self.words(ids) + self.places.weight)
        return functional.log_softmax(self.answer(self.end(x[:, -1])), -1)


EVERY = torch.tensor([[a, b, NUMBERS] for a in range(NUMBERS) for b in range(NUMBERS)])
RIGHT = (EVERY[:, 0] + EVERY[:, 1]) % ANSWERS


def accuracy(net):
    """Mean chance of the right answer over all 961 questions."""
    with torch.no_grad():
        return float(net(EVERY).gather(1, RIGHT[:, None]).exp().mean())


def warm(seed):
    """A net trained on random questions until right answers have a mean chance of 0.45 (checked every ten steps)."""
    torch.manual_seed(seed)
    net, steps = Net(), 0
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3)
    while accuracy(net) < 0.45:
        for _ in range(10):
            asked = torch.randint(len(EVERY), (128,))
            loss = functional.nll_loss(net(EVERY[asked]), RIGHT[asked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        steps += 10
        if steps > 20_000:
            raise SystemExit(f"seed {seed}: supervised training did not reach 0.45 in 20,000 steps")
    return net, steps


def sampled(behaviour, step):
    """A batch as a trainer makes it: 64 questions, eight answers each, rewards, advantages, log-probabilities."""
    asked = torch.randperm(len(EVERY))[:PROMPTS].repeat_interleave(GROUP)
    with torch.no_grad():
        logps = behaviour(EVERY[asked])
    chosen = torch.multinomial(logps.exp(), 1)
    rewards = (chosen[:, 0] == RIGHT[asked]).float()
    ones = torch.ones_like(chosen)
    data = {
        "prompt_ids": EVERY[asked],
        "prompt_mask": torch.ones_like(EVERY[asked]),
        "completion_ids": chosen,
        "completion_mask": ones,
        "old_per_token_logps": logps.gather(1, chosen),
        "advantages": group_advantages(rewards.view(-1, GROUP), "center").reshape(-1),
        "replayed": torch.zeros(len(asked), dtype=torch.bool),
    }
    return Batch(data, rewards, step, GROUP)


def run(arm, seed):
    from backcast.learn.replay import FilterFlat, SampleReplay

    begun = time.process_time()
    net, supervised = warm(seed)
    torch.manual_seed(1000 + seed)
    shaper = {"grpo": None, "filter": FilterFlat(seed), "ssr": SampleReplay(episode=SYNC, seed=seed)}[arm]
    if shaper is not None:
        shaper.attach(None, 0)
    optimizer = torch.optim.AdamW(net.parameters(), lr=6e-4)
    curve, shares, ratios = {0: accuracy(net)}, [], []
    for step in range(STEPS):
        if step % SYNC == 0:
            behaviour = copy.deepcopy(net)
        batch = sampled(behaviour, step)
        data = (batch if shaper is None else shaper(batch)).data
        shares.append(float((data["advantages"] != 0).float().mean()))
        if "skip" not in data:
            logps = net(data["prompt_ids"]).gather(1, data["completion_ids"])
            ratios.append(float((logps.detach() - data["old_per_token_logps"]).exp().sub(1).abs().mean()))
            loss = clipped_loss(logps, data["old_per_token_logps"], data["advantages"], 0.2, 0.35).mean()
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimizer.step()
        if (step + 1) % 40 == 0:
            curve[step + 1] = accuracy(net)
    return {
        "curve": curve,
        "supervised steps": supervised,
        "share first": statistics.fmean(shares[:10]),
        "share mid": statistics.fmean(shares[75:85]),
        "share last": statistics.fmean(shares[-10:]),
        "mean |ratio - 1|": statistics.fmean(ratios),
        "cpu_seconds": round(time.process_time() - begun, 1),
    }


def main():
    read = argparse.ArgumentParser()
    read.add_argument("--first-seed", type=int, default=0)
    read.add_argument("--seeds", type=int, default=5)
    read.add_argument("--name", default="learn_modular", help="of the result file")
    read.add_argument("--work", type=Path, default=Path("runs/learn-modular"))
    asked = read.parse_args()
    torch.set_num_threads(1)
    runs = {arm: [] for arm in ARMS}
    for seed in range(asked.first_seed, asked.first_seed + asked.seeds):
        for arm in ARMS:
            done = asked.work / f"{arm}-{seed}.json"
            if not done.exists():
                write_atomic(done, json.dumps(run(arm, seed)))
            runs[arm].append(json.loads(done.read_text()))
    ends = {arm: [one["curve"][str(STEPS)] for one in runs[arm]] for arm in ARMS}
    rows = {}
    for arm in ARMS:
        rows[arm] = {
            f"accuracy {s}": over_seeds([one["curve"][str(s)] for one in runs[arm]]) for s in (0, 40, 80, 120, 160)
        }
        rows[arm] |= {
            key: over_seeds([one[key] for one in runs[arm]]) for key in ("share first", "share mid", "share last")
        }
        rows[arm] |= {"at the end, by seed": [round(end, 4) for end in ends[arm]]}
        rows[arm] |= {"cpu_seconds": round(sum(one["cpu_seconds"] for one in runs[arm]), 1)}
        if arm != "grpo":
            rows[arm]["against grpo"] = over_seeds([a - b for a, b in zip(ends[arm], ends["grpo"], strict=True)])
    rows["ssr"]["against filter"] = over_seeds([a - b for a, b in zip(ends["ssr"], ends["filter"], strict=True)])
    checks = {
        "SSR ends .005 above GRPO in each seed": all(
            a >= b + 0.005 for a, b in zip(ends["ssr"], ends["grpo"], strict=True)
        ),
        "GRPO's effective share ends at .25 or below": rows["grpo"]["share last"][0] <= 0.25,
        "SSR's effective share is 1": all(one["share last"] == 1 for one in runs["ssr"]),
    }
    for arm, row in rows.items():
        print(f"  {arm:8s}", "  ".join(f"{key} {value}" for key, value in row.items()))
    for check, held in checks.items():
        print(f"  {'held' if held else 'FAILED':7s} {check}")
    what = "(a + b) mod 11 by a two-layer transformer; accuracy is the mean chance of the right answer, 961 questions"
    measure = "95 % t intervals over seeds; differences paired by seed"
    head = {"what": what, "n": asked.seeds, "first seed": asked.first_seed, "measure": measure}
    write(asked.name, {**head, "rows": rows, "checks": checks})
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
