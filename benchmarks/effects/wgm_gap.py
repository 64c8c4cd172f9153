"""Why two settings of nearly the same bits lie apart in perplexity: other windows, other draws, which tokens.

    python benchmarks/effects/wgm_gap.py MODEL TITLE --on NAME=FIRST:LAST:TEXT ... [--mine SETTING] [--other SETTING]

Windows of 256 tokens, counted from 1, of each TEXT, scored as ``benchmarks/wgm_table.py`` does. Both settings store the
weights twice: as they are, and mirrored (minus what becomes of minus the weights), which is another draw of errors of
the same size, so that the spread between the two says what a single draw is worth. Per draw: nats per token above the
original, paired by window with the bootstrap interval; then the differences between draws, and the tokens of the text
that make them up. Goes to ``results/wgm-gap.json``.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

from effects_file import write
from wgm_table import linear, one, rows
from windowed_text import with_beginnings

from backcast.compress.score import load, read_text, windows
from backcast.core import stats

CONTEXT = 256
SHOWN = 8
"""Kinds of tokens that are named."""


class Arms:
    """A model, its texts, and each draw's stored numbers by layer."""

    def __init__(self, folder: str, texts: dict[str, tuple[int, int, Path]]) -> None:
        self.model, self.tokenizer = load(Path(folder))
        self.layers = linear(self.model)
        self.weights = {"original": {name: module.weight.data.clone() for name, module in self.layers.items()}}
        self.texts = {}
        for name, (first, last, path) in texts.items():
            ids = with_beginnings(self.tokenizer, self.tokenizer(read_text(path)).input_ids, CONTEXT)
            places = windows(len(ids), "gptq", CONTEXT)[first - 1 : last]
            self.texts[name] = np.array([ids[place.start : place.end] for place in places])

    def store(self, title: str, how: Any, sign: int) -> None:
        """Every layer's numbers as ``how`` stores them, times ``sign`` before and after."""
        found = {}
        for name, dense in self.weights["original"].items():
            back, _, _ = one(sign * dense.numpy(), how, name)
            found[name] = torch.from_numpy(np.ascontiguousarray(sign * back))
        self.weights[title] = found

    @torch.no_grad()
    def read(self, text: str) -> dict[str, np.ndarray]:
        """Per draw (windows, tokens): nats of every token."""
        found: dict[str, list[np.ndarray]] = {name: [] for name in self.weights}
        all_ids = torch.from_numpy(self.texts[text])
        for name, weights in self.weights.items():
            for layer, module in self.layers.items():
                module.weight.data = weights[layer]
            for ids in all_ids:
                logits = self.model(ids[None]).logits[0, :-1].float()
                nll = torch.logsumexp(logits, -1) - logits.gather(1, ids[1:, None])[:, 0]
                found[name].append(nll.double().numpy())
        return {name: np.stack(values) for name, values in found.items()}


def paired(a: np.ndarray, b: np.ndarray) -> list[float]:
    """Mean of a - b over windows, with its interval; both (windows,)."""
    found = stats.paired(a, b)
    return [round(float(value), 4) for value in (found.value, found.low, found.high)]


def told(nll: np.ndarray, original: np.ndarray) -> dict[str, Any]:
    above = paired(nll.mean(1), original.mean(1))
    return {"nats above the original": above, "nll by window": [round(float(value), 4) for value in nll.mean(1)]}


def gap(a: np.ndarray, b: np.ndarray, ids: np.ndarray, tokenizer: Any) -> dict[str, Any]:
    """Nats per token of a above b, and what each kind of token adds to it; a, b and ids are (windows, tokens)."""
    differs, after = a - b, ids[:, 1:]
    kinds = {int(kind): differs[after == kind].sum() / differs.size for kind in np.unique(after)}
    most = sorted(kinds, key=lambda kind: -abs(kinds[kind]))[:SHOWN]
    share = {
        tokenizer.convert_ids_to_tokens(kind): {"times": int((after == kind).sum()), "adds": round(kinds[kind], 4)}
        for kind in most
    }
    # A window's mean over the tokens that are left.
    rest = after != most[0]
    first, second = ((values * rest).sum(1) / rest.sum(1) for values in (a, b))
    return {
        "nats": paired(a.mean(1), b.mean(1)),
        "tokens that add most": share,
        "nats without the first of them": paired(first, second),
    }


def on(entry: str) -> tuple[str, tuple[int, int, Path]]:
    name, rest = entry.split("=", 1)
    first, last, path = rest.split(":", 2)
    return name, (int(first), int(last), Path(path))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("title")
    parser.add_argument("--on", nargs="+", type=on, required=True)
    parser.add_argument("--mine", default="ours 4")
    parser.add_argument("--other", default="NF4 g64, double")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    arms, hows = Arms(options.model, dict(options.on)), rows(["ours", "peers"])
    for sign, title in ((1, "{}"), (-1, "{}, mirrored")):
        for name in (options.mine, options.other):
            arms.store(title.format(name), hows[name], sign)
    pairs = [
        (a, b) for a in (options.mine, f"{options.mine}, mirrored") for b in arms.weights if b not in ("original", a)
    ]
    found: dict[str, Any] = {}
    for text, (first, last, path) in dict(options.on).items():
        read = arms.read(text)
        said = {name: told(values, read["original"]) for name, values in read.items()}
        gaps = {f"{a} - {b}": gap(read[a], read[b], arms.texts[text], arms.tokenizer) for a, b in pairs}
        for name, row in [*said.items(), *gaps.items()]:
            print(text, name, {key: value for key, value in row.items() if "window" not in key}, flush=True)
        found[text] = {"windows": [first, last], "file": path.name, "draws": said, "gaps": gaps}
        print(write("wgm-gap", {"model": options.title, "texts": found}), flush=True)


if __name__ == "__main__":
    main()
