"""Instances as a command is given them: read, and what was not believed of the .sol beside them said in a line."""

import re
from dataclasses import replace
from pathlib import Path

from backcast.core.errors import BadInput
from backcast.routing.problems.files import Rounding, read_instance
from backcast.routing.problems.instance import Instance
from backcast.routing.problems.lines import number, read_text
from backcast.routing.results import written_here


def read_given(source: str, capacity: int | None = None, rounding: Rounding = "auto") -> tuple[Instance, list[str]]:
    """An instance, named after its file where it has no name, and notes for the user.

    The .sol file beside it gives no best known cost if it is an earlier result of ours or belongs to another capacity.
    Raises BadInput for files that cannot be read, and for a stated cost that is none.
    """
    path = Path(source)
    if source.startswith("uniform:") or not path.is_file():
        return read_instance(source, capacity, rounding), []
    solution, note, known = path.with_suffix(".sol"), "", True
    if solution.is_file():
        note = _unsuited(path, solution, capacity)
        known = not note
    stated = _stated_cost(solution) if known and solution.is_file() else None
    instance = read_instance(path, capacity, rounding, known=known)
    if not instance.id.strip():
        instance = replace(instance, id=path.stem)
    if stated is not None and rounding == "auto" and _contradicted(instance, stated):
        found = f"{instance.best_known:,.10g}"
        note = f"{solution} states cost {stated:,.10g}, but its routes cost {found}: the gap is to {found}"
    return instance, [note] if note else []


def _unsuited(path: Path, solution: Path, capacity: int | None) -> str:
    """Why a .sol file gives no best known cost; empty if it may."""
    if written_here(solution):
        return f"{solution} is an earlier result of route solve, no best known: no gap"
    if capacity is None or path.suffix.lower() == ".csv":
        return ""
    try:
        stated = read_instance(path, known=False).capacity
    except BadInput:
        return ""
    if stated == capacity:
        return ""
    return f"{solution} is for the capacity {stated} of the file, not for --capacity {capacity}: no gap"


def _stated_cost(solution: Path) -> float | None:
    found = re.search(r"^\s*cost\b\s*:?\s*(\S+)", read_text(solution), re.IGNORECASE | re.MULTILINE)
    if found is None:
        return None
    stated = number(found[1], f"{solution}: cost")
    if stated < 0:
        raise BadInput(f"{solution}: cost {found[1]} is below 0; correct it or leave the file out")
    return stated


def _contradicted(instance: Instance, stated: float) -> bool:
    slack = 0.5 if instance.metric in ("nearest", "floor", "ceil") else 0.01 + 1e-6 * stated
    return instance.best_known is not None and abs(instance.best_known - stated) > slack
