"""What an instance may have beyond one depot and one capacity: time windows, several depots, types of vehicles."""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backcast.core.errors import BadInput

if TYPE_CHECKING:
    from backcast.routing.problems.instance import Instance


@dataclass(frozen=True)
class Vehicles:
    """One type of vehicle. A route costs ``fixed`` plus ``unit`` times its length; time passes as length does."""

    capacity: int
    number: int | None = None
    """How many there are; None: as many as are wanted."""
    depot: int = 0
    """Where they start and end."""
    fixed: float = 0.0
    unit: float = 1.0
    most_distance: float = math.inf
    most_duration: float = math.inf
    """From leaving the depot to being back, service and waiting included; the best time of leaving counts."""


@dataclass(frozen=True)
class Variant:
    """Nodes 0 to ``depots`` - 1 are depots, customers come after them."""

    vehicles: tuple[Vehicles, ...]
    depots: int = 1
    windows: NDArray[np.float64] | None = None
    """(nodes, 2): earliest and latest start of service (waiting is free); for a depot, of leaving and being back."""
    service: NDArray[np.float64] | None = None
    """(nodes,): how long a service takes; 0 for depots."""

    def __post_init__(self) -> None:
        for name in ("windows", "service"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, _floats(name, value))
        object.__setattr__(self, "vehicles", tuple(self.vehicles))

    @property
    def timed(self) -> bool:
        """Whether time matters."""
        return self.windows is not None or any(type.most_duration < math.inf for type in self.vehicles)


def _floats(name: str, values: ArrayLike) -> NDArray[np.float64]:
    try:
        return np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise BadInput(f"{name} that are no table of numbers; give an array or lists of one length") from None


def check_variant(instance: "Instance") -> None:
    """Raises BadInput for a variant that no solver could use, with the node or the type that is wrong."""
    variant, where, nodes = instance.variant, instance.id, len(instance.demands)
    assert variant is not None
    if not 1 <= variant.depots <= nodes:
        raise BadInput(f"{where}: {variant.depots} depots among {nodes} nodes; give at least 1, the depots first")
    if instance.demands[: variant.depots].any():
        depot = int(np.argmax(instance.demands[: variant.depots] != 0))
        raise BadInput(f"{where}: depot {instance.name_of(depot)} has demand {instance.demands[depot]}; it must be 0")
    if not variant.vehicles:
        raise BadInput(f"{where}: no vehicles; give at least one type")
    for k, type in enumerate(variant.vehicles, start=1):
        _check_type(where, k, type, variant.depots)
    if variant.windows is not None:
        _check_windows(instance, variant.windows)
    if variant.service is not None:
        bad = ~(np.isfinite(variant.service) & (variant.service >= 0)) | (len(variant.service) != nodes)
        if bad.any() or len(variant.service) != nodes:
            raise BadInput(f"{where}: service times must be {nodes} numbers of at least 0, one a node")
    _check_reach(instance, variant)


def _check_type(where: str, k: int, type: Vehicles, depots: int) -> None:
    if type.capacity < 1 or (type.number is not None and type.number < 1):
        raise BadInput(f"{where}: vehicle type {k}: {type.number} of capacity {type.capacity}; give at least 1 of each")
    if not 0 <= type.depot < depots:
        raise BadInput(f"{where}: vehicle type {k} starts at depot {type.depot + 1}, there are {depots}")
    if not (math.isfinite(type.fixed) and math.isfinite(type.unit)) or min(type.fixed, type.unit) < 0:
        raise BadInput(f"{where}: vehicle type {k} costs {type.fixed} and {type.unit} a unit; give at least 0")
    if not min(type.most_distance, type.most_duration) > 0:
        raise BadInput(
            f"{where}: vehicle type {k} may go {type.most_distance:g} far and {type.most_duration:g} long; "
            "give numbers above 0"
        )


def _check_windows(instance: "Instance", windows: np.ndarray) -> None:
    nodes = len(instance.demands)
    if windows.shape != (nodes, 2):
        raise BadInput(f"{instance.id}: time windows of shape {windows.shape}; give ({nodes}, 2)")
    bad = ~(np.isfinite(windows).all(axis=1) & (windows[:, 0] <= windows[:, 1]))
    if bad.any():
        node = int(np.argmax(bad))
        early, late = windows[node]
        raise BadInput(
            f"{instance.id}: node {instance.name_of(node)} has the time window {early:g} to {late:g}; "
            "it must not close before it opens"
        )


def _check_reach(instance: "Instance", variant: Variant) -> None:
    """Raises BadInput for the first customer that no vehicle could serve even alone."""
    from backcast.routing.fleet import fault_of

    customers = range(variant.depots, len(instance.demands))
    left = list(customers)
    for type in variant.vehicles:
        left = [c for c in left if fault_of(instance, [c], type)]
        if not left:
            return
    said = fault_of(instance, [left[0]], variant.vehicles[0])
    raise BadInput(f"{instance.id}: no vehicle can serve {instance.called(left[0])}: it {said}")
