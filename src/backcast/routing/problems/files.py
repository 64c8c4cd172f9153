"""Instances and solutions in files: VRPLIB, Solomon's format, CSV, and .sol."""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.routing.problems.generate import paper_instance
from backcast.routing.problems.instance import Instance, Metric
from backcast.routing.problems.lines import number, read_text, whole
from backcast.routing.problems.rich import is_solomon, read_solomon
from backcast.routing.problems.vrp import read_vrplib
from backcast.routing.results import written_here
from backcast.routing.score import cost, faults, require_feasible

Rounding = Literal["auto", "none", "nearest", "floor", "ceil", "tenth"]

COLUMNS = ("x", "y", "demand")
LIMITS = re.compile(
    r"(ready|due|service|(time[ _]?)?window|tw|earl(y|iest)|lat(e|est)|opens?|closes?|deadline)"
    r"[ _]?(time|date)?(?![a-z])"
)
"""Columns that a table cannot hold, and that must not be passed over: they look like time windows."""
ROUTE = re.compile(r"\s*route\s*#?\s*\w*\s*:(.*)", re.IGNORECASE)
COST = re.compile(r"\s*cost\s*:?\s*(\S+)\s*$", re.IGNORECASE)


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
    if path.is_dir():
        raise BadInput(f"'{path}' is a folder; give a .vrp, .txt (Solomon) or .csv file of it")
    if not path.is_file():
        raise BadInput(f"no such file: '{path}'; give a .vrp, .txt (Solomon) or .csv file, or uniform:1000:0")
    try:
        instance, settled = _read(path, capacity)
    except BadInput as error:
        said = str(error)
        raise (error if str(path) in said else BadInput(f"{path}: {said}")) from None
    if rounding != "auto" and instance.metric != "matrix":
        instance = replace(instance, metric="exact" if rounding == "none" else rounding)
    beside = path.with_suffix(".sol")
    if not known or not beside.is_file() or written_here(beside):
        return instance
    return _with_best_known(instance, beside, rounding == "auto" and not settled)


def _read(path: Path, capacity: int | None) -> tuple[Instance, bool]:
    """The instance, and whether the file itself settles how distances are rounded."""
    if path.suffix.lower() == ".csv":
        return _read_csv(path, capacity), False
    text = read_text(path)
    return (read_solomon(text, path, capacity), False) if is_solomon(text) else read_vrplib(text, path, capacity)


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
    _check_head(head, path)
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


def _check_head(head: list[str], path: Path) -> None:
    """Raises BadInput for a table's header that lacks a column, has one twice, or one that may not be passed over."""
    where, shown = f"{path}, line 1:", ",".join(head)
    if not any(head):
        raise BadInput(f"{where} no header; it is id,x,y,demand")
    for separator, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars")):
        if len(head) == 1 and separator in head[0]:
            raise BadInput(f"{where} the columns are separated by {name}; write commas, and decimals with a point")
    for column in COLUMNS:
        if column not in head:
            raise BadInput(f"{where} no column '{column}' in '{shown}'; the header is id,x,y,demand")
    for column in head:
        if column in (*COLUMNS, "id") and head.count(column) > 1:
            raise BadInput(f"{where} column '{column}' stands twice; keep one of them")
        if LIMITS.match(column):
            raise BadInput(
                f"{where} column '{column}' looks like a time window, which a table does not hold; write a VRPLIB file "
                "(TIME_WINDOW_SECTION) or Solomon's format, or drop the column"
            )


def read_solution(path: str | Path, instance: Instance) -> list[list[int]]:
    """The routes of a .sol file; raises BadInput unless they solve the instance."""
    routes, _ = _solution(Path(path))
    _require_solved(instance, routes, Path(path))
    return routes


def _solution(path: Path) -> tuple[list[list[int]], float | None]:
    """The routes and the stated cost of a file; other lines beside routes are passed over."""
    if not path.is_file():
        raise BadInput(f"no such file: '{path}'; give a .sol file")
    routes, stated = list[list[int]](), None
    for at, line in enumerate(read_text(path).splitlines(), start=1):
        if route := ROUTE.match(line):
            routes.append([whole(word, f"{path}, line {at}: customer") for word in route[1].split()])
        elif said := COST.match(line):
            stated = number(said[1], f"{path}, line {at}: cost")
    if not routes and stated is None:
        raise BadInput(f"{path}: not a solution file; its lines are 'Route #1: 4 2 7' and 'Cost 123'")
    return routes, stated


def _with_best_known(instance: Instance, path: Path, auto: bool) -> Instance:
    routes, stated = _solution(path)
    if auto and stated is not None and instance.metric in ("nearest", "exact") and instance.coords is not None:
        instance = _in_stated_metric(instance, routes, stated)
    _require_solved(instance, routes, path)
    return replace(instance, best_known=cost(instance, routes))


def _require_solved(instance: Instance, routes: list[list[int]], path: Path) -> None:
    if not routes and instance.size:
        raise BadInput(f"{path}: no routes; write lines like 'Route #1: 4 2 7', or take the file away")
    require_feasible(instance, routes, str(path))


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
