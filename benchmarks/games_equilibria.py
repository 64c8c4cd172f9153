"""Certified equilibria of the prisoner's dilemma with memory: continuation for K = 2 and 3, enumeration for K = 1.

The peer is sgamesolver 1.0.2's QRE homotopy on the same lifted games, its answers certified by our exact best
responses. It does not install beside numpy 2, so it runs in an environment of its own (numpy 1.26.4, pandas < 2.3,
Cython < 3.1, ``--no-build-isolation``), named by ``--peer``: the path of that environment's Python. Without it the
figures recorded earlier are printed for comparison, and no ratio is claimed.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np

from backcast.games.equilibrium import Table, continuation, lift, pure_profiles
from backcast.games.problems import load_game

RECORDED = {2: 0.16, 3: 6.9}
MUST = {2: 1.0, 3: 10.0}
MUST_EPS, MUST_ENUMERATION = 1e-9, 10.0
ONE = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
PEER = """
import json, sys, time
import numpy as np
import sgamesolver
given = np.load(sys.argv[1])
before = time.process_time()
game = sgamesolver.SGame(list(given["payoff"]), list(given["transition"]), float(given["discount"]))
homotopy = sgamesolver.homotopy.QRE(game)
homotopy.solver_setup()
homotopy.solver.verbose = 0
homotopy.solve()
seconds = time.process_time() - before
print(json.dumps([seconds, homotopy.equilibrium.strategies.tolist()]))
"""


def ours(memory):
    """CPU-seconds and the path."""
    before = time.process_time()
    table = Table(lift(load_game("ipd"), memory), 0.9)
    path = continuation(table, [np.full((table.size, k), 1 / k) for k in table.sizes])
    return time.process_time() - before, path


def peer(python, memory):
    """CPU-seconds of the peer (its game object included, ours is not) and our certificate of its answer."""
    game = lift(load_game("ipd"), memory)
    size, shape = len(game.states), (len(game.states), *game.sizes)
    kernel = np.zeros((size * game.joint, size))
    kernel[np.repeat(np.arange(size * game.joint), np.diff(game.indptr)), game.next_state] = game.kernel
    payoff = np.moveaxis(game.payoff.reshape(2, *shape), 0, 1)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "game.npz"
        np.savez(file, payoff=payoff, transition=kernel.reshape(*shape, size), discount=0.9)
        done = subprocess.run([python, "-c", PEER, file], capture_output=True, text=True, check=True, env=ONE)
    seconds, strategies = json.loads(done.stdout.strip().splitlines()[-1])
    profile = [np.nan_to_num(np.array(strategies)[:, i, :k]) for i, k in enumerate(game.sizes)]
    return seconds, Table(game, 0.9).certify(profile)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--peer", default="", help="the Python of an environment with sgamesolver")
    options = parser.parse_args()
    failed = False
    for memory, recorded in RECORDED.items():
        found = [ours(memory) for _ in range(options.rounds)]
        seconds, path = statistics.median(one[0] for one in found), found[0][1]
        eps = path.certificate.eps_all
        print(
            f"QRE K = {memory}: {seconds:.2f} CPU-s (at most {MUST[memory]:.0f}), eps_all {eps:.1e}, {path.steps} steps"
        )
        if options.peer:
            runs = [peer(options.peer, memory) for _ in range(options.rounds)]
            theirs, certificate = statistics.median(one[0] for one in runs), runs[0][1]
            print(f"sgamesolver: {theirs:.2f} CPU-s, eps_all {certificate.eps_all:.1e}; ratio {theirs / seconds:.2f}")
        else:
            print(f"sgamesolver, recorded earlier: {recorded} s; give --peer to run it here")
        failed |= seconds > MUST[memory] or eps > MUST_EPS
    before = time.process_time()
    found = [p for p in pure_profiles(load_game("ipd"), 1, ".9") if p.certificate.eps_start == 0]
    seconds = time.process_time() - before
    print(f"1024 pairs in fractions: {seconds:.2f} CPU-s (at most {MUST_ENUMERATION:.0f}), {len(found)} found")
    raise SystemExit(failed or seconds > MUST_ENUMERATION or len(found) != 22)


if __name__ == "__main__":
    main()
