"""The paper's instances, bit for bit, and the distributions that training draws from."""

import math
from typing import Literal

import numpy as np

from backcast.core.errors import BadInput
from backcast.routing.problems.instance import Instance
from backcast.routing.problems.variant import Variant, Vehicles

CAPACITIES = {20: 20, 200: 100, 1000: 200, 2000: 300, 5000: 300, 7000: 300, 10_000: 300, 20_000: 300}
"""Vehicle capacity by number of customers (2502.08340 and its code; 200 and 20,000 are ours)."""

Distribution = Literal["uniform", "gaussian", "explosion", "rotation"]


def capacity_for(customers: int) -> int:
    """The capacity of the paper's table; between its sizes ceil(30 + N / 5), at most 300."""
    return CAPACITIES.get(customers, min(300, math.ceil(30 + customers / 5)))


def paper_instance(customers: int, index: int = 0, seed: int = 1234, count: int = 100) -> Instance:
    """Instance ``index`` of the paper's test set of a size: NumPy's legacy generator, depots, customers, demands.

    The whole set of ``count`` is drawn and one kept, since demands come after all coordinates.
    """
    if not 0 <= index < count or customers < 0:
        raise BadInput(f"uniform:{customers}:{index}: give at least 0 customers and an index from 0 to {count - 1}")
    draw = np.random.RandomState(seed)
    depots, places = draw.uniform(size=(count, 2)), draw.uniform(size=(count, customers, 2))
    demands = draw.randint(1, 10, (count, customers))
    return Instance(
        f"uniform-{customers}-{index}" + ("" if seed == 1234 else f"-{seed}"),
        np.concatenate([[0], demands[index]]).astype(np.int64),
        capacity_for(customers),
        np.vstack([depots[index : index + 1], places[index]]),
    )


def uniform(customers: int, rng: np.random.Generator, how: Distribution = "uniform", id: str = "drawn") -> Instance:
    """A fresh instance in the unit square, demands 1 to 9; the other distributions push uniform points about.

    "gaussian" draws customers around the centre, "explosion" blows a hole of random centre, "rotation" turns a random
    disc (mutations of Bossek et al. 2019, as used for the paper's out-of-distribution sets; parameters ours).
    """
    coords = rng.random((customers + 1, 2))
    if how == "gaussian":
        coords[1:] = _squared(rng.normal(0.5, 0.17, (customers, 2)))
    elif how == "explosion":
        coords[1:] = _squared(_exploded(coords[1:], rng))
    elif how == "rotation":
        coords[1:] = _squared(_rotated(coords[1:], rng))
    elif how != "uniform":
        raise BadInput(f"unknown distribution '{how}'; known: explosion, gaussian, rotation, uniform")
    demands = np.concatenate([[0], rng.integers(1, 10, customers)])
    return Instance(id, demands.astype(np.int64), capacity_for(customers), coords)


def _exploded(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    centre, radius = rng.uniform(0.25, 0.75, 2), rng.uniform(0.2, 0.4)
    away = points - centre
    far = np.sqrt((away**2).sum(1, keepdims=True)) + 1e-12
    pushed = centre + away / far * (radius + rng.exponential(0.1, far.shape))
    return np.where(far < radius, pushed, points)


def _rotated(points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    angle, low, high = rng.uniform(0, 2 * np.pi), rng.uniform(0.0, 0.4), rng.uniform(0.6, 1.0)
    inside = ((points > low) & (points < high)).all(1, keepdims=True)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.where(inside, points @ turn, points)


def _squared(points: np.ndarray) -> np.ndarray:
    """The points moved and scaled (both axes alike) into the unit square."""
    if not len(points):
        return points
    shifted = points - points.min(0)
    squared: np.ndarray = shifted / max(float(shifted.max()), 1e-12)
    return squared


def windowed(customers: int, rng: np.random.Generator, id: str = "windowed", width: float = 0.2) -> Instance:
    """An instance with time windows, made as Solomon's random ones are: places in a square of side 100, service 10.

    The horizon lets a vehicle serve about ten customers; windows of mean ``width`` (a share of the horizon) lie where a
    customer alone can be served. Demands 1 to 9, capacity 60, any number of vehicles; straight distances.
    """
    coords = rng.random((customers + 1, 2)) * 100
    coords[0] = 50
    horizon, service = 240.0, 10.0
    away = np.sqrt(((coords - coords[0]) ** 2).sum(1))
    low, high = away, horizon - away - service
    centre = low + rng.random(customers + 1) * (high - low)
    half = horizon * width * rng.uniform(0.25, 0.75, customers + 1)
    windows = np.stack([np.maximum(low, centre - half), np.minimum(high, centre + half)], 1)
    windows[0] = (0, horizon)
    times = np.where(np.arange(customers + 1) > 0, service, 0.0)
    demands = np.concatenate([[0], rng.integers(1, 10, customers)]).astype(np.int64)
    return Instance(id, demands, 60, coords, variant=Variant((Vehicles(60),), windows=windows, service=times))
