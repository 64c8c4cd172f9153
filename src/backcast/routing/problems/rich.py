"""Variants in files: the sections of VRPLIB that PyVRP's instances use, Solomon's (and Gehring and Homberger's) format.

Solomon's tables and VRPLIB's sections are parsed by ``vrplib``; what they mean, and what is wrong with them, is said
here. Times are in units of distance, as both formats have it.
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
    found: dict[str, Any], order: np.ndarray, depots: int, capacity: int | None, path: Path
) -> Variant | None:
    """The variant that parsed VRPLIB data describe, its nodes in ``order``; None for plain instances.

    Read are time windows, service times, DISTANCE (the longest a route may take, service included), and vehicles by
    capacity, depot, costs and limits. VEHICLES alone does not make a variant: CVRPLIB leaves the number free.
    """
    special = [key for key in PER_VEHICLE if key != "capacity" and key in found]
    mixed = isinstance(found.get("capacity"), np.ndarray)
    longest = found.get("distance", 0)
    timed = "time_window" in found or (isinstance(longest, int | float) and 0 < longest < math.inf)
    if not (timed or special or mixed or depots > 1):
        return None
    columns = {name: _per_vehicle(found, key, path) for key, name in PER_VEHICLE.items()}
    lengths = {len(columns[name] or ()) for key, name in PER_VEHICLE.items() if isinstance(found.get(key), np.ndarray)}
    if capacity is not None:
        columns["capacity"] = [float(capacity)]
    count = found.get("vehicles")
    if count is not None and (not isinstance(count, int) or count < 1):
        raise BadInput(f"{path}: VEHICLES '{count}'; write a whole number of at least 1")
    if lengths - {count} and (count is not None or len(lengths) > 1):
        raise BadInput(f"{path}: sections for {', '.join(map(str, sorted(lengths)))} vehicles, VEHICLES says {count}")
    count = count if count is not None else next(iter(lengths), None)
    if depots > 1 and count is not None and columns["depot"] is None:
        raise BadInput(f"{path}: {depots} depots and {count} vehicles; say whose they are: VEHICLES_DEPOT_SECTION")
    if columns["most_duration"] is None and 0 < longest < math.inf:
        columns["most_duration"] = [float(longest)]
    vehicles = _types(columns, count, {int(node): k for k, node in enumerate(order)}, depots, path)
    return Variant(vehicles, depots, _windows(found, order, path), _service(found, order, depots, path))


def _per_vehicle(found: dict[str, Any], key: str, path: Path) -> list[float] | None:
    if key not in found:
        return None
    value = found[key]
    values = np.atleast_1d(value) if isinstance(value, int | float | np.ndarray) else None
    if values is None or values.ndim != 1 or not np.issubdtype(values.dtype, np.number):
        raise BadInput(f"{path}: {key.upper()} '{value}' is not one number a vehicle; correct it")
    return [float(one) for one in values]


def _types(
    columns: dict[str, list[float] | None], count: int | None, place: dict[int, int], depots: int, path: Path
) -> tuple[Vehicles, ...]:
    """Vehicles that are alike in all columns are one type."""
    if columns["capacity"] is None:
        raise BadInput(f"{path}: no CAPACITY; write CAPACITY : NUMBER or a CAPACITY_SECTION")
    given = {name: values for name, values in columns.items() if values is not None}
    if count is None:
        rows = [{name: values[0] for name, values in given.items()} | {"depot": float(k + 1)} for k in range(depots)]
    else:
        rows = [{name: values[k if len(values) > 1 else 0] for name, values in given.items()} for k in range(count)]
    types = []
    for row, alike in Counter(tuple(sorted(row.items())) for row in rows).items():
        values = {name: math.inf if name.startswith("most") and value >= FAR else value for name, value in row}
        depot = int(values.pop("depot", 1.0)) - 1
        where = f"{path}: a vehicle's capacity"
        held = whole(f"{values.pop('capacity'):.17g}", where)
        at = depot if count is None else place.get(depot, -1)
        if not 0 <= at < depots:
            raise BadInput(f"{path}: a vehicle starts at node {depot + 1}, which is no depot; see DEPOT_SECTION")
        types.append(Vehicles(held, None if count is None else alike, at, **values))
    return tuple(types)


def _windows(found: dict[str, Any], order: np.ndarray, path: Path) -> np.ndarray | None:
    if "time_window" not in found:
        return None
    windows: np.ndarray = np.asarray(found["time_window"], np.float64)
    if windows.shape != (len(order), 2):
        raise BadInput(
            f"{path}: TIME_WINDOW_SECTION of shape {windows.shape}; give {len(order)} lines: node early late"
        )
    return windows.take(order, axis=0)


def _service(found: dict[str, Any], order: np.ndarray, depots: int, path: Path) -> np.ndarray | None:
    if "service_time" not in found:
        return None
    value = found["service_time"]
    if isinstance(value, int | float):
        return np.where(np.arange(len(order)) < depots, 0.0, number(str(value), f"{path}: SERVICE_TIME"))
    times: np.ndarray = np.asarray(value, np.float64)
    if times.shape != (len(order),):
        raise BadInput(f"{path}: SERVICE_TIME_SECTION for {len(times)} of {len(order)} nodes; is the file whole?")
    return times.take(order)


def variant_lines(instance: Instance) -> tuple[list[str], list[str]]:
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
                values = [depot + 1 for depot in values]
            shown = [value if math.isfinite(value) else FAR for value in values]
            sections += [f"{section.upper()}_SECTION", *(f"{k} {value!r}" for k, value in enumerate(shown, start=1))]
    if variant.windows is not None:
        rows = enumerate(variant.windows.tolist(), start=1)
        sections += ["TIME_WINDOW_SECTION", *(f"{k} {early!r} {late!r}" for k, (early, late) in rows)]
    if variant.service is not None:
        times = enumerate(variant.service.tolist(), start=1)
        sections += ["SERVICE_TIME_SECTION", *(f"{k} {time!r}" for k, time in times)]
    return specs, sections
