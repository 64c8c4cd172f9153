"""``backcast route solve``: good routes for many customers, at any time."""

import math
import sys
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tyro.conf import Positional

from backcast.cli import tables
from backcast.cli.route.needs import require_routing
from backcast.core.errors import BadInput


@dataclass(frozen=True)
class Solve:
    """Good routes for many customers, at any time; Ctrl-C returns the best so far.

    Writes .sol file, figures, pictures, trace; files that are there already and no earlier results stay.
    """

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
    """Folder for NAME.sol, NAME.svg, NAME.trace.svg, NAME.json, and NAME.routes.csv where customers have ids
    (a table's, or a VRPLIB file's node numbers)."""

    @staticmethod
    def exit_code(result: list[dict[str, Any]]) -> int:
        """130 (interrupted) where files were left that no search had begun on."""
        return 130 if any(row["not_begun"] for row in result) else 0


def solve(options: Solve) -> list[dict[str, Any]]:
    """Answers ``backcast route solve``: one object a file."""
    require_routing()
    if options.seconds is not None and not 0 < options.seconds < math.inf:
        raise BadInput(f"{options.seconds} seconds; give a number above 0")
    from backcast.routing.interrupt import stops_at_interrupt
    from backcast.routing.results import claim

    if not options.files:
        raise BadInput("no instance; give .vrp, .txt or .csv files, or uniform:1000:0")
    settings, instances, notes = _prepared(options)
    bases, rows, stop = claim(options.out, instances), list[dict[str, Any]](), threading.Event()
    for note in notes:
        _say(note)
    with stops_at_interrupt(stop):  # the search has its own; this one hears a Ctrl-C while files are written
        for instance, base in zip(instances, bases, strict=True):
            rows.append(_one(instance, base, options, settings))
            if rows[-1]["interrupted"] or stop.is_set():
                break
    if rest := [instance.id for instance in instances[len(rows) :]]:
        rows[-1]["not_begun"] = rest
        _say(f"interrupted: the best so far is written for {rows[-1]['instance']}; not begun: {', '.join(rest)}")
    return rows


def _say(text: str) -> None:
    print(f"backcast: {text}", file=sys.stderr)  # noqa: T201


def _prepared(options: Solve) -> tuple[Any, list[Any], list[str]]:
    """Settings and instances, checked together, and notes on what is not believed of a .sol beside a file."""
    from backcast.routing.given import read_given
    from backcast.routing.hlgp import Settings
    from backcast.routing.problems import read_solution

    settings = Settings(
        engine=options.engine,  # type: ignore[arg-type]  # checked by Settings
        start=options.start,
        iterations=options.iterations,
        jobs=options.jobs,
        seed=options.seed,
        group=2 if options.engine == "policy" else options.group,
        policy=options.policy,
    )
    read = [read_given(file, options.capacity, options.rounding) for file in options.files]
    for instance, _ in read:
        settings.resolved(instance)
        if options.start.endswith(".sol"):
            read_solution(options.start, instance)
    return settings, [instance for instance, _ in read], [note for _, notes in read for note in notes]


def _one(instance: Any, base: Path, options: Solve, settings: Any) -> dict[str, Any]:
    from backcast.core.files import write_json
    from backcast.core.progress import Progress
    from backcast.routing import hlgp
    from backcast.routing.problems import write_solution
    from backcast.routing.results import beside
    from backcast.routing.score import faults, gap_percent

    budget = options.seconds or (10.0 if options.iterations is None else 0.0)
    with Progress(instance.id, max(1, round(budget))) as bar:

        def tell(found: hlgp.Found) -> None:
            gap = gap_percent(found.cost, instance.best_known)
            more = {} if gap is None else {"gap": f"{gap:.2f}%"}
            bar.advance(max(0, int(found.elapsed) - bar.done), cost=f"{found.cost:,.6g}", **more)

        found = hlgp.solve(instance, options.seconds, settings, tell)
    result = {
        "instance": instance.id,
        "cost": found.cost,
        "cost_rounded": _measured(instance, found.routes, "nearest"),
        "cost_unrounded": _measured(instance, found.routes, "exact"),
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
        "not_begun": [],
        "routes": found.routes,
        "routes_by_id": _by_id(instance, found.routes) if instance.names else None,
        "trace": [[round(t, 4), c] for t, c in found.trace],
        "solution": str(beside(base, ".sol")),
    }
    write_solution(beside(base, ".sol"), found.routes, found.cost)
    result["table"] = _table(base, instance, found.routes)
    result["pictures"] = _pictures(base, instance, found)
    write_json(beside(base, ".json"), result)
    return result


def _measured(instance: Any, routes: list[list[int]], metric: Any) -> float | None:
    """The cost in another measure; None for a matrix, or where windows or limits do not hold in that measure."""
    from backcast.routing.score import cost

    if instance.metric == "matrix":
        return None
    value = cost(instance, routes, metric)
    return value if math.isfinite(value) else None


def _by_id(instance: Any, routes: list[list[int]]) -> list[list[str]]:
    return [[instance.name_of(node) for node in route] for route in routes]


def _table(base: Path, instance: Any, routes: list[list[int]]) -> str | None:
    """Writes route, stop and id of every customer, and returns the file; None where customers have no names."""
    if not instance.names:
        return None
    import csv
    import io

    from backcast.core.files import write_atomic
    from backcast.routing.results import beside

    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["route", "stop", "id"])
    for number, route in enumerate(_by_id(instance, routes), start=1):
        rows.writerows([number, stop, name] for stop, name in enumerate(route, start=1))
    write_atomic(beside(base, ".routes.csv"), text.getvalue())
    return str(beside(base, ".routes.csv"))


def _pictures(base: Path, instance: Any, found: Any) -> list[str]:
    """The routes of the start, of early levels and of the end; cost against time."""
    from backcast.core.files import write_atomic
    from backcast.routing.draw import levels_picture, trace_picture
    from backcast.routing.results import beside

    pictures = {".trace.svg": trace_picture({instance.id: found.trace}, "Cost against time", instance.best_known)}
    if instance.coords is not None and found.routes:
        pictures[".svg"] = levels_picture(instance, found.levels)
    for suffix, text in pictures.items():
        write_atomic(beside(base, suffix), text)
    return [str(beside(base, suffix)) for suffix in pictures]


def show_solve(result: list[dict[str, Any]]) -> None:
    """Prints a line for each instance and where its files are."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("instance", box=None)
    for name in ("start", "cost", "best known", "gap", "vehicles", "seconds"):
        table.add_column(name, justify="right")
    for row in result:
        best = "unknown" if row["best_known"] is None else f"{row['best_known']:,.6g}"
        gap = "not measured" if row["gap"] is None else f"{row['gap']:.2f} %"
        stopped = " (stopped)" if row["interrupted"] else ""
        cells = (f"{row['start_cost']:,.6g}", f"{row['cost']:,.6g}", best, gap, str(row["vehicles"]))
        table.add_row(escape(row["instance"]) + stopped, *cells, f"{row['seconds']:.1f}")
    out = tables.console()
    out.print(table)
    for row in result:
        more = [*filter(None, [row["table"]]), *row["pictures"]]
        names = ", ".join([row["solution"], *(Path(path).name for path in more)])
        out.print(names, soft_wrap=True, markup=False)
