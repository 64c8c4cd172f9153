"""One vector times one large matrix, packed in every way, against torch in float32: CPU time, one thread.

    OMP_NUM_THREADS=1 python benchmarks/packed_gemv.py [--rows 3072] [--columns 8192] [--repeats 15]

The matrix does not fit the caches, so that the weights come from memory as they do in decoding. Arms in turn in every
repeat; the median and the fastest of each arm, and the ratios to float32's: on a busy machine the fastest ones say what
the kernels can do, the medians what they did. Encoding a part of the rows and repeating it is enough: the kernels see
the same work.
"""

import argparse
import json
import statistics
import time

import numpy as np
import torch

from backcast.compress import kernels, rtn, splitquant, wgm

PART = 64
"""Rows that are really encoded."""

ARMS = {
    "WGM, default, 4 bits": (wgm.encode, wgm.preset("ours", 4)),
    "WGM, table, 4 bits": (wgm.encode, wgm.preset("table", 4)),
    "WGM, one codebook a row, 4 bits": (wgm.encode, wgm.WGM(8, "row")),
    "WGM, one magnitude per 64, 1 bit": (wgm.encode, wgm.WGM(1, block=64)),
    "round to nearest, 4 bits": (rtn.encode, rtn.RTN(4)),
    "round to nearest, 8 bits a row": (rtn.encode, rtn.RTN(8, "row")),
    "SplitQuant, 4 bits, compact": (splitquant.encode, splitquant.SplitQuant(4)),
    "SplitQuant, 4 bits, sparse": (splitquant.encode, splitquant.SplitQuant(4, form="sparse")),
    "SplitQuant, 4 bits, three planes": (splitquant.encode, splitquant.SplitQuant(4, form="planes")),
}


def whole(part: kernels.Stored, times: int) -> kernels.Stored:
    """The matrix whose rows are those of ``part``, repeated in memory."""
    planes = part.packed.reshape(-1, part.rows, part.packed.shape[1])
    packed = np.tile(planes, (1, times, 1)).reshape(-1, part.packed.shape[1])
    several = {"rows": part.rows * times, "packed": packed, "ids": np.tile(part.ids, (times, 1))}
    if len(part.upper):
        bits = np.unpackbits(part.upper, bitorder="little")
        count = int(part.starts[-1]) + int(np.unpackbits(part.ids[-1]).sum())
        several["upper"] = np.packbits(np.tile(bits[:count], times), bitorder="little")
        several["starts"] = np.concatenate([part.starts + i * count for i in range(times)])
    own = part.row_step > 0
    for name in ("scale", "zero", "fine", "table"):
        values = getattr(part, name)
        shared = name == "table" and part.kind != 0
        if own and not shared:
            grids = values.reshape(len(planes), -1)
            several[name] = np.tile(grids, (1, times)).ravel()
    return part._replace(**several)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, default=3072)
    parser.add_argument("--columns", type=int, default=8192)
    parser.add_argument("--repeats", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    times = options.rows // PART
    draw = np.random.default_rng(0)
    part = (draw.standard_normal((PART, options.columns)) * 0.02).astype(np.float32)
    dense, x = torch.from_numpy(np.tile(part, (times, 1))), torch.randn(1, options.columns)
    vector, out = x.numpy(), np.empty((1, times * PART), dtype=np.float32)
    work = {"float32": lambda: torch.nn.functional.linear(x, dense)}
    for name, (encode, settings) in ARMS.items():
        encoded = encode(part, settings)
        matrix = whole(kernels.stored(encoded.layout, encoded.tensors), times)
        work[name] = lambda matrix=matrix: kernels.multiply(matrix, vector, 0, matrix.rows, out)
        again = np.empty((1, PART), dtype=np.float32)
        kernels.multiply(kernels.stored(encoded.layout, encoded.tensors), vector, 0, PART, again)
        work[name]()
        assert np.array_equal(out, np.tile(again, (1, times))), name
    seen = {name: [] for name in work}
    for _ in range(options.repeats):
        for name, run in work.items():
            start = time.process_time_ns()
            run()
            seen[name].append(time.process_time_ns() - start)
    found = {
        name: {"median": statistics.median(taken) / 1e6, "fastest": min(taken) / 1e6} for name, taken in seen.items()
    }
    for name, row in found.items():
        line = f"{name:36s}"
        for key, taken in row.items():
            line += f" {key} {taken:6.2f} ms, x{found['float32'][key] / taken:.2f} of float32;"
        print(line.rstrip(";"))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
