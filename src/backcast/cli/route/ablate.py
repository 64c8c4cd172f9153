"""``backcast route ablate``: what start, levels and sub-solver bring, in one table."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tyro.conf import Positional

from backcast.cli import tables
from backcast.cli.route.needs import require_routing
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Ablate:
    """Start x levels x sub-solver on the same instances, one table."""

    files: Positional[tuple[str, ...]] = ("uniform:200:0", "uniform:200:1", "uniform:200:2", "uniform:200:3")
    """.vrp or .csv files, or uniform:N:INDEX."""
    starts: tuple[str, ...] = ("sweep", "savings")
    """sweep, savings, policy (trained), random (the untrained control)."""
    solvers: tuple[str, ...] = ("pyvrp", "sisr")
    """pyvrp, sisr, policy (trained), random (the untrained control)."""
    levels: int = 5
    """Levels over pairs."""
    policy: str = ""
    """Folder that route train wrote."""
    iterations: int = 300
    """Of PyVRP on each pair, and of the own search in hundreds."""
    capacity: int | None = None
    """Of a vehicle, for CSV files; in place of the file's own for others."""
    seed: int = 0
    out: Path | None = None
    """Also write the table here as JSON."""


def ablate(options: Ablate) -> list[dict[str, Any]]:
    """Answers ``backcast route ablate``: one object a cell."""
    require_routing()
    from backcast.core.files import write_json
    from backcast.routing.ablate import ablate as measure
    from backcast.routing.given import read_given
    from backcast.routing.ready import warm_up

    if options.levels < 0 or options.iterations < 1:
        raise BadInput(f"levels {options.levels}, iterations {options.iterations}; give at least 0 and 1")
    instances = [read_given(file, options.capacity)[0] for file in options.files]
    warm_up()
    given = (options.starts, options.solvers, options.levels, options.policy, options.iterations, options.seed)
    rows = [asdict(row) for row in measure(instances, *given)]
    if options.out is not None:
        write_json(options.out, rows)
    return rows


def show_ablate(result: list[dict[str, Any]]) -> None:
    """Prints a line for each start and sub-solver, a column for each level."""
    from rich.table import Table

    levels = sorted({row["level"] for row in result})
    table = Table("start", "sub-solver", box=None)
    for level in levels:
        table.add_column(f"level {level}", justify="right")
    table.add_column("CPU-s", justify="right")
    for start, solver in dict.fromkeys((row["start"], row["solver"]) for row in result):
        cells = [row for row in result if (row["start"], row["solver"]) == (start, solver)]
        table.add_row(start, solver, *(f"{row['cost']:.3f}" for row in cells), f"{cells[-1]['cpu_seconds']:.2f}")
    out = tables.console()
    out.print(table)
    out.print(f"mean costs over {result[0]['n']} instances; --json has their intervals")
