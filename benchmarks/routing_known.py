"""Files with best known solutions (CVRPLIB's X and Belgian sets): our gap after so many CPU-seconds, over seeds.

Costs are recomputed by our checker in the file's convention (rounded distances); one thread; CPU-seconds of the
process. A demand is the room's: Leuven1 1.5 % in 15 s, Antwerp1 1.0 % in 60 s, X-n1001-k43 1.2 % in 30 s. Resumable.

    python benchmarks/routing_known.py DIR/X-n1001-k43.vrp --seconds 30 --seeds 0 1 2
    python benchmarks/routing_known.py DIR/Leuven1.vrp DIR/Antwerp1.vrp --seconds 15 60
"""

import argparse
import json
from pathlib import Path

from backcast.core.files import code_version, write_json
from backcast.core.stats import bootstrap
from backcast.routing import Settings, gap_percent, solve
from backcast.routing.problems import read_instance

MUST = {("Leuven1", 15.0): 1.5, ("Antwerp1", 60.0): 1.0, ("X-n1001-k43", 30.0): 1.2}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--seconds", type=float, nargs="+", default=[15.0], help="one for all files, or one a file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path, default=Path("routing-known.json"))
    options = parser.parse_args()
    budgets = options.seconds * len(options.files) if len(options.seconds) == 1 else options.seconds
    rows = json.loads(options.out.read_text())["rows"] if options.out.is_file() else []
    missed = 0
    for path, seconds in zip(options.files, budgets, strict=True):
        instance = read_instance(path)
        gaps = []
        for seed in options.seeds:
            key = [path.stem, seconds, seed]
            if not any(row["key"] == key for row in rows):
                found = solve(instance, seconds, Settings(seed=seed, clock="cpu"))
                gap = gap_percent(found.cost, instance.best_known)
                rows.append({"key": key, "cost": found.cost, "gap": gap, "cpu_seconds": found.cpu_seconds})
                write_json(options.out, {"code": code_version(), "rows": rows})
            gaps.append(next(row["gap"] for row in rows if row["key"] == key))
            print(f"{path.stem}, {seconds:g} CPU-s, seed {seed}: {gaps[-1]:.2f} %", flush=True)
        spread, must = bootstrap(gaps), MUST.get((path.stem, seconds))
        ok = must is None or spread.value <= must
        missed += not ok
        bounds = "" if spread.low is None else f" [{spread.low:.2f}, {spread.high:.2f}]"
        demand = "" if must is None else f", must be {must} % or less: {'held' if ok else 'MISSED'}"
        print(f"{path.stem}: {spread.value:.2f} %{bounds} above {instance.best_known:g}, n = {spread.n} seeds{demand}")
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
