"""Does choosing groups by predicted gain help? Levels around the circle against it, equal PyVRP iterations, paired.

Generated instances (another seed than any test set's), sweep start, PyVRP inside groups. Both arms see the same
instances and seeds; a budget is in PyVRP iterations, so load on the machine does not matter.

    python benchmarks/effects/routing_choice.py --size 300 --instances 6 --seeds 0 1 --budgets 6000 15000
"""

import argparse
import json
from pathlib import Path

import numpy as np

from backcast.core.files import code_version, write_json
from backcast.core.stats import paired
from backcast.routing import Settings, solve
from backcast.routing.problems import uniform


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=300)
    parser.add_argument("--instances", type=int, default=6)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--budgets", type=int, nargs="+", default=[6000, 15000])
    parser.add_argument("--group", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path("routing-choice.json"))
    options = parser.parse_args()
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    for budget in options.budgets:
        costs = {"circle": [], "gain": []}
        for index in range(options.instances):
            instance = uniform(options.size, np.random.default_rng([909, index]))
            for choose, found in costs.items():
                values = []
                for seed in options.seeds:
                    key = [choose, options.size, options.group, index, seed, budget]
                    if not any(row["key"] == key for row in rows):
                        given = {"engine": "pyvrp", "start": "sweep", "group": options.group, "iterations": budget}
                        result = solve(instance, settings=Settings(choose=choose, seed=seed, **given))
                        row = {"key": key, "cost": result.cost, "cpu_seconds": result.cpu_seconds}
                        rows.append({**row, "iterations": result.iterations})
                        write_json(options.out, {"code": code_version(), "rows": rows})
                    values.append(next(row["cost"] for row in rows if row["key"] == key))
                found.append(float(np.mean(values)))
        ratio = [100 * (g - c) / c for g, c in zip(costs["gain"], costs["circle"], strict=True)]
        spread = paired(ratio, [0.0] * len(ratio))
        used = {
            c: np.mean([r["cpu_seconds"] for r in rows if r["key"][0] == c and r["key"][-1] == budget]) for c in costs
        }
        told = f"{budget} iterations, {options.size} customers, groups of {options.group}"
        print(
            f"{told}: circle {np.mean(costs['circle']):.3f} ({used['circle']:.1f} CPU-s), gain "
            f"{np.mean(costs['gain']):.3f} ({used['gain']:.1f} CPU-s): {spread.value:+.2f} % "
            f"[{spread.low:+.2f}, {spread.high:+.2f}], n = {spread.n} instances of {len(options.seeds)} seeds",
            flush=True,
        )


if __name__ == "__main__":
    main()
