"""``backcast route solve``: good routes for many customers, at any time."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from backcast.cli import tables
from backcast.cli.route.needs import require_routing
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Solve:
    """Good routes for many customers, at any time: cost, gap, .sol file, picture, trace. Ctrl-C returns the best so
    far."""

    files: Positional[tuple[str, ...]]
    """.vrp files (VRPLIB: also time windows, several depots, types of vehicles), .txt files in Solomon's format, .csv
    files (id,x,y,demand, the depot first), or uniform:N:INDEX, an instance of the paper's test set."""
    seconds: float | None = None
    """For each file (default 10 where no --iterations are given)."""
    iterations: int | None = None
    """Of the engine, for each file; with it alone the same command gives the same routes."""
    jobs: int = 1
    """Workers."""
    engine: str = "auto"
    """sisr (the room's own search), pyvrp, exact (groups of up to 12 customers), or policy (pairs by the local
    policy); auto: sisr, or pyvrp for time windows, several depots and types of vehicles."""
    policy: str = ""
    """Folder of policies that route train wrote, for --engine policy and --start policy."""
    start: str = "auto"
    """savings, sweep, pyvrp (its first feasible routes), policy (the global one), or a .sol file; auto: savings, or
    pyvrp where the engine has to be."""
    group: int = 6
    """Neighbouring routes solved together by the engines pyvrp and exact."""
    capacity: int | None = None
    """Of a vehicle, for CSV files; in place of the file's own for others."""
    rounding: Literal["auto", "none", "nearest", "floor", "ceil", "tenth"] = "auto"
    """How distances are rounded; auto: as the file's convention says."""
    seed: int = 0
    out: Path = Path("runs/route-solve")
    """Folder for NAME.sol, NAME.svg, NAME.trace.svg and NAME.json."""


def solve(options: Solve) -> list[dict[str, Any]]:
    """Answers ``backcast route solve``: one object a file."""
    require_routing()
    from backcast.routing.hlgp import Settings
    from backcast.routing.problems import read_instance

    if not options.files:
        raise BadInput("no instance; give .vrp, .txt or .csv files, or uniform:1000:0")
    settings = Settings(
        engine=options.engine,  # type: ignore[arg-type]  # checked by Settings
        start=options.start,
        iterations=options.iterations,
        jobs=options.jobs,
        seed=options.seed,
        group=2 if options.engine == "policy" else options.group,
        policy=options.policy,
    )
    instances = [read_instance(file, options.capacity, options.rounding) for file in options.files]
    return [_one(instance, options, settings) for instance in instances]


def _one(instance: Any, options: Solve, settings: Any) -> dict[str, Any]:
    from backcast.core.files import write_json
    from backcast.core.progress import Progress
    from backcast.routing import hlgp
    from backcast.routing.problems import write_solution
    from backcast.routing.score import cost, faults, gap_percent

    budget = options.seconds or (10.0 if options.iterations is None else 0.0)
    with Progress(instance.id, max(1, round(budget))) as bar:

        def tell(found: hlgp.Found) -> None:
            gap = gap_percent(found.cost, instance.best_known)
            more = {} if gap is None else {"gap": f"{gap:.2f}%"}
            bar.advance(max(0, int(found.elapsed) - bar.done), cost=f"{found.cost:,.6g}", **more)

        found = hlgp.solve(instance, options.seconds, settings, tell)
    base = options.out / instance.id.replace("/", "-")
    write_solution(base.with_name(base.name + ".sol"), found.routes, found.cost)
    pictures = _pictures(base, instance, found)
    result = {
        "instance": instance.id,
        "cost": cost(instance, found.routes, None if instance.metric in ("matrix", "tenth") else "exact"),
        "cost_rounded": None if instance.metric == "matrix" else cost(instance, found.routes, "nearest"),
        "metric": instance.metric,
        "feasible": not faults(instance, found.routes),
        "vehicles": len(found.routes),
        "seconds": round(found.seconds, 3),
        "cpu_seconds": round(found.cpu_seconds, 3),
        "best_known": instance.best_known,
        "gap": gap_percent(found.cost, instance.best_known),
        "start_cost": found.start_cost,
        "iterations": found.iterations,
        "interrupted": found.interrupted,
        "trace": [[round(t, 4), c] for t, c in found.trace],
        "solution": str(base.with_name(base.name + ".sol")),
        "pictures": pictures,
    }
    write_json(base.with_name(base.name + ".json"), result)
    return result


def _pictures(base: Path, instance: Any, found: Any) -> list[str]:
    """The routes of the start, of early levels and of the end; cost against time."""
    from backcast.core.files import write_atomic
    from backcast.routing.draw import levels_picture, trace_picture

    pictures = {".trace.svg": trace_picture({instance.id: found.trace}, "Cost against time", instance.best_known)}
    if instance.coords is not None and found.routes:
        pictures[".svg"] = levels_picture(instance, found.levels)
    for suffix, text in pictures.items():
        write_atomic(base.with_name(base.name + suffix), text)
    return [str(base.with_name(base.name + suffix)) for suffix in pictures]


def show_solve(result: list[dict[str, Any]]) -> None:
    """Prints a line for each instance and where its files are."""
    from rich.table import Table

    table = Table("instance", box=None)
    for name in ("start", "cost", "best known", "gap", "vehicles", "seconds"):
        table.add_column(name, justify="right")
    for row in result:
        shown = row["cost"] if row["metric"] in ("exact", "matrix", "tenth") else row["cost_rounded"]
        best = "unknown" if row["best_known"] is None else f"{row['best_known']:,.6g}"
        gap = "not measured" if row["gap"] is None else f"{row['gap']:.2f} %"
        stopped = " (stopped)" if row["interrupted"] else ""
        cells = (f"{row['start_cost']:,.6g}", f"{shown:,.6g}", best, gap, str(row["vehicles"]))
        table.add_row(row["instance"] + stopped, *cells, f"{row['seconds']:.1f}")
    out = tables.console()
    out.print(table)
    for row in result:
        out.print(f"{row['solution']}, {', '.join(Path(picture).name for picture in row['pictures'])}", soft_wrap=True)
