"""24 generated instances of 100 customers: the mean gap after one CPU-second to the best of long runs.

The reference of an instance is the better of a long run of PyVRP and a long one of ours, another seed (no proven optima
can be had without a download). Instances as ``problems.uniform`` draws them, capacity 50. One thread, CPU-seconds.
PyVRP's gap after the same second is printed beside. Resumable.

    scripts/bench benchmarks/routing_hundred.py
    python benchmarks/routing_hundred.py --instances 24 --seconds 1 --long 10
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from backcast.core.files import code_version, write_json
from backcast.core.stats import bootstrap
from backcast.routing import Settings, cost, faults, gap_percent, solve
from backcast.routing.problems import uniform
from backcast.routing.subsolve import whole_by_pyvrp

MUST = 0.5
"""Percent, mean over the instances."""


def costs_of(index, seconds, long):
    """Costs of an instance: both solvers after ``seconds`` and after ``long``."""
    instance = uniform(100, np.random.default_rng([100, index]), id=f"hundred-{index}")
    row = {"index": index, "seconds": seconds, "long": long}
    for name, budget, seed in (("short", seconds, 0), ("long", long, 1)):
        mine = solve(instance, budget, Settings(seed=seed, clock="cpu")).routes
        theirs, _ = whole_by_pyvrp(instance, budget, seed, time.process_time)
        assert faults(instance, mine) == []
        row[name] = {"ours": cost(instance, mine), "pyvrp": cost(instance, theirs) if theirs else None}
    return row


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--instances", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--long", type=float, default=10.0)
    parser.add_argument("--out", type=Path, default=Path("routing-hundred.json"))
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    for index in range(options.instances):
        if not any((r["index"], r["seconds"], r["long"]) == (index, options.seconds, options.long) for r in rows):
            rows.append(costs_of(index, options.seconds, options.long))
            write_json(options.out, {"code": code_version(), "rows": rows})
    rows = [r for r in rows if (r["seconds"], r["long"]) == (options.seconds, options.long)][: options.instances]
    spreads = {}
    for name in ("ours", "pyvrp"):
        best = [min(c for r in (row["short"], row["long"]) for c in r.values() if c is not None) for row in rows]
        gaps = [gap_percent(row["short"][name], b) for row, b in zip(rows, best, strict=True) if row["short"][name]]
        spreads[name] = spread = bootstrap(gaps)
        bounds = f"[{spread.low:.2f}, {spread.high:.2f}], worst {max(gaps):.2f} %, n = {spread.n}"
        print(f"{name:6} {spread.value:.2f} % {bounds}")
    good = sum(row["long"]["ours"] <= (row["long"]["pyvrp"] or 1e18) + 1e-9 for row in rows)
    print(f"after {options.seconds:g} CPU-s; our long run is as good as PyVRP's or better in {good} of {len(rows)}")
    raise SystemExit(0 if spreads["ours"].value <= MUST else 1)


if __name__ == "__main__":
    main()
