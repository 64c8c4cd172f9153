"""Variants in files: the sections of VRPLIB that PyVRP's instances use, Solomon's (and Gehring and Homberger's) format.

Solomon's tables are parsed by ``vrplib``; what they mean, and what is wrong with them, is said here. Times are in units
of distance, as both formats have it.
"""

import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from backcast.core.errors import BadInput
from backcast.routing.problems.instance import Instance
from backcast.routing.problems.lines import number, whole
from backcast.routing.problems.sections import Sections
from backcast.routing.problems.variant import Variant, Vehicles

SECTIONS = {
    "time_window",
    "service_time",
    "capacity",
    "vehicles_depot",
    "vehicles_fixed_cost",
    "vehicles_unit_distance_cost",
    "vehicles_max_distance",
    "vehicles_max_duration",
}
"""Of VRPLIB, beyond those of plain instances."""
PER_VEHICLE = {
    "capacity": "capacity",
    "vehicles_depot": "depot",
    "vehicles_fixed_cost": "fixed",
    "vehicles_unit_distance_cost": "unit",
    "vehicles_max_distance": "most_distance",
    "vehicles_max_duration": "most_duration",
}
HEAD = re.compile(r"^\s*CUST\b", re.MULTILINE)
FAR = 1e12
"""What stands in a file for no limit."""
NAMES = ("number", "x", "y", "demand", "ready time", "due date", "service time")


def is_solomon(text: str) -> bool:
    """Whether a text has the table head of Solomon's format."""
    return HEAD.search(text) is not None and "_SECTION" not in text


def read_solomon(text: str, path: Path, capacity: int | None = None) -> Instance:
    """An instance in Solomon's format: straight distances, one type of vehicle, as many as the file says."""
    from vrplib.parse import parse_solomon

    _check_rows(text, path)
    try:
        found: dict[str, Any] = parse_solomon(text, compute_edge_weights=False)
    except (RuntimeError, ValueError, IndexError) as error:
        raise BadInput(f"{path}: {error} It has a name, VEHICLE, its numbers, CUSTOMER and a table") from None
    held = capacity if capacity is not None else int(found["capacity"])
    variant = Variant(
        (Vehicles(held, int(found["vehicles"])),),
        windows=found["time_window"].astype(np.float64),
        service=found["service_time"].astype(np.float64),
    )
    coords = found["node_coord"].astype(np.float64)
    return Instance(str(found["name"]).strip(), found["demand"].astype(np.int64), held, coords, variant=variant)


def _check_rows(text: str, path: Path) -> None:
    """Raises BadInput for a line of the table that is not seven whole numbers, the first counting up from 0."""
    table, rows = False, 0
    for line_number, line in enumerate(text.splitlines(), start=1):
        words, where = line.split(), f"{path}, line {line_number}"
        if table and words and not line.lstrip().startswith("#"):
            if len(words) != len(NAMES):
                raise BadInput(f"{where}: {len(words)} values, a customer has {len(NAMES)}: '{line.strip()}'")
            for name, word in zip(NAMES, words, strict=True):
                whole(word, f"{where}: {name}")
            if int(float(words[0])) != rows:
                raise BadInput(f"{where}: number {words[0]} where {rows} should come; the depot is 0, then count on")
            if any("." in word or "e" in word.lower() for word in words):
                raise BadInput(f"{where}: '{line.strip()}'; the format holds whole numbers without a point")
            rows += 1
        elif HEAD.match(line):
            table = True
    if rows == 0:
        raise BadInput(f"{path}: no depot; the table's first line, number 0, is the depot")


def variant_of(
    file: Sections, nodes: list[int], numbers: list[int], depots: int, capacity: int | None
) -> Variant | None:
    """The variant that a VRPLIB file describes, its nodes in the order of ``numbers``; None for plain instances.

    Read are time windows, service times, DISTANCE (the longest a route may take, service included), and vehicles by
    capacity, depot, costs and limits. VEHICLES alone does not make a variant: CVRPLIB leaves the number free.
    """
    special = [key for key in PER_VEHICLE if key != "capacity" and (key in file.specs or key in file.sections)]
    longest = number(file.specs["distance"][1], file.where("distance")) if "distance" in file.specs else 0.0
    if longest < 0:
        raise BadInput(f"{file.where('distance')} '{longest:g}'; give a number above 0, or leave it out")
    timed = "time_window" in file.sections or longest > 0
    count = whole(file.specs["vehicles"][1], file.where("vehicles")) if "vehicles" in file.specs else None
    if count is not None and count < 1:
        raise BadInput(f"{file.where('vehicles')} '{count}'; write a whole number of at least 1")
    if not (timed or special or "capacity" in file.sections or depots > 1):
        return None
    columns = {name: _per_vehicle(file, key) for key, name in PER_VEHICLE.items()}
    lengths = {len(columns[name] or ()) for key, name in PER_VEHICLE.items() if key in file.sections}
    if capacity is not None:
        columns["capacity"] = [float(capacity)]
    if lengths - {count} and (count is not None or len(lengths) > 1):
        said = "" if count is None else f", VEHICLES says {count}"
        raise BadInput(f"{file.path}: sections for {', '.join(map(str, sorted(lengths)))} vehicles{said}")
    count = count if count is not None else next(iter(lengths), None)
    if depots > 1 and count is not None and columns["depot"] is None:
        raise BadInput(f"{file.path}: {depots} depots and {count} vehicles; say whose they are: VEHICLES_DEPOT_SECTION")
    if columns["most_duration"] is None and longest > 0:
        columns["most_duration"] = [longest]
    order = np.array([nodes.index(depot) for depot in numbers[:depots]] + _rest(nodes, numbers[:depots]))
    vehicles = _types(columns, count, {node: k for k, node in enumerate(numbers[:depots])}, file.path)
    windows = file.joined("time_window", 2, nodes)[order] if "time_window" in file.sections else None
    return Variant(vehicles, depots, windows, _service(file, nodes, order, depots))


def _rest(nodes: list[int], depots: list[int]) -> list[int]:
    return [k for k, node in enumerate(nodes) if node not in set(depots)]


def _per_vehicle(file: Sections, key: str) -> list[float] | None:
    """A number for each vehicle, or one for all; None where the file says nothing."""
    if key in file.sections:
        rows = file.rows(key, 1, "vehicle")
        if missing := set(range(1, len(rows) + 1)) - set(rows):
            section = file.sections[key]
            raise BadInput(
                f"{file.path}, line {section.last}: {section.title} has no vehicle {min(missing)}; number them from 1"
            )
        return [rows[k][1][0] for k in sorted(rows)]
    return [number(file.specs[key][1], file.where(key))] if key in file.specs else None


def _types(
    columns: dict[str, list[float] | None], count: int | None, place: dict[int, int], path: Path
) -> tuple[Vehicles, ...]:
    """Vehicles that are alike in all columns are one type; ``place`` are the depots' node numbers and places."""
    if columns["capacity"] is None:
        raise BadInput(f"{path}: no CAPACITY; write CAPACITY : NUMBER or a CAPACITY_SECTION")
    given = {name: values for name, values in columns.items() if values is not None}
    if count is None:
        rows = [{name: values[0] for name, values in given.items()} | {"depot": float(node)} for node in place]
    else:
        rows = [{name: values[k if len(values) > 1 else 0] for name, values in given.items()} for k in range(count)]
    types = []
    for row, alike in Counter(tuple(sorted(row.items())) for row in rows).items():
        values = {name: math.inf if name.startswith("most") and value >= FAR else value for name, value in row}
        depot = values.pop("depot", float(next(iter(place))))
        held = whole(f"{values.pop('capacity'):.17g}", f"{path}: a vehicle's capacity")
        if depot not in place:
            raise BadInput(f"{path}: a vehicle starts at node {depot:g}, which is no depot; see DEPOT_SECTION")
        types.append(Vehicles(held, None if count is None else alike, place[int(depot)], **values))
    return tuple(types)


def _service(file: Sections, nodes: list[int], order: np.ndarray, depots: int) -> np.ndarray | None:
    if "service_time" in file.sections:
        times: np.ndarray = file.joined("service_time", 1, nodes)[order, 0]
        return times
    if "service_time" not in file.specs:
        return None
    time = number(file.specs["service_time"][1], file.where("service_time"))
    return np.where(np.arange(len(nodes)) < depots, 0.0, time)


def variant_lines(instance: Instance, numbers: list[int]) -> tuple[list[str], list[str]]:
    """A variant as specifications and as sections of VRPLIB; vehicles of which any number is there as one a customer,
    unless all are alike and every depot has them."""
    variant = instance.variant
    assert variant is not None
    specs, sections = [f"CAPACITY : {instance.capacity}"], list[str]()
    if variant.vehicles != tuple(Vehicles(instance.capacity, None, k) for k in range(variant.depots)):
        everyone = [type for type in variant.vehicles for _ in range(type.number or instance.size)]
        specs = [f"VEHICLES : {len(everyone)}"]
        for section, name in PER_VEHICLE.items():
            values = [getattr(type, name) for type in everyone]
            if name == "depot":
                values = [numbers[depot] for depot in values]
            shown = [value if math.isfinite(value) else FAR for value in values]
            sections += [f"{section.upper()}_SECTION", *(f"{k} {value!r}" for k, value in enumerate(shown, start=1))]
    if variant.windows is not None:
        rows = zip(numbers, variant.windows.tolist(), strict=True)
        sections += ["TIME_WINDOW_SECTION", *(f"{k} {early!r} {late!r}" for k, (early, late) in rows)]
    if variant.service is not None:
        times = zip(numbers, variant.service.tolist(), strict=True)
        sections += ["SERVICE_TIME_SECTION", *(f"{k} {time!r}" for k, time in times)]
    return specs, sections
