"""CPU-seconds of exact grouping and packing of one large bf16 tensor, beside sorting it (what the heuristics need).

    OMP_NUM_THREADS=1 python benchmarks/wgm_grouping.py [--rows 3072] [--columns 8192] [--repeats 5] [--record]

The published heuristic is there twice, with its sort and the index of every weight: by our compiled heap, and by a
plain heap in Python, written here. Both must end in the same groups, or the script stops.

Prints the median of the repeats (heuristics, sorts and encoders: one timing after a warm one), per million weights, and
for the 2.82 billion linear weights of Llama 3.2 3B. ``--record`` keeps it in ``effects/results/wgm-grouping.json``.
"""

import argparse
import heapq
import statistics
import sys
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parent / "effects"))

from effects_file import write

from backcast.compress import rtn, splitquant, wgm
from backcast.compress.bits import pack
from backcast.compress.blocks import cut_blocks
from backcast.compress.greedy import greedy
from backcast.compress.line import Line, assign, exact, line, magnitudes

LLAMA_3B = 2818.6  # million linear weights


def median(work, repeats: int) -> float:
    work()
    times = []
    for _ in range(repeats):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


def plain(on: Line, groups: int, window: int, lam: float) -> np.ndarray:
    """Windowed greedy merging as published, with Python's heap and stale entries: the ends of the runs.

    The key is the cost of the merged run: its squared error about the mean, plus ``lam`` over its length.
    """
    starts = list(range(0, len(on.points), window))
    bounds = [*starts, len(on.points)]
    ends = dict(pairwise(bounds))
    count, total, square = (dict(zip(bounds, row.tolist(), strict=True)) for row in on.sums[:, bounds])
    before = dict(pairwise(reversed(starts)))

    def entry(low: int, middle: int, high: int) -> tuple[float, int, int, int]:
        n, sum_ = count[high] - count[low], total[high] - total[low]
        return max(square[high] - square[low] - sum_ * sum_ / n, 0.0) + lam / n, low, middle, high

    heap = [entry(low, middle, ends[middle]) for middle, low in before.items()]
    heapq.heapify(heap)
    while len(ends) > groups:
        _, low, middle, high = heapq.heappop(heap)
        if ends.get(low) != middle or ends.get(middle) != high:
            continue
        ends[low] = high
        del ends[middle]
        if high in ends:
            before[high] = low
            heapq.heappush(heap, entry(low, high, ends[high]))
        if low > 0:
            heapq.heappush(heap, entry(before[low], low, high))
    return np.array(sorted(ends.values()))


def whole(weights: np.ndarray, window: int, *, compiled: bool) -> np.ndarray:
    """The heuristic of 32 groups from the weights on: sort, merge, the group of every weight; the ends of the runs."""
    sizes = np.abs(weights).ravel()
    order = np.argsort(sizes, kind="stable")
    on = Line(sizes[order].astype(np.float64), np.ones(len(sizes)))
    ends = np.asarray(greedy(on, 32, window=window).ends) if compiled else plain(on, 32, window, 0.75)
    codes = np.empty(len(sizes), dtype=np.uint8)
    codes[order] = np.repeat(np.arange(32, dtype=np.uint8), np.diff(ends, prepend=0))
    return ends


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=3072)
    parser.add_argument("--columns", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--record", action="store_true")
    options = parser.parse_args()
    raw = (np.random.default_rng(0).standard_normal((options.rows, options.columns)) * 0.02).astype(np.float32)
    weights = (raw.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
    del raw
    millions = weights.size / 1e6

    def ours():
        on = magnitudes(weights)
        cut = exact(on, 8)
        return pack(assign(on, cut, weights, 8), 4)

    binned = magnitudes(weights)
    eight, best = exact(binned, 8), exact(binned, 32)
    sizes = np.abs(weights).ravel()
    one_each = line(weights, ties=False, magnitude=True)
    windows = {window: greedy(one_each, 32, window=window) for window in (64, 512)}
    blocks = np.abs(weights.reshape(-1, 64)[:20_000])
    share = weights.size / blocks.size

    def encoder(module, settings):
        return median(lambda: module.encode(weights, settings), 1)

    for window in (64, 512):
        if (whole(weights, window, compiled=True) != whole(weights, window, compiled=False)).any():
            raise SystemExit(f"windows of {window}: the two ways to merge end in other groups")

    found = {
        "exact grouping and 4-bit packing": median(ours, options.repeats),
        "of it: histogram": median(lambda: magnitudes(weights), options.repeats),
        "of it: the optimum of 8 groups": median(lambda: exact(binned, 8), options.repeats),
        "of it: codes and packing": median(lambda: pack(assign(binned, eight, weights, 8), 4), options.repeats),
        "the optimum of up to 64 groups": median(lambda: exact(binned, 64), options.repeats),
        "sorting alone, numpy": median(lambda: np.sort(sizes), 1),
        "sorting alone with the order, torch": median(lambda: torch.sort(torch.from_numpy(sizes)), 1),
        "windowed greedy merging after the sort, w = 512": median(lambda: greedy(one_each, 32, window=512), 1),
        "windowed greedy merging after the sort, w = 64": median(lambda: greedy(one_each, 32, window=64), 1),
        **{
            f"the heuristic whole, {how}, w = {window}": median(
                lambda w=window, c=compiled: whole(weights, w, compiled=c), 1
            )
            for how, compiled in (("compiled", True), ("plain Python", False))
            for window in (512, 64)
        },
        "blocks of 64, 8 groups, exact": median(lambda: cut_blocks(blocks, 8), 1) * share,
        "the whole encoder, preset exact, 4 bits": encoder(wgm, wgm.preset("exact", 4)),
        "the whole encoder, preset table, 4 bits": encoder(wgm, wgm.preset("table", 4)),
        "the whole encoder, preset ours, 4 bits": encoder(wgm, wgm.preset("ours", 4)),
        "the whole encoder, SplitQuant 4 per row": encoder(splitquant, splitquant.SplitQuant(4, "row")),
        "the whole encoder, RTN 4 per block of 64": encoder(rtn, rtn.RTN(4)),
    }
    worse = {f"w = {window}": cut.sse / best.sse for window, cut in windows.items()}
    print(f"{len(binned.points)} distinct magnitudes; squared error of 32 groups, in optima: {worse}")
    base = found["exact grouping and 4-bit packing"]
    for name, seconds in found.items():
        each = seconds / millions
        print(f"{name:50s} {1e3 * each:8.2f} ms/M  {each * LLAMA_3B:8.1f} s for 2.82 G  x{seconds / base:.1f}")
    if options.record:
        each = {name: round(seconds / millions, 6) for name, seconds in found.items()}
        about = {"rows": options.rows, "columns": options.columns, "repeats": options.repeats, "threads": 1}
        errors = {"distinct magnitudes": len(binned.points), "squared error of 32 groups, in optima": worse}
        print(write("wgm-grouping", {**about, "cpu_seconds_per_million": each, **errors}))


if __name__ == "__main__":
    main()
