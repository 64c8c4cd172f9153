"""Time windows: our levels over groups of routes against PyVRP on the whole problem, equal CPU-seconds, one thread.

Both are PyVRP inside; ours solves neighbouring routes together and lets the groups grow. Instances of
``problems.windowed`` (places in a square of side 100, windows of a fifth of the horizon on average); ours starts from
PyVRP's first feasible routes, which counts. Costs are recomputed by our checker. Resumable.

    scripts/bench benchmarks/routing_windows.py
    python benchmarks/routing_windows.py --size 200 --instances 0 1 2 3 4 --seconds 10
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from backcast.core.files import code_version, write_json
from backcast.core.stats import paired
from backcast.routing import Settings, cost, faults, solve
from backcast.routing.problems import windowed
from backcast.routing.subsolve import solve_with_pyvrp


def levels(instance, seconds, seed, group):
    return solve(instance, seconds, Settings(seed=seed, clock="cpu", group=group)).routes


def whole(instance, seconds, seed):
    begun = time.process_time()
    return solve_with_pyvrp(instance, seed=seed, stop=lambda _: time.process_time() - begun > seconds)


def measure(options):
    """All rows asked for; those that are there already are kept."""
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    for index in options.instances:
        instance = windowed(options.size, np.random.default_rng([2026, index]), f"windowed-{options.size}-{index}")
        for name in ["whole", *(f"levels of {k}" for k in options.groups)]:
            key = [name, options.size, index, options.seconds, options.seed]
            if any(row["key"] == key for row in rows):
                continue
            begun = time.process_time()
            if name == "whole":
                routes = whole(instance, options.seconds, options.seed)
            else:
                routes = levels(instance, options.seconds, options.seed, int(name.split()[-1]))
            assert faults(instance, routes) == []
            used = time.process_time() - begun
            rows.append({"key": key, "cost": cost(instance, routes), "routes": len(routes), "cpu_seconds": used})
            write_json(options.out, {"code": code_version(), "rows": rows})
            print(
                f"{name:12} instance {index}: {rows[-1]['cost']:.2f}, {len(routes)} routes, {used:.1f} CPU-s",
                flush=True,
            )
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=200)
    parser.add_argument("--instances", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--groups", type=int, nargs="+", default=[6])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("routing-windows.json"))
    options = parser.parse_args()
    rows = measure(options)

    def costs(name):
        keys = [[name, options.size, index, options.seconds, options.seed] for index in options.instances]
        return [next(row["cost"] for row in rows if row["key"] == key) for key in keys]

    base = costs("whole")
    budget = f"{options.size} customers, {options.seconds:g} CPU-s"
    print(f"\n{budget}: PyVRP on the whole {np.mean(base):.2f} (mean of {len(base)})")
    for group in options.groups:
        mine = costs(f"levels of {group}")
        ratio = [100 * (b - a) / b for a, b in zip(mine, base, strict=True)]
        spread = paired(ratio, [0.0] * len(ratio))
        bounds = "" if spread.low is None else f" [{spread.low:.2f}, {spread.high:.2f}]"
        print(f"  levels of {group}: {np.mean(mine):.2f}; {spread.value:.2f} %{bounds} cheaper, n = {len(mine)}")


if __name__ == "__main__":
    main()
