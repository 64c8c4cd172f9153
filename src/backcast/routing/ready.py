"""The compiled kernels, loaded before a budget begins, so that none pays for it; and word of it when they compile."""

import sys
from pathlib import Path

import numpy as np

from backcast.routing.problems.instance import Instance
from backcast.routing.search import anneal, exact, kernels
from backcast.routing.search.ground import make_ground
from backcast.routing.start import savings, sweep


def warm_up() -> None:
    """Loads (or compiles, and says so on stderr) every kernel on a problem of three customers."""
    if kernels.anneal.signatures:
        return
    if not cached():
        said = "compiling the search (once, about half a minute on an idle core; numba keeps it for later starts)"
        print(said, file=sys.stderr, flush=True)  # noqa: T201
    tiny = Instance("tiny", np.array([0, 1, 1, 1]), 2, np.array([[0.0, 0], [1, 0], [0, 1], [1, 1]]))
    sweep(tiny, 1)
    exact.solve_exactly(make_ground(tiny))
    ground = make_ground(tiny)
    walk = anneal.new_walk(tiny, ground, savings(tiny), 0)
    kernels.close_lightest(ground, walk)
    kernels.shrink(ground, walk, 2, 0.1)
    kernels.anneal(ground, walk, 2, 0.1, 0.1)


def cached() -> bool:
    """Whether numba's cache holds the search already."""
    folder = Path(str(kernels.anneal.stats.cache_path))
    return any(folder.glob("kernels.anneal-*.nbi"))
