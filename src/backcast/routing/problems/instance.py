"""Instance: one capacitated vehicle routing problem, checked when it is made."""

import functools
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backcast.core.errors import BadInput
from backcast.core.problem import Score
from backcast.routing.problems.lines import LARGEST
from backcast.routing.problems.variant import Variant, check_variant

Metric = Literal["exact", "nearest", "floor", "ceil", "tenth", "matrix"]
"""Straight distances as they are, rounded to the nearest integer, down, up, or down to a tenth; or a matrix."""

FARTHEST = 1e12
"""Coordinates and distances up to which squares and sums keep their precision."""
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
    """What the nodes are called in their file (VRPLIB: mostly one more than in routes); empty: as in routes."""
    best_known: float | None = None
    """Cost of the best known solution, in the metric's convention."""
    variant: Variant | None = None
    """None: plain capacitated routing. With one, ``capacity`` is the largest of its vehicles'."""

    def __post_init__(self) -> None:
        # Lists and arrays of other types become what the fields say; a frozen dataclass has no other way.
        put = functools.partial(object.__setattr__, self)
        put("demands", _whole_numbers(self.id, self.demands))
        put("capacity", _capacity(self.id, self.capacity))
        put("coords", None if self.coords is None else floats(self.id, "coordinates", self.coords))
        put("matrix", None if self.matrix is None else floats(self.id, "a matrix", self.matrix))
        put("names", tuple(self.names))
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
        """What a node is called in its file, as errors about the file say it."""
        return self.names[node] if self.names else str(node)

    def called(self, customer: int) -> str:
        """A customer's number in routes, and what its node is called where that is something else."""
        name = self.name_of(customer)
        return f"customer {customer}" if name == str(customer) else f"customer {customer} (node {name})"

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


def floats(where: str, name: str, values: ArrayLike) -> NDArray[np.float64]:
    """Numbers as an array; raises BadInput for what is none."""
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise BadInput(f"{where}: {name} that are no table of numbers; give an array or lists of one length") from None


def _whole_numbers(where: str, values: ArrayLike) -> NDArray[np.int64]:
    if isinstance(values, np.ndarray) and values.dtype == np.int64:
        return values
    found = floats(where, "demands", values)
    odd = ~(np.abs(found) <= LARGEST) | (found != np.floor(found))
    if odd.any():
        node = int(np.argmax(odd))
        raise BadInput(
            f"{where}: demand {found.flat[node]:g} (number {node}) is not a whole number up to 2**53; scale "
            "demands and capacity alike"
        )
    return found.astype(np.int64)


def _capacity(where: str, value: object) -> int:
    if isinstance(value, int | float | np.number) and 1 <= value <= LARGEST and value == int(value):
        return int(value)
    raise BadInput(f"{where}: capacity {value}; give a whole number of at least 1 (and at most 2**53)")


def _check(instance: Instance) -> None:
    where, demands, known = instance.id, instance.demands, get_args(Metric)
    if instance.metric not in known:
        raise BadInput(f"{where}: metric '{instance.metric}'; it is one of {', '.join(known)}")
    if demands.ndim != 1 or len(demands) == 0:
        raise BadInput(f"{where}: no depot; the first node must be the depot")
    if demands[0] != 0:
        raise BadInput(f"{where}: the depot (node {instance.name_of(0)}) has demand {demands[0]}; it must be 0")
    if (demands < 0).any():
        node = int(np.argmax(demands < 0))
        raise BadInput(f"{where}: node {instance.name_of(node)} has demand {demands[node]}; it must be at least 0")
    if (demands > instance.capacity).any():
        node = int(np.argmax(demands > instance.capacity))
        raise BadInput(
            f"{where}: node {instance.name_of(node)} has demand {demands[node]}, more than the capacity "
            f"{instance.capacity}; split it or use larger vehicles"
        )
    if instance.names and len(instance.names) != len(demands):
        raise BadInput(f"{where}: {len(instance.names)} names for {len(demands)} nodes; give one a node, or none")
    if float(demands.sum(dtype=np.float64)) > LARGEST:
        raise BadInput(f"{where}: the demands sum to more than {LARGEST}; scale demands and capacity alike")
    if instance.metric == "matrix":
        _check_matrix(instance)
    elif instance.coords is None:
        said = "neither coordinates nor a matrix; give one of them"
        said = said if instance.matrix is None else 'a matrix, but another metric; say metric="matrix"'
        raise BadInput(f"{where}: {said}")
    if instance.coords is not None:
        _check_coords(instance)
    if instance.variant is not None:
        check_variant(instance)


def _check_coords(instance: Instance) -> None:
    coords = instance.coords
    assert coords is not None
    if coords.shape != (len(instance.demands), 2):
        raise BadInput(
            f"{instance.id}: coordinates of shape {coords.shape} for {len(instance.demands)} nodes; give "
            f"({len(instance.demands)}, 2)"
        )
    bad = ~(np.abs(coords) <= FARTHEST).all(axis=1)
    if bad.any():
        node = int(np.argmax(bad))
        x, y = coords[node]
        raise BadInput(
            f"{instance.id}: node {instance.name_of(node)} lies at ({x}, {y}); give finite "
            f"coordinates, at most {FARTHEST:g}"
        )


def _check_matrix(instance: Instance) -> None:
    matrix, nodes = instance.matrix, len(instance.demands)
    if matrix is None or matrix.shape != (nodes, nodes):
        shape = None if matrix is None else matrix.shape
        raise BadInput(f"{instance.id}: a distance matrix of shape {shape} for {nodes} nodes; give ({nodes}, {nodes})")
    bad = ~((matrix >= 0) & (matrix <= FARTHEST))
    if bad.any():
        i, j = np.argwhere(bad)[0].tolist()
        raise BadInput(
            f"{instance.id}: distance {matrix[i, j]} from node {instance.name_of(i)} to {instance.name_of(j)}; give "
            f"finite ones of at least 0, at most {FARTHEST:g}"
        )
    uneven = np.abs(matrix - matrix.T) > SYMMETRIC * (1 + np.abs(matrix))
    if uneven.any():
        i, j = np.argwhere(uneven)[0].tolist()
        raise BadInput(
            f"{instance.id}: distance from node {instance.name_of(i)} to {instance.name_of(j)} is "
            f"{matrix[i, j]:g} but back {matrix[j, i]:g}; only symmetric "
            "matrices are solved here"
        )
