"""Instance: one capacitated vehicle routing problem, checked when it is made."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backcast.core.errors import BadInput
from backcast.core.problem import Score
from backcast.routing.problems.variant import Variant, check_variant

Metric = Literal["exact", "nearest", "floor", "ceil", "tenth", "matrix"]
"""Straight distances as they are, rounded to the nearest integer, down, up, or down to a tenth; or a matrix."""

SYMMETRIC = 1e-9
"""A matrix whose directions differ by more (relatively) is refused: tours here have no direction."""


@dataclass(frozen=True)
class Instance:
    """A depot, customers with demands, one capacity, any number of equal vehicles; least total length is wanted.

    Node 0 is the depot, customers are 1 to N; ``variant`` adds windows, depots and types of vehicles, then customers
    come after all depots. Making one raises BadInput for values that no solver could use.
    """

    id: str
    demands: NDArray[np.int64]
    """(N + 1,): whole numbers of at least 0; the depot's is 0."""
    capacity: int
    coords: NDArray[np.float64] | None = None
    """(N + 1, 2); None for an instance that has a matrix only."""
    metric: Metric = "exact"
    """The measure that is optimised."""
    matrix: NDArray[np.float64] | None = None
    """(N + 1, N + 1), symmetric; only with the metric "matrix"."""
    names: tuple[str, ...] = field(default=(), repr=False)
    """What the nodes are called in their file; empty: their numbers."""
    best_known: float | None = None
    """Cost of the best known solution, in the metric's convention."""
    variant: Variant | None = None
    """None: plain capacitated routing. With one, ``capacity`` is the largest of its vehicles'."""

    def __post_init__(self) -> None:
        _check(self)

    @property
    def size(self) -> int:
        """Number of customers."""
        return len(self.demands) - self.depots

    @property
    def depots(self) -> int:
        """Number of depots: the first nodes."""
        return 1 if self.variant is None else self.variant.depots

    @property
    def least_vehicles(self) -> int:
        """Vehicles that the total demand needs at least."""
        return -(-int(self.demands.sum()) // self.capacity)

    def name_of(self, node: int) -> str:
        """What a node is called in its file."""
        return self.names[node] if self.names else str(node)

    def distances(self, i: ArrayLike, j: ArrayLike, metric: Metric | None = None) -> NDArray[np.float64]:
        """Distances between nodes ``i`` and ``j`` (arrays of one shape), in the instance's measure or another."""
        how = metric or self.metric
        a, b = np.asarray(i, np.int64), np.asarray(j, np.int64)
        if how == "matrix" or self.coords is None:
            assert self.matrix is not None
            return self.matrix[a, b]
        return rounded(np.sqrt(((self.coords[a] - self.coords[b]) ** 2).sum(axis=-1)), how)

    def score(self, outcome: "list[list[int]]") -> Score:
        """The cost of routes beside the best known; raises BadInput for routes that do not solve the problem."""
        from backcast.routing.score import cost, require_feasible

        require_feasible(self, outcome)
        return Score(cost(self, outcome), {"vehicles": float(len(outcome))}, self.best_known)


def rounded(distances: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Distances by the metric's rule; "nearest" is TSPLIB's EUC_2D: the integer part of d + 0.5; "tenth" DIMACS's for
    time windows: one decimal, cut off."""
    if metric == "nearest":
        return np.floor(distances + 0.5)
    if metric == "floor":
        return np.floor(distances)
    if metric == "tenth":
        return np.floor(10 * distances) / 10
    return np.ceil(distances) if metric == "ceil" else distances


def _check(instance: Instance) -> None:
    where, demands = instance.id, instance.demands
    if instance.capacity < 1:
        raise BadInput(f"{where}: capacity {instance.capacity}; give a whole number of at least 1")
    if demands.ndim != 1 or len(demands) == 0:
        raise BadInput(f"{where}: no depot; the first node must be the depot")
    if demands[0] != 0:
        raise BadInput(f"{where}: the depot has demand {demands[0]}; it must be 0")
    if (demands < 0).any():
        node = int(np.argmax(demands < 0))
        raise BadInput(f"{where}: customer {instance.name_of(node)} has demand {demands[node]}; it must be at least 0")
    if (demands > instance.capacity).any():
        node = int(np.argmax(demands > instance.capacity))
        raise BadInput(
            f"{where}: customer {instance.name_of(node)} has demand {demands[node]}, more than the capacity "
            f"{instance.capacity}; split it or use larger vehicles"
        )
    if instance.metric == "matrix":
        _check_matrix(instance)
    elif instance.coords is None:
        raise BadInput(f"{where}: neither coordinates nor a matrix; give one of them")
    if instance.coords is not None:
        _check_coords(instance)
    if instance.variant is not None:
        check_variant(instance)


def _check_coords(instance: Instance) -> None:
    coords = instance.coords
    assert coords is not None
    if coords.shape != (len(instance.demands), 2):
        raise BadInput(f"{instance.id}: {len(coords)} coordinates for {len(instance.demands)} nodes; give one a node")
    bad = ~np.isfinite(coords).all(axis=1)
    if bad.any():
        node = int(np.argmax(bad))
        x, y = coords[node]
        raise BadInput(f"{instance.id}: node {instance.name_of(node)} lies at ({x}, {y}); give finite coordinates")


def _check_matrix(instance: Instance) -> None:
    matrix, nodes = instance.matrix, len(instance.demands)
    if matrix is None or matrix.shape != (nodes, nodes):
        shape = None if matrix is None else matrix.shape
        raise BadInput(f"{instance.id}: a distance matrix of shape {shape} for {nodes} nodes; give ({nodes}, {nodes})")
    if not np.isfinite(matrix).all() or (matrix < 0).any():
        i, j = np.argwhere(~np.isfinite(matrix) | (matrix < 0))[0]
        raise BadInput(f"{instance.id}: distance {matrix[i, j]} from node {i} to {j}; give finite ones of at least 0")
    uneven = np.abs(matrix - matrix.T) > SYMMETRIC * (1 + np.abs(matrix))
    if uneven.any():
        i, j = np.argwhere(uneven)[0]
        raise BadInput(
            f"{instance.id}: distance {i} to {j} is {matrix[i, j]:g} but back {matrix[j, i]:g}; only symmetric "
            "matrices are solved here"
        )
