"""Instances and solutions in files: VRPLIB and Solomon's format (read through ``vrplib``), and CSV."""

import csv
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backcast.core.errors import BadInput, nearest
from backcast.core.files import write_atomic
from backcast.routing.problems.generate import paper_instance
from backcast.routing.problems.instance import Instance, Metric
from backcast.routing.problems.lines import number, read_text, whole
from backcast.routing.problems.rich import SECTIONS, is_solomon, read_solomon, variant_lines, variant_of
from backcast.routing.results import written_here
from backcast.routing.score import cost, faults, require_feasible

Rounding = Literal["auto", "none", "nearest", "floor", "ceil", "tenth"]

METRICS: dict[str, Metric] = {"EUC_2D": "nearest", "CEIL_2D": "ceil", "FLOOR_2D": "floor", "EXPLICIT": "matrix"}
SCALED = "EXACT_2D"
"""DIMACS's type: straight distances times 1000, rounded; read as coordinates times 1000."""
KNOWN = {"node_coord", "demand", "depot", "edge_weight", "display_data", *SECTIONS}
COLUMNS = ("x", "y", "demand")


def read_instance(
    source: str | Path, capacity: int | None = None, rounding: Rounding = "auto", known: bool = True
) -> Instance:
    """An instance from a .vrp file, a file in Solomon's format, a .csv file (``id,x,y,demand``, the depot first; needs
    ``capacity``), or ``uniform:N[:index]``, the paper's test set.

    ``rounding`` "auto" takes the file's convention: EUC_2D is rounded to the nearest integer as in TSPLIB and CVRPLIB,
    except where time matters, which is straight, as are CSV and Solomon's format; a ``.sol`` beside the file whose
    stated cost only straight distances (or DIMACS's tenths) give decides. It also gives the best known cost, unless it
    is an earlier result of ``route solve``, or ``known`` is false. Raises BadInput, with the line where there is one.
    """
    text = str(source)
    if text.startswith("uniform:"):
        return _generated(text)
    path = Path(source)
    if not path.is_file():
        raise BadInput(f"no such file: '{path}'; give a .vrp, .txt (Solomon) or .csv file, or uniform:1000:0")
    if path.suffix.lower() == ".csv":
        instance = _read_csv(path, capacity)
    else:
        text = read_text(path)
        instance = read_solomon(text, path, capacity) if is_solomon(text) else _read_vrplib(text, path, capacity)
    if rounding != "auto" and instance.metric != "matrix":
        instance = replace(instance, metric="exact" if rounding == "none" else rounding)
    beside = path.with_suffix(".sol")
    if not known or not beside.is_file() or written_here(beside):
        return instance
    return _with_best_known(instance, beside, rounding == "auto")


def _generated(text: str) -> Instance:
    try:
        numbers = [int(part) for part in text.split(":")[1:]]
        size, index = (*numbers, 0)[:2] if 1 <= len(numbers) <= 2 else (-1, 0)
    except ValueError:
        size, index = -1, 0
    if size < 0:
        raise BadInput(f"'{text}': write uniform:N or uniform:N:INDEX, as in uniform:1000:0")
    return paper_instance(size, index)


def _read_csv(path: Path, capacity: int | None) -> Instance:
    if capacity is None:
        raise BadInput(f"{path}: a CSV file holds no capacity; add --capacity NUMBER")
    reader = csv.reader(io.StringIO(read_text(path)))
    head = [name.strip().lower() for name in next(reader, [])]
    for column in COLUMNS:
        if column not in head:
            raise BadInput(f"{path}, line 1: no column '{column}' in '{','.join(head)}'; the header is id,x,y,demand")
    names: dict[str, int] = {}
    rows: list[tuple[float, float, int]] = []
    for row in reader:
        if not any(cell.strip() for cell in row):
            continue
        line = reader.line_num
        if len(row) != len(head):
            raise BadInput(f"{path}, line {line}: {len(row)} cells, the header has {len(head)}; complete the line")
        cells = dict(zip(head, row, strict=True))
        name = cells.get("id", str(len(rows))).strip()
        if name in names:
            raise BadInput(f"{path}, line {line}: id '{name}' was on line {names[name]} already; give each its own")
        names[name] = line
        x, y = (number(cells[key], f"{path}, line {line}: {key}") for key in ("x", "y"))
        rows.append((x, y, whole(cells["demand"], f"{path}, line {line}: demand")))
    if not rows:
        raise BadInput(f"{path}: no depot; the first line after the header is the depot")
    table = np.array(rows, np.float64)
    return Instance(path.stem, table[:, 2].astype(np.int64), capacity, table[:, :2], names=tuple(names))


def _read_vrplib(text: str, path: Path, capacity: int | None) -> Instance:
    from vrplib.parse import parse_vrplib

    _check_sections(text, path)
    try:
        found: dict[str, Any] = parse_vrplib(text, compute_edge_weights=False)
    except (ValueError, RuntimeError, KeyError, IndexError, TypeError) as error:
        said = " ".join(str(error).split()) or type(error).__name__
        raise BadInput(f"{path}: not a VRPLIB file ({said}); see the file's sections") from None
    kind = str(found.get("edge_weight_type", "EUC_2D"))
    if kind not in METRICS and kind != SCALED:
        raise BadInput(f"{path}: edge weight type '{kind}'{nearest(kind, [*METRICS, SCALED])}")
    nodes = _dimension(found, path)
    order, depots = _depots_first(found, nodes, path)
    variant = variant_of(found, order, depots, capacity, path)
    held = capacity if capacity is not None else found.get("capacity")
    if variant is not None:
        held = max(type.capacity for type in variant.vehicles)
    if not isinstance(held, int | float) or held != int(held):
        raise BadInput(f"{path}: capacity '{held}' is not a whole number; write CAPACITY : NUMBER or add --capacity")
    demands = _column(found, "demand", nodes, path)
    if (demands != np.floor(demands)).any():
        node = int(np.argmax(demands != np.floor(demands)))
        raise BadInput(f"{path}: node {node + 1} has demand {demands[node]}, not a whole number; scale the demands")
    coords = _column(found, "node_coord", nodes, path) if "node_coord" in found else None
    coords = _column(found, "display_data", nodes, path) if coords is None and "display_data" in found else coords
    matrix = np.asarray(found["edge_weight"], np.float64) if kind == "EXPLICIT" and "edge_weight" in found else None
    if coords is not None:
        coords = coords.astype(np.float64)[order] * (1000.0 if kind == SCALED else 1.0)
    metric: Metric = "nearest" if kind == SCALED else METRICS[kind]
    return Instance(
        str(found.get("name", path.stem)),
        demands.astype(np.int64)[order],
        int(held),
        coords,
        "exact" if metric == "nearest" and variant is not None and variant.timed else metric,
        None if matrix is None else matrix[np.ix_(order, order)] if matrix.shape == (nodes, nodes) else matrix,
        variant=variant,
    )


def _check_sections(text: str, path: Path) -> None:
    """Raises BadInput for an unknown section, a number twice in one, a line that is too short, or a file cut short."""
    section, seen, width = "", dict[str, int](), 0
    for at, line in enumerate(text.splitlines(), start=1):
        words = line.split()
        if not words or "EOF" in line:
            continue
        if "_SECTION" in line:
            section, seen, width = words[0].strip(":").removesuffix("_SECTION").lower(), {}, 0
            if section not in KNOWN:
                raise BadInput(f"{path}, line {at}: unknown section '{words[0]}'{nearest(section, KNOWN)}")
        elif section not in ("", "depot", "edge_weight"):
            width = width or len(words)
            if len(words) != width:
                raise BadInput(f"{path}, line {at}: {len(words)} values where {width} stood before: '{line.strip()}'")
            if words[0] in seen:
                raise BadInput(f"{path}, line {at}: node {words[0]} was on line {seen[words[0]]} already")
            seen[words[0]] = at
            for word in words[1:]:
                number(word, f"{path}, line {at}:")


def _dimension(found: dict[str, Any], path: Path) -> int:
    nodes = found.get("dimension")
    if not isinstance(nodes, int) or nodes < 1:
        raise BadInput(f"{path}: dimension '{nodes}'; write DIMENSION : NUMBER of nodes, the depot counted")
    return nodes


def _column(found: dict[str, Any], name: str, nodes: int, path: Path) -> np.ndarray:
    rows = np.atleast_1d(np.asarray(found.get(name, ()), np.float64))
    rows = rows.reshape(nodes, -1) if nodes == 1 and name != "demand" else rows
    if len(rows) != nodes:
        last = len(path.read_text(encoding="utf-8-sig").splitlines())
        raise BadInput(
            f"{path}, line {last}: {name.upper()}_SECTION ends after {len(rows)} of {nodes} nodes; is the file whole?"
        )
    return rows


def _depots_first(found: dict[str, Any], nodes: int, path: Path) -> tuple[np.ndarray, int]:
    """The nodes' order with the depots in front, and how many those are."""
    depots = np.atleast_1d(found.get("depot", np.array([0])))
    if len(depots) == 0:
        raise BadInput(f"{path}: no depot in DEPOT_SECTION; write its number, then -1")
    for depot in depots.tolist():
        if not 0 <= depot < nodes:
            raise BadInput(f"{path}: depot {depot + 1} is none of the {nodes} nodes")
    if len(set(depots.tolist())) < len(depots):
        raise BadInput(f"{path}: a depot stands twice in DEPOT_SECTION; name each once")
    rest = np.setdiff1d(np.arange(nodes), depots)
    return np.concatenate([depots, rest]).astype(np.int64), len(depots)


def read_solution(path: str | Path, instance: Instance) -> list[list[int]]:
    """The routes of a .sol file; raises BadInput unless they solve the instance."""
    routes, _ = _solution(Path(path))
    require_feasible(instance, routes, str(path))
    return routes


def _solution(path: Path) -> tuple[list[list[int]], float | None]:
    from vrplib.parse import parse_solution

    if not path.is_file():
        raise BadInput(f"no such file: '{path}'; give a .sol file")
    try:
        found: dict[str, Any] = parse_solution(read_text(path))
    except (ValueError, IndexError) as error:
        raise BadInput(
            f"{path}: not a solution file ({error}); its lines are 'Route #1: 4 2 7' and 'Cost 123'"
        ) from None
    stated = found.get("cost")
    return found["routes"], float(stated) if isinstance(stated, int | float) else None


def _with_best_known(instance: Instance, path: Path, auto: bool) -> Instance:
    routes, stated = _solution(path)
    if not routes:
        return replace(instance, best_known=stated)
    if auto and stated is not None and instance.metric in ("nearest", "exact") and instance.coords is not None:
        instance = _in_stated_metric(instance, routes, stated)
    require_feasible(instance, routes, str(path))
    return replace(instance, best_known=cost(instance, routes))


def _in_stated_metric(instance: Instance, routes: list[list[int]], stated: float) -> Instance:
    """The instance in the one measure of its kind that gives the stated cost, where its own does not."""
    others: list[Metric] = ["exact"] if instance.variant is None else ["exact", "tenth", "nearest"]
    for metric in (instance.metric, *others):
        tried = replace(instance, metric=metric)
        slack = 0.5 if metric == "nearest" else 0.01 + 1e-6 * stated
        if not faults(tried, routes) and abs(cost(tried, routes) - stated) <= slack:
            return tried
    return instance


def write_solution(path: str | Path, routes: Sequence[Sequence[int]], cost: float) -> None:
    """Writes routes as a .sol file (VRPLIB): ``Route #k: customers``, then the cost."""
    lines = [f"Route #{k}: {' '.join(map(str, route))}" for k, route in enumerate(routes, start=1)]
    shown = f"{cost:.0f}" if cost == int(cost) else f"{cost:.6f}"
    write_atomic(Path(path), "\n".join([*lines, f"Cost {shown}"]) + "\n")


def write_instance(path: str | Path, instance: Instance) -> None:
    """Writes an instance with coordinates as VRPLIB (EUC_2D), a variant with its sections."""
    if instance.coords is None:
        raise BadInput(f"{instance.id}: an instance without coordinates is not written; keep its file")
    specs, sections = [f"CAPACITY : {instance.capacity}"], list[str]()
    if instance.variant is not None:
        specs, sections = variant_lines(instance)
    lines = [
        f"NAME : {instance.id}",
        f"TYPE : {'CVRP' if instance.variant is None else 'VRP'}",
        f"DIMENSION : {len(instance.demands)}",
        "EDGE_WEIGHT_TYPE : EUC_2D",
        *specs,
        "NODE_COORD_SECTION",
        *(f"{k} {x!r} {y!r}" for k, (x, y) in enumerate(instance.coords.tolist(), start=1)),
        "DEMAND_SECTION",
        *(f"{k} {demand}" for k, demand in enumerate(instance.demands.tolist(), start=1)),
        *sections,
        "DEPOT_SECTION",
        *(str(depot + 1) for depot in range(instance.depots)),
        "-1",
        "EOF",
    ]
    write_atomic(Path(path), "\n".join(lines) + "\n")
