"""A real model, every setting of the papers, ours and the calibration-free peers beside them, in one run.

    python benchmarks/wgm_table.py MODEL TEXT --out rows.jsonl [--grid off] [--rows ours peers paper split]
        [--only NAME ...] [--dense NAME=FILE ...] [--windows 20] [--context 512] [--kl-windows 20]

Every row quantises all linear layers but the head in place (the stored numbers, decoded), scores the text and puts the
weights back. It becomes one line of JSON in ``--out``; rows that are there already are not done again, so a stopped run
goes on. Bits are those of the stored form: indices, scales, zero points and exceptions counted. Products of float32
matrices are taken in bfloat16 with float32 sums, for the original and for every row alike. KL is in nats per token
against the original's predictions (kept in half precision). ``--dense`` adds rows of weights that another program has
quantised, in a safetensors file with the names of the layers and ``true_bits`` in the metadata.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open

sys.path.insert(0, str(Path(__file__).parent))

from calibration_free import peers
from windowed_text import with_beginnings

from backcast.compress import rtn, splitquant, wgm
from backcast.compress.layout import decode
from backcast.compress.line import kmeans
from backcast.compress.score import Reading, load, perplexity, ratio, read_text, windows
from backcast.compress.stream import encode
from backcast.lm.models import resolve

SPLIT = splitquant.SplitQuant
TENSOR = wgm.WGM(32, "tensor")


def ours() -> dict[str, Any]:
    found = {f"ours {bits}": wgm.preset("ours", bits) for bits in (2, 3, 4, 5, 6)}
    found["ours 3 g32"] = replace(found["ours 3"], block=32)
    return {**found, **{f"ours, one table {bits}": wgm.preset("table", bits) for bits in (3, 4, 5, 6)}}


def paper() -> dict[str, Any]:
    window = replace(wgm.preset("paper", 6), window=512)
    return {
        "RTN8 row": rtn.RTN(8, "row"),
        "RTN8 tensor": rtn.RTN(8, "tensor"),
        "exact tensor g32 + top 64": replace(TENSOR, protect_least=64),
        "exact tensor g32": TENSOR,
        "WGM paper w64 lam .75 g32": wgm.preset("paper", 6),
        "WGM paper w512 lam .75 g32": window,
        "WGM paper w512 lam .75 g32 + top 64": replace(window, protect_least=64),
        "RTN6 tensor": rtn.RTN(6, "tensor"),
        "MSB block 64 g8": wgm.preset("v3", 4),
        "MSB block 64 g8, 8-bit scales": wgm.WGM(8, fine=True),
        "MSB block 64 g8, raw lam .75": wgm.WGM(8, lam=0.75),
        "MSB block 64 g8, greedy, raw lam .75": wgm.WGM(8, solver="greedy", lam=0.75),
        "exact tensor g16": wgm.WGM(16, "tensor"),
        "exact tensor g16 + top 1e-4": wgm.preset("exact", 5),
        "exact tensor g16, weighed by abs w": wgm.WGM(16, "tensor", weigh=1),
        "exact tensor g16, weighed by w^2": wgm.WGM(16, "tensor", weigh=2),
        "absmax of 64 x exact table of 16": _scaled(lambda blocks: np.abs(blocks).max(1)),
        "rms of 64 x exact table of 16": _scaled(lambda blocks: np.sqrt(np.square(blocks).mean(1))),
        "exact row g8": wgm.WGM(8, "row"),
        "exact tensor g8": wgm.WGM(8, "tensor"),
        "exact tensor g8 + top 1e-4": wgm.preset("exact", 4),
        "exact row g4": wgm.WGM(4, "row"),
        "exact block 64 g2": wgm.WGM(2),
        "honest 1 bit: block 64 g1": wgm.WGM(1),
    }


def _scaled(scale_of: Callable[[np.ndarray], np.ndarray]) -> Callable[[np.ndarray, str], tuple[np.ndarray, float]]:
    """A 16-bit scale per block of 64 and one optimal table of 16 signed levels for what they leave of a tensor.

    No preset has it: ``table`` fits scales and table together, which is its point.
    """

    def quantise(weights: np.ndarray, name: str) -> tuple[np.ndarray, float]:
        blocks = weights.reshape(-1, 64)
        scale = scale_of(blocks).astype(np.float16).astype(np.float32)
        rest = blocks / np.where(scale > 0, scale, 1)[:, None]
        table = kmeans(rest, 16, name=name).means
        codes = np.searchsorted((table[1:] + table[:-1]) / 2, rest)
        back = table.astype(np.float16).astype(np.float32)[codes] * scale[:, None]
        return back.reshape(weights.shape), weights.size / 2 + 2 * len(scale) + 2 * len(table)

    return quantise


def split() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for scope, name in (("tensor", "tensor"), ("row", "row"), ("block", "g64")):
        found[f"RTN4 {name}"] = rtn.RTN(4, scope)
        found[f"SplitQuant4 {name}"] = SPLIT(4, scope)
    for scope in ("tensor", "row"):
        found[f"SplitQuant4 {scope}, masked"] = SPLIT(4, scope, masked=True)
    return {
        **found,
        "SplitQuant2 row": SPLIT(2, "row"),
        "SplitQuant8 row, three planes": SPLIT(8, "row", form="planes"),
    }


def rounding() -> dict[str, Any]:
    sizes = ((3, 64), (4, 64), (4, 32), (5, 64), (6, 64))
    return {f"RTN{bits} g{block}": rtn.RTN(bits, block=block) for bits, block in sizes}


def rows(groups: list[str]) -> dict[str, Any]:
    """Settings of ours, or quantisers of others, by name."""
    made = {"ours": ours, "peers": lambda: {**rounding(), **peers()}, "paper": paper, "split": split}
    return {name: how for group in groups for name, how in made[group]().items()}


def dense(path: Path) -> Any:
    """A quantiser that looks up what another program made of each layer."""
    with safe_open(path, framework="np") as file:
        bits = float(file.metadata()["true_bits"])

    def look_up(weights: np.ndarray, name: str) -> tuple[np.ndarray, float]:
        with safe_open(path, framework="np") as file:
            found = file.get_tensor(name)
        if found.shape != weights.shape:
            raise SystemExit(f"{path}: {name} has shape {found.shape}, expected {weights.shape}")
        return found, found.size * bits / 8

    return look_up


@dataclass
class Bench:
    """A model with its original weights, the text, and what the original makes of it."""

    model: Any
    original: dict[str, torch.Tensor]
    ids: list[int]
    places: list[Any]
    base: np.ndarray
    """(scored tokens of the KL windows, vocabulary) log-probabilities of the original, float16."""

    def linear(self) -> dict[str, torch.nn.Linear]:
        return linear(self.model)


def linear(model: Any) -> dict[str, torch.nn.Linear]:
    head = model.get_output_embeddings()
    return {n: m for n, m in model.named_modules() if type(m) is torch.nn.Linear and m is not head}


def one(weights: np.ndarray, how: Any, name: str) -> tuple[np.ndarray, float, float]:
    """(as stored, bytes, advertised bits)."""
    if isinstance(how, Callable):
        back, size = how(weights, name)
        return back, size, float("nan")
    encoded = encode(weights, how, name)
    return decode(encoded), encoded.layout.bytes(), how.claimed(encoded.layout)


def quantise(bench: Bench, how: Any) -> dict[str, float]:
    """Puts the stored numbers in place of the weights; bits, bytes, error and CPU-seconds."""
    spent, stored, weights, wrong, square, claimed = 0.0, 0.0, 0, 0.0, 0.0, 0.0
    for name, module in bench.linear().items():
        dense = bench.original[name].numpy()
        start = time.process_time()
        back, size, advertised = one(dense.copy(), how, name)
        spent += time.process_time() - start
        stored += size
        weights += dense.size
        claimed += advertised * dense.size
        wrong += float(np.square(back - dense, dtype=np.float64).sum())
        square += float(np.square(dense, dtype=np.float64).sum())
        module.weight.data = torch.from_numpy(np.ascontiguousarray(back))
    return {
        "claimed_bits": None if claimed != claimed else claimed / weights,
        "true_bits": 8 * stored / weights,
        "bytes": round(stored),
        "relative_mse": wrong / square,
        "cpu_seconds": round(spent, 2),
    }


def score(bench: Bench, keep: np.ndarray | None = None) -> Reading:
    """Reads the windows; with ``keep`` writes log-probabilities there, without it compares with the original's."""
    found, at = [], 0
    with torch.no_grad():
        for place in bench.places:
            ids = torch.tensor([bench.ids[place.start : place.end]])
            log = torch.log_softmax(bench.model(ids).logits[0, :-1].float(), -1)
            nll = -log.gather(1, ids[0, 1:, None]).double().sum()
            there = bench.base[at : at + len(log)]
            if keep is not None and len(there):
                there[:] = log.numpy()
            kl = agreed = 0.0
            if keep is None and len(there):
                theirs = torch.from_numpy(there).float()
                agreed = int((theirs.argmax(-1) == log.argmax(-1)).sum())
                share = theirs.exp()
                # In place: a window of a model with 262,144 tokens takes a quarter of a gigabyte.
                kl = float(theirs.sub_(log).mul_(share).sum(1).double().sum())
            found.append([float(nll), len(log), kl, agreed])
            at += len(log)
    return Reading(*np.array(found, dtype=np.float64).T)


def figures(reading: Reading, context: int, compared: int) -> dict[str, float]:
    perplex = perplexity(reading, "gptq", context)
    some = slice(0, compared)
    return {
        "perplexity": perplex.value,
        "low": perplex.low,
        "high": perplex.high,
        "kl": ratio(reading.kl[some], reading.tokens[some]).value,
        "kl_low": ratio(reading.kl[some], reading.tokens[some]).low,
        "kl_high": ratio(reading.kl[some], reading.tokens[some]).high,
        "agreement": ratio(reading.agreed[some], reading.tokens[some]).value,
        "nll_by_window": [round(value, 4) for value in (reading.nll / reading.tokens).tolist()],
    }


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("text", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--grid", choices=["on", "off"], default="on", help="what the weights lie on; for the record")
    parser.add_argument("--title", help="of the model in the rows (default: as given)")
    parser.add_argument("--rows", nargs="*", default=["ours", "peers", "paper", "split"])
    parser.add_argument("--only", nargs="*")
    parser.add_argument("--dense", nargs="*", default=[], metavar="NAME=FILE")
    parser.add_argument("--windows", type=int, default=20)
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--kl-windows", type=int, default=20)
    parser.add_argument("--skip", type=int, default=0, help="tokens at the beginning that are left out")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    torch.set_num_threads(1)
    torch.set_float32_matmul_precision("medium")
    model, tokenizer = load(resolve(options.model))
    ids = tokenizer(read_text(options.text)).input_ids[options.skip :]
    ids = with_beginnings(tokenizer, ids, options.context)
    places = windows(len(ids), "gptq", options.context)[: options.windows]
    compared = min(options.kl_windows, len(places))
    original = {name: module.weight.data.clone() for name, module in linear(model).items()}
    shape = (compared * (options.context - 1), model.get_output_embeddings().weight.shape[0])
    with tempfile.TemporaryFile() as file:
        base = np.memmap(file, dtype=np.float16, mode="w+", shape=shape)
        bench = Bench(model, original, ids, places, base)
        reading = score(bench, keep=base)
        reference = perplexity(reading, "gptq", options.context)
        about = {"model": options.title or options.model, "grid": options.grid, "metric": reference.metric}
        about |= {"text": options.text.name, "skip": options.skip, "kl_windows": compared}
        run(bench, options, about, figures(reading, options.context, compared) | {"setting": "original"})


def run(bench: Bench, options: argparse.Namespace, about: dict[str, Any], first: dict[str, Any]) -> None:
    """Does the rows that are not in the file yet."""
    compared, wanted = about["kl_windows"], rows(options.rows)
    others = {name: dense(Path(path)) for name, path in (entry.rsplit("=", 1) for entry in options.dense)}
    lines = options.out.read_text().splitlines() if options.out.exists() else []
    seen = [json.loads(line) for line in lines]
    done = {row["setting"] for row in seen if all(row[key] == value for key, value in about.items())}
    if "original" not in done:
        short = not any((w.view(torch.int32) & 0xFFFF).any() for w in bench.original.values())
        write(options.out, {**about, **first, "kl": 0.0, "agreement": 1.0, "true_bits": 16.0 if short else 32.0})
    wanted |= others
    for name in [*others, *(wanted if options.only is None else options.only)]:
        if name in done or name not in wanted:
            continue
        how = wanted[name]
        try:
            found = quantise(bench, how)
        except ImportError as error:
            print(f"{name}: left out, {error}", flush=True)
            continue
        write(options.out, {**about, "setting": name, **found, **figures(score(bench), options.context, compared)})


def write(out: Path, row: dict[str, Any]) -> None:
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(
        f"{row['setting']:32s} bits {row['true_bits']:6.3f} ppl {row['perplexity']:12.3f} kl {row['kl']:.5f} "
        f"agree {row['agreement']:.3f} mse {row.get('relative_mse', 0):.6f} {row.get('cpu_seconds', 0):.0f} CPU-s",
        flush=True,
    )


if __name__ == "__main__":
    main()
