"""``backcast methods``: the ten papers, and what the tests last showed of each."""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from backcast import recipes
from backcast.cli import tables
from backcast.core.files import code_version


@dataclass(frozen=True)
class Options:
    """The ten papers: where each lives, which recipe runs it, and what the tests last showed of it."""


def main(options: Options) -> list[dict[str, Any]]:
    """One object a method; ``works`` means that it has a recipe and that all of its recorded tests passed.

    ``proved`` lists what passed, ``failed`` what did not, ``untried`` what was not run or could not be, on the machine
    of the record; ``tested`` is the day of the oldest of these results, ``same_code`` whether it was this very code.
    """
    del options
    rows = recorded()
    return [_state(method, [row for row in rows if method.number in row["methods"]]) for method in recipes.METHODS]


def recorded() -> list[dict[str, Any]]:
    """The outcomes that the test suite has left in the package (``scripts/test --record-methods``)."""
    text = (resources.files("backcast.data") / "methods.json").read_text(encoding="utf-8")
    rows: list[dict[str, Any]] = json.loads(text)
    return rows


def _state(method: recipes.Method, rows: list[dict[str, Any]]) -> dict[str, Any]:
    by: dict[str, list[str]] = {"passed": [], "failed": [], "skipped": [], "not run": []}
    for row in rows:
        by[row["outcome"]].append(row["proves"])
    tried = [row for row in rows if row["date"]]
    return {
        "number": method.number,
        "name": method.name,
        "paper": method.paper,
        "room": method.room,
        "recipe": method.recipe,
        "works": method.recipe is not None and bool(by["passed"]) and not by["failed"],
        "proved": by["passed"],
        "failed": by["failed"],
        "untried": by["skipped"] + by["not run"],
        "tested": min((row["date"] for row in tried), default=None),
        "same_code": all(row["code"] == code_version() for row in tried),
    }


def show(result: list[dict[str, Any]]) -> None:
    """Prints them as a table: one line of what the tests showed for each."""
    from rich.table import Table

    table = Table("#", "method", "paper", "backcast run", "shown by its tests", box=None)
    for row in result:
        recipe = row["recipe"] or "not built yet"
        table.add_row(str(row["number"]), row["name"], row["paper"], recipe, line(row))
    out = tables.console()
    out.print(table)
    days = {row["tested"] for row in result if row["tested"]}
    same = "this very code" if all(row["same_code"] for row in result) else "an earlier state of this code"
    out.print(f"oldest result: {min(days, default='none')}, on {same}; scripts/test runs them again", soft_wrap=True)


def line(row: dict[str, Any]) -> str:
    """The state of a method in one line: what failed first, then what was shown, then what was not tried."""
    parts = [f"FAILS: {claim}" for claim in row["failed"]] + row["proved"]
    if row["untried"]:
        parts.append(f"not tried: {', '.join(row['untried'])}")
    return "; ".join(parts) or "nothing shown"
