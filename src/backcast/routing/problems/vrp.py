"""VRPLIB files in and out, parsed here: rows are joined by node number, and what is not understood is refused."""

from pathlib import Path

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.routing.problems.instance import Instance, Metric
from backcast.routing.problems.lines import whole
from backcast.routing.problems.rich import SECTIONS, variant_lines, variant_of
from backcast.routing.problems.sections import Sections, parse
from backcast.routing.problems.weights import measured

KNOWN = {"node_coord", "demand", "depot", "edge_weight", "display_data", *SECTIONS}
KINDS = ("VRP", "CVRP", "DVRP", "DCVRP", "VRPTW", "CVRPTW", "MDVRP", "MDCVRP", "MDVRPTW", "HVRP", "HFVRP", "HFVRPTW")
"""Types of problems whose data are all read here."""
ROUNDING = "edge_weight_rounding"
"""A specification of ours: how EUC_2D is meant where its convention (TSPLIB's; straight for time windows) is not."""
MEANT: dict[str, Metric] = {"NONE": "exact", "NEAREST": "nearest", "TENTH": "tenth"}


def read_vrplib(text: str, path: Path, capacity: int | None = None) -> tuple[Instance, bool]:
    """The instance of a file's text, and whether the file itself says how its distances are rounded.

    Nodes are in the order of their numbers, the depots first; raises BadInput with the line where there is one.
    """
    file = parse(text, path, KNOWN)
    kind = file.said("type", "CVRP")
    if kind not in KINDS:
        raise BadInput(f"{file.where('type')} '{kind}'; solved are {', '.join(KINDS)}")
    nodes = file.nodes()
    coords, metric, matrix = measured(file, nodes)
    demands = _demands(file, nodes)
    depots = file.depots(nodes)
    place = {node: k for k, node in enumerate(nodes)}
    numbers = depots + [node for node in nodes if node not in set(depots)]
    order = np.array([place[node] for node in numbers])
    variant = variant_of(file, nodes, numbers, len(depots), capacity)
    if variant is not None:
        held = max(type.capacity for type in variant.vehicles)
    elif capacity is not None:
        held = capacity
    elif "capacity" not in file.specs:
        raise BadInput(f"{path}: no CAPACITY; write CAPACITY : NUMBER or add --capacity")
    else:
        held = whole(file.specs["capacity"][1], file.where("capacity"))
    if metric == "nearest" and variant is not None and variant.timed:
        metric = "exact"
    instance = Instance(
        file.specs.get("name", (0, ""))[1] or path.stem,
        demands[order],
        held,
        None if coords is None else coords[order],
        _rounding(file, metric),
        None if matrix is None else matrix[np.ix_(order, order)],
        names=tuple(map(str, numbers)),
        variant=variant,
    )
    return instance, ROUNDING in file.specs


def _demands(file: Sections, nodes: list[int]) -> np.ndarray:
    demands = file.joined("demand", 1, nodes)
    rows = file.rows("demand", 1)
    for node, demand in zip(nodes, demands[:, 0].tolist(), strict=True):
        whole(f"{demand:.17g}", f"{file.path}, line {rows[node][0]}: demand of node {node},")
    return demands[:, 0].astype(np.int64)


def _rounding(file: Sections, metric: Metric) -> Metric:
    said = file.said(ROUNDING)
    if not said:
        return metric
    if said not in MEANT or metric not in ("nearest", "exact"):
        raise BadInput(f"{file.where(ROUNDING)} '{said}'; it is one of {', '.join(MEANT)}, beside EUC_2D")
    return MEANT[said]


def write_instance(path: str | Path, instance: Instance) -> None:
    """Writes an instance as VRPLIB so that reading it gives the same costs: coordinates in full, its metric or matrix,
    windows, depots and vehicles (of which any number is there, one a customer).

    Straight distances and DIMACS's tenths are EUC_2D with EDGE_WEIGHT_ROUNDING (ours; EXACT_2D would be another
    problem, a thousand times as long). Names of nodes that are not rising numbers are not held: 1 to N then.
    """
    if instance.id != " ".join(instance.id.split()) or not instance.id:
        raise BadInput(f"the id '{instance.id!r}' cannot stand in a file's NAME line; give another")
    numbers, variant = _numbers(instance), instance.variant
    specs, sections = [f"CAPACITY : {instance.capacity}"], list[str]()
    if variant is not None:
        specs, sections = variant_lines(instance, numbers)
    lines = [
        f"NAME : {instance.id}",
        f"TYPE : {'CVRP' if variant is None else 'VRP'}",
        f"DIMENSION : {len(instance.demands)}",
        *_weight_specs(instance),
        *specs,
        *_places(instance, numbers),
        "DEMAND_SECTION",
        *(f"{k} {demand}" for k, demand in zip(numbers, instance.demands.tolist(), strict=True)),
        *sections,
        "DEPOT_SECTION",
        *(str(number) for number in numbers[: instance.depots]),
        "-1",
        "EOF",
    ]
    write_atomic(Path(path), "\n".join(lines) + "\n")


def _numbers(instance: Instance) -> list[int]:
    """The nodes' names, where they are numbers that are read back in the same order; else 1 to N."""
    names = instance.names
    if names and all(name.isdecimal() and str(int(name)) == name for name in names):
        numbers = [int(name) for name in names]
        rest = numbers[instance.depots :]
        if len(set(numbers)) == len(numbers) and rest == sorted(rest):
            return numbers
    return list(range(1, len(instance.demands) + 1))


def _weight_specs(instance: Instance) -> list[str]:
    timed = instance.variant is not None and instance.variant.timed
    if instance.metric == "matrix":
        display = [] if instance.coords is None else ["DISPLAY_DATA_TYPE : TWOD_DISPLAY"]
        return ["EDGE_WEIGHT_TYPE : EXPLICIT", "EDGE_WEIGHT_FORMAT : FULL_MATRIX", *display]
    if instance.metric in ("floor", "ceil"):
        return [f"EDGE_WEIGHT_TYPE : {instance.metric.upper()}_2D"]
    usual = "exact" if timed else "nearest"
    said = next(word for word, metric in MEANT.items() if metric == instance.metric)
    more = [] if instance.metric == usual else [f"{ROUNDING.upper()} : {said}"]
    return ["EDGE_WEIGHT_TYPE : EUC_2D", *more]


def _places(instance: Instance, numbers: list[int]) -> list[str]:
    found = list[str]()
    if instance.metric == "matrix":
        assert instance.matrix is not None
        # A matrix has no numbers: its rows are the nodes as their numbers rise.
        rising = np.argsort(numbers)
        rows = instance.matrix[np.ix_(rising, rising)].tolist()
        found = ["EDGE_WEIGHT_SECTION", *(" ".join(map(repr, row)) for row in rows)]
    if instance.coords is not None:
        found.append("DISPLAY_DATA_SECTION" if instance.metric == "matrix" else "NODE_COORD_SECTION")
        found += [f"{k} {x!r} {y!r}" for k, (x, y) in zip(numbers, instance.coords.tolist(), strict=True)]
    return found
