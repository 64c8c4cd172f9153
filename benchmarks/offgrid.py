"""Takes a model off the grid of the quantised file it came from: noise one grid step wide, then a short fine-tune.

    python benchmarks/offgrid.py MODEL TEXT --out DIR [--steps 12] [--rate 0.0005]

The bundled models come from quantised files, so their weights already lie on small grids and a method with the same
grid would look lossless. Uniform noise as wide as the step of a 4-bit grid on each block of 32 undoes the rounding;
Adafactor, on all weights, then repairs what the noise broke (a fine-tune alone does not move the weights that far
without ruining the model). Training uses the first part of TEXT only, the rest says whether the model is as good.
Written in bfloat16, beside ``offgrid.json`` with perplexity and grid statistic before and after.

The statistic: how far weights lie from the 16 even steps between the ends of their block of 32, on average and in
shares of what weights that know nothing of the grid would show: near 0 on a 4-bit grid, 1 off it. Exits 1 if the
perplexity leaves 10 %.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))

from windowed_text import with_beginnings

from backcast.compress.score import load, perplexity, read, read_text, windows
from backcast.lm.models import resolve

LIMIT = 0.10


def grid(model) -> float:
    """Median over the linear layers of the statistic above."""
    return float(np.median([_distance(module.weight.detach().numpy()) for module in linear(model)]))


def _distance(weights: np.ndarray) -> float:
    blocks = weights[:, : weights.shape[1] // 32 * 32].reshape(-1, 32).astype(np.float64)
    low, high = blocks.min(1, keepdims=True), blocks.max(1, keepdims=True)
    steps = (blocks - low) / np.maximum((high - low) / 15, 1e-30)
    # The two ends of a block are on its grid by definition.
    return float(np.abs(steps - np.rint(steps)).sum() / (len(blocks) * 30 * 0.25))


def linear(model) -> list:
    head = model.get_output_embeddings()
    return [m for m in model.modules() if type(m) is torch.nn.Linear and m is not head]


def dither(model, seed: int) -> None:
    """Adds uniform noise, one step of a 4-bit grid on its block of 32 wide, to every weight of the linear layers."""
    generator = torch.Generator().manual_seed(seed)
    for module in linear(model):
        weights = module.weight.data
        blocks = torch.nn.functional.pad(weights, (0, -weights.shape[1] % 32)).unflatten(1, (-1, 32))
        step = (blocks.amax(2) - blocks.amin(2)) / 15
        wide = step.repeat_interleave(32, dim=1)[:, : weights.shape[1]]
        weights += (torch.rand(weights.shape, generator=generator) - 0.5) * wide


def tune(model, ids: np.ndarray, begin: int | None, options: argparse.Namespace, good) -> list[float]:
    """Adafactor on windows drawn by the seed until ``good()`` or the last step; the loss of every step."""
    generator = np.random.default_rng(options.seed)
    optimiser = torch.optim.Adafactor(model.parameters(), lr=options.rate)
    losses = []
    while len(losses) < options.steps:
        total = 0.0
        for _ in range(options.batch):
            start = int(generator.integers(0, len(ids) - options.context))
            part = torch.from_numpy(ids[start : start + options.context])[None].clone()
            part[0, 0] = part[0, 0] if begin is None else begin
            loss = model(part, labels=part).loss / options.batch
            loss.backward()
            total += float(loss.detach())
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        losses.append(total)
        if good():
            break
    return losses


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=12, help="at most; ends once perplexity is within 5 %%")
    parser.add_argument("--rate", type=float, default=0.0005)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--context", type=int, default=256)
    parser.add_argument("--share", type=float, default=0.6, help="of the text that may be trained on")
    parser.add_argument("--windows", type=int, default=8, help="of the rest, to score")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    start = time.process_time()
    model, tokenizer = load(resolve(options.model))
    ids = np.array(tokenizer(read_text(options.text)).input_ids)
    cut = int(options.share * len(ids))
    rest = with_beginnings(tokenizer, ids[cut:].tolist(), options.context)
    begins = rest[0] == tokenizer.bos_token_id
    places = windows(len(rest), "gptq", options.context)[: options.windows]
    before = perplexity(read(model, rest, places), "gptq", options.context)
    on_grid = grid(model)
    old = [module.weight.detach().clone() for module in linear(model)]
    dither(model, options.seed)
    noisy = perplexity(read(model, rest, places), "gptq", options.context)
    print(f"perplexity {before.value:.3f}, with noise {noisy.value:.3f}, grid {on_grid:.3f}", flush=True)

    def good() -> bool:
        now = perplexity(read(model, rest, places), "gptq", options.context).value
        print(f"held-out perplexity {now:.3f}", flush=True)
        return abs(now / before.value - 1) < LIMIT / 2

    losses = tune(model, ids[:cut], tokenizer.bos_token_id if begins else None, options, good)
    model = model.to(torch.bfloat16).float()
    after = perplexity(read(model, rest, places), "gptq", options.context)
    new = [module.weight.detach() for module in linear(model)]
    moved = [float((a - b).norm() / a.norm()) for a, b in zip(old, new, strict=True)]
    figures = {
        "model": options.model,
        "settings": {name: str(value) for name, value in vars(options).items() if name not in ("model", "text", "out")},
        "metric": before.metric,
        "perplexity_before": before.value,
        "perplexity_noisy": noisy.value,
        "perplexity_after": after.value,
        "grid_before": on_grid,
        "grid_after": grid(model),
        "moved": float(np.median(moved)),
        "losses": losses,
        "cpu_seconds": time.process_time() - start,
    }
    print(json.dumps(figures))
    if abs(after.value / before.value - 1) > LIMIT:
        went = f"{before.value:.2f} to {after.value:.2f}"
        raise SystemExit(f"perplexity went from {went}, over 10 %: change --rate or --steps")
    model.to(torch.bfloat16).save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    (options.out / "offgrid.json").write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
