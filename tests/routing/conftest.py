"""Shared by the tests of this room: small instances, and plain-loop oracles."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from backcast.routing.problems import Instance

ROOT = Path(__file__).parents[2]


def made(coords, demands, capacity, **more):
    """An instance from lists, the depot first."""
    return Instance("made", np.array([0, *demands]), capacity, np.array(coords, np.float64), **more)


def plain_cost(instance, routes):
    """The total length by a plain loop over coordinates."""
    total = 0.0
    for route in routes:
        stops = [0, *route, 0]
        for a, b in itertools.pairwise(stops):
            total += float(np.hypot(*(instance.coords[a] - instance.coords[b])))
    return total


def brute_force(instance):
    """The cheapest routes of a tiny instance: all orders, all ways to cut them."""
    best = np.inf
    customers = range(1, instance.size + 1)
    for order in itertools.permutations(customers):
        for cuts in itertools.product([False, True], repeat=instance.size - 1):
            routes, last = [[order[0]]], 0
            for k, cut in enumerate(cuts, start=1):
                if cut:
                    routes.append([])
                routes[-1].append(order[k])
            if all(instance.demands[route].sum() <= instance.capacity for route in routes):
                best = min(best, plain_cost(instance, routes))
            del last
    return best


def random_instance(rng, size, routes=2.5):
    """Uniform points with demands 1 to 9 and room for about so many routes; duplicates and the depot's place occur."""
    coords = rng.integers(0, 12, (size + 1, 2)) / 12.0
    demands = rng.integers(1, 10, size)
    capacity = int(max(demands.max(initial=1), np.ceil(demands.sum() / routes)))
    return made(coords, demands, capacity)


@pytest.fixture(scope="session")
def tools():
    """The oracles and makers above."""

    class Tools:
        pass

    for function in (made, plain_cost, brute_force, random_instance):
        setattr(Tools, function.__name__, staticmethod(function))
    return Tools
