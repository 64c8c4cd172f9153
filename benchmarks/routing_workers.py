"""One worker against two at equal wall time: the cost after so many seconds, mean over seeds.

The one benchmark of the room on wall time, since that is what workers are for: run it on a machine with two idle cores.
The order of the arms alternates.

    python benchmarks/routing_workers.py --sizes 2000 5000 --seconds 10 --seeds 5
"""

import argparse
from pathlib import Path

from backcast.core.files import code_version, write_json
from backcast.core.stats import paired
from backcast.routing import Settings, faults, solve
from backcast.routing.problems import paper_instance


def one(size, seed, jobs, seconds):
    """A run of an instance (the seed is also its number)."""
    instance = paper_instance(size, seed)
    found = solve(instance, seconds, Settings(seed=seed, jobs=jobs))
    assert faults(instance, found.routes) == []
    return {"size": size, "seed": seed, "jobs": jobs, "cost": found.cost, "seconds": found.seconds}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 5000])
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("routing-workers.json"))
    options = parser.parse_args()
    for jobs in (1, 2):
        solve(paper_instance(1000), 1.0, Settings(jobs=jobs))  # loads the compiled code
    rows, missed = [], 0
    for size in options.sizes:
        for seed in range(options.seeds):
            for jobs in (1, 2) if seed % 2 else (2, 1):
                rows.append(one(size, seed, jobs, options.seconds))
                write_json(options.out, {"code": code_version(), "seconds": options.seconds, "rows": rows})
        costs = {jobs: [r["cost"] for r in rows if (r["size"], r["jobs"]) == (size, jobs)] for jobs in (1, 2)}
        by = [100 * (two - one) / one for one, two in zip(costs[1], costs[2], strict=True)]
        spread = paired(by, [0.0] * len(by))
        missed += spread.value > 0
        means = " and ".join(f"{sum(c) / len(c):.3f} with {jobs}" for jobs, c in sorted(costs.items()))
        bounds = "" if spread.low is None else f" [{spread.low:.2f}, {spread.high:.2f}]"
        print(f"{size} customers, {options.seconds:g} s: {means}; ", end="")
        print(f"two workers {spread.value:+.2f} %{bounds}, n = {len(by)}")
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
