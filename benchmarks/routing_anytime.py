"""The any-time promises at 10,000 and 20,000 customers: first feasible routes, peak memory, interruption.

First feasible: CPU-seconds from the call until the first routes are heard of, in a fresh process after its imports and
with the compiled code loaded. Memory: the peak of the whole process. Interruption: from SIGINT to the routes' return,
in wall seconds and in CPU-seconds of the process. Medians over the runs.

    scripts/bench benchmarks/routing_anytime.py
    python benchmarks/routing_anytime.py --sizes 10000 20000 --runs 5 --seconds 8
"""

import argparse
import json
import resource
import signal
import subprocess
import sys
import threading
import time
from itertools import pairwise

import numpy as np

from backcast.routing import Settings, faults, solve
from backcast.routing.problems import paper_instance

FIRST = {10_000: 1.0, 20_000: 4.0}
"""CPU-seconds at most until the first feasible routes."""
MEMORY, RETURN = 1024.0, 0.5
"""Megabytes at most at 20,000; seconds at most from the interrupt to the routes."""


def one(size, seconds):
    """A run in this process, interrupted after ``seconds`` of CPU time."""
    instance = paper_instance(size)
    solve(paper_instance(20), settings=Settings(iterations=10))  # loads the compiled code
    heard, sent = [], []

    def interrupt():
        while time.process_time() - begun < seconds:
            time.sleep(0.02)
        sent.extend([time.monotonic(), time.process_time()])
        signal.raise_signal(signal.SIGINT)

    begun = time.process_time()
    threading.Thread(target=interrupt, daemon=True).start()
    found = solve(
        instance, 1e6, Settings(clock="cpu"), lambda best: heard.append((time.process_time() - begun, best.cost))
    )
    wall, cpu = time.monotonic() - sent[0], time.process_time() - sent[1]
    assert found.interrupted
    assert faults(instance, found.routes) == []
    costs = [cost for _, cost in heard]
    assert all(a > b for a, b in pairwise(costs))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"first": heard[0][0], "peak_mb": peak, "wall": wall, "cpu": cpu, "start": costs[0], "end": found.cost}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 20_000])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(int(options.one[0]), float(options.one[1]))))
        return
    missed = 0
    for size in options.sizes:
        rows = []
        for _ in range(options.runs):
            words = [sys.executable, __file__, "--one", str(size), str(options.seconds)]
            ran = subprocess.run(words, capture_output=True, text=True, check=True)
            rows.append(json.loads(ran.stdout.strip().splitlines()[-1]))
        middle = {key: float(np.median([row[key] for row in rows])) for key in rows[0]}
        held = [
            (f"first feasible {middle['first']:.2f} CPU-s", middle["first"] <= FIRST.get(size, 4.0)),
            (f"peak memory {middle['peak_mb']:.0f} MB", middle["peak_mb"] <= MEMORY),
            (f"interrupt to return {middle['wall']:.3f} s ({middle['cpu']:.3f} CPU-s)", middle["wall"] <= RETURN),
        ]
        missed += sum(not ok for _, ok in held)
        said = "; ".join(f"{text} ({'held' if ok else 'MISSED'})" for text, ok in held)
        print(f"{size} customers, n = {len(rows)}: {said}; {middle['start']:.2f} to {middle['end']:.2f}", flush=True)
    raise SystemExit(missed)


if __name__ == "__main__":
    main()
