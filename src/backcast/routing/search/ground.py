"""From an instance to what the compiled search walks on: neighbour lists and distances, O(N K) memory."""

import numpy as np

from backcast.routing.problems.instance import Instance
from backcast.routing.search.layout import CEIL, EUCLIDEAN, FLOOR, MATRIX, NEAREST, TENTH, Ground

MODES = {"exact": EUCLIDEAN, "nearest": NEAREST, "floor": FLOOR, "ceil": CEIL, "tenth": TENTH, "matrix": MATRIX}
WIDTH = 40
"""Nearest customers beside which an insertion is tried."""


def make_ground(instance: Instance, width: int = WIDTH) -> Ground:
    """The instance with the ``width`` nearest customers of every customer."""
    nodes = instance.size + 1
    width = max(0, min(width, instance.size - 1))
    matrix = instance.matrix if instance.metric == "matrix" else None
    if instance.metric != "matrix":
        assert instance.coords is not None
        near = _near_by_place(instance.coords, width)
    else:
        assert matrix is not None
        near = _near_by_matrix(matrix, width)
    rows = np.repeat(np.arange(nodes)[:, None], width, axis=1)
    everyone = np.arange(nodes)
    return Ground(
        xy=np.ascontiguousarray(instance.coords if instance.coords is not None else np.zeros((nodes, 2)), np.float64),
        matrix=np.ascontiguousarray(matrix if matrix is not None else np.zeros((1, 1)), np.float64),
        mode=MODES[instance.metric],
        demand=np.ascontiguousarray(instance.demands, np.int64),
        capacity=int(instance.capacity),
        near=near,
        gaps=(instance.distances(rows, near) if width else np.zeros((nodes, 0))).astype(np.float32),
        home=instance.distances(everyone, np.zeros(nodes, np.int64)),
        prune=instance.metric == "exact",
    )


def _near_by_place(coords: np.ndarray, width: int) -> np.ndarray:
    from scipy.spatial import cKDTree

    near = np.zeros((len(coords), width), np.uint32)
    if width:
        _, found = cKDTree(coords[1:]).query(coords[1:], k=width + 1)
        near[1:] = without_self(found) + 1
    return near


def _near_by_matrix(matrix: np.ndarray, width: int) -> np.ndarray:
    near = np.zeros((len(matrix), width), np.uint32)
    for node in range(1, len(matrix) if width else 0):
        row = matrix[node, 1:].copy()
        row[node - 1] = np.inf
        near[node] = np.argsort(row, kind="stable")[:width] + 1
    return near


def without_self(found: np.ndarray) -> np.ndarray:
    """Neighbour lists, one longer than wanted, without the node itself; where duplicates pushed it out, without the
    last."""
    own = found == np.arange(len(found))[:, None]
    own[~own.any(axis=1), -1] = True
    kept: np.ndarray = found[~own].reshape(len(found), -1)
    return kept
