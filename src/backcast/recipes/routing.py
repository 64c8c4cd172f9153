"""HLGP (arXiv 2502.08340): vehicle routing instances read, solved level by level, and scored against the best known."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic, write_json
from backcast.core.params import bounded
from backcast.core.progress import track
from backcast.core.run import Curve, Gap, Plan, Run, StageResult, Table
from backcast.core.stats import bootstrap
from backcast.core.vitals import Vital, must_act

FILES, MODELS = ("files",), ()
PICTURES = 4
"""Instances whose routes are drawn in the report."""
DENSE = 10_000
"""Customers up to which PyVRP is run on a whole problem: its matrix has 800 MB there."""
LEAST = 20
"""Customers from which a start counts as one to improve on: smaller problems' starts are often the best there is."""
RATE = 8e4
"""Iterations of the room's own search in a CPU-second, about."""


@dataclass(frozen=True)
class Settings:
    """What is solved, with what, and for how long."""

    files: tuple[str, ...] = ("uniform:1000:0", "uniform:1000:1")
    """.vrp, .txt (Solomon) or .csv files, or uniform:N:INDEX, instances of the paper's test set."""
    seconds: float | None = 10.0
    """For each instance; none: only the iterations count, and the same settings give the same routes."""
    iterations: int | None = None
    """Of the engine, for each instance; none: only the seconds count."""
    engine: str = "auto"
    """sisr (the room's own search), pyvrp, or exact (groups of up to 12 customers); auto: sisr, or pyvrp for time
    windows, several depots and types of vehicles."""
    start: str = "auto"
    """savings, sweep or pyvrp: the baseline that the gap table compares with; auto: savings, or pyvrp where the engine
    has to be."""
    jobs: int = 1
    """Workers within an instance."""
    group: int = 6
    """Neighbouring routes solved together by the engines pyvrp and exact; the paper pairs two."""
    capacity: int | None = None
    """Of a vehicle, for CSV files; in place of the file's own for others."""
    beside: Literal["", "pyvrp"] = ""
    """pyvrp: also PyVRP on each whole problem, for as long as ours took, drawn and scored beside; up to 10,000."""
    rounding: Literal["auto", "none", "nearest", "floor", "ceil", "tenth"] = "auto"
    """How distances are rounded; auto: as the file's convention says."""
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.files:
            raise ValueError("files: none given; name .vrp, .txt or .csv files, or uniform:1000:0")
        if self.seconds is None and self.iterations is None:
            raise ValueError("seconds and iterations are both none; set one of them")
        bounded(self, "seconds", 0, above=True)
        bounded(self, "iterations jobs group", 1)


def plan(settings: Settings) -> list[Plan]:
    """What each stage is expected to take; raises BadInput for instances or settings that cannot be used."""
    instances, notes = _instances(settings)
    for note in notes:
        print(f"backcast: {note}", file=sys.stderr)  # noqa: T201
    for instance in instances:
        _solver(settings).resolved(instance)
        if settings.beside and instance.size > DENSE:
            raise BadInput(f"{instance.id}: PyVRP's matrix of {instance.size} customers is too large; leave out beside")
    each = min(settings.seconds or 1e9, (settings.iterations or 1e12) / RATE)
    most = max(instance.size for instance in instances)
    what = f"{len(instances)} instances of up to {most} customers, {settings.engine} from {settings.start}"
    each *= 2 if settings.beside else 1
    return [Plan("solve", what, each * len(instances), 0.2 + most * 5e-6)]


def run(run: Run, settings: Settings) -> dict[str, Any]:
    """The one stage; returns every instance's figures."""
    inputs = [file for file in settings.files if not file.startswith("uniform:")]
    solved = run.stage("solve", lambda folder: _solve(folder, run.folder, settings), settings, inputs)
    return {"routes": json.loads((solved.folder / "results.json").read_text())}


def _instances(settings: Settings) -> tuple[list[Any], list[str]]:
    """The instances, and what is to be said of the solutions beside their files."""
    from backcast.routing.given import read_given
    from backcast.routing.results import file_name

    read = [read_given(file, settings.capacity, settings.rounding) for file in settings.files]
    found, notes = [instance for instance, _ in read], [note for _, said in read for note in said]
    names = [file_name(instance) for instance in found]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise BadInput(f"files: '{twice}' stands twice; give each instance once")
    return found, notes


def _solver(settings: Settings) -> Any:
    from backcast.routing.hlgp import Settings as Solver

    given = {key: getattr(settings, key) for key in ("engine", "start", "iterations", "jobs", "group", "seed")}
    return Solver(**given)


def _solve(folder: Path, root: Path, settings: Settings) -> StageResult:
    from backcast.routing.results import file_name

    instances, pictures = _instances(settings)[0], list[str]()
    rows = [_one(folder, instance, settings) for instance in track(instances, "instances", len(instances))]
    write_json(folder / "results.json", rows)
    for instance in instances[:PICTURES]:
        for path in (folder / f"{file_name(instance)}.svg", folder / f"{file_name(instance)}.trace.svg"):
            pictures += [str(path.relative_to(root))] if path.exists() else []
    could = [row for row in rows if _could_improve(row)]
    better = sum(map(_improved, could))
    must_act(f"the engine {settings.engine}", better, len(could))
    columns = ["instance", "customers", "start", "cost", "best known", "gap %", "vehicles", "seconds"]
    keys = ["instance", "customers", "start_cost", "cost", "best_known", "gap", "vehicles", "seconds"]
    if settings.beside:
        columns, keys = [*columns, "PyVRP, whole"], [*keys, "peer"]
        rows = [{**row, "peer": row["beside"]["cost"]} for row in rows]
    shares = [point for row in rows for point in _falls(row)]
    return StageResult(
        gaps=_gaps(rows),
        vitals=_vitals(rows, could, better),
        curves=[Curve("Cost above the end of the run", "seconds", "%", {row["instance"]: _falls(row) for row in rows})]
        if shares
        else [],
        tables=[Table("Instances", columns, [[row[key] for key in keys] for row in rows])],
        pictures=pictures,
        lineage=[f"{row['instance']}: {row['solution']}" for row in rows],
        outputs={"results": str((folder / "results.json").relative_to(root))},
    )


def _improved(row: dict[str, Any]) -> bool:
    return bool(row["cost"] < row["start_cost"] - 1e-9)


def _could_improve(row: dict[str, Any]) -> bool:
    """Whether an instance was an opportunity: it was improved, or it is no tiny one and its start not known as best."""
    return _improved(row) or (row["customers"] >= LEAST and row["start_cost"] > (row["best_known"] or 0.0) + 1e-9)


def _one(folder: Path, instance: Any, settings: Settings) -> dict[str, Any]:
    """An instance's figures; those of an earlier attempt are kept."""
    from backcast.routing.draw import levels_picture, trace_picture
    from backcast.routing.hlgp import solve
    from backcast.routing.problems import write_solution
    from backcast.routing.results import beside as named
    from backcast.routing.results import file_name
    from backcast.routing.score import gap_percent

    base = folder / file_name(instance)
    kept = named(base, ".json")
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text())
        return found
    result = solve(instance, settings.seconds, _solver(settings))
    write_solution(named(base, ".sol"), result.routes, result.cost)
    beside = _beside(instance, settings, result.seconds)
    lines = {"ours": result.trace, **({"PyVRP, whole": beside["trace"]} if beside else {})}
    title = f"{instance.id}: cost against time"
    write_atomic(named(base, ".trace.svg"), trace_picture(lines, title, instance.best_known))
    if instance.coords is not None and result.routes:
        write_atomic(named(base, ".svg"), levels_picture(instance, result.levels))
    row = {
        "instance": instance.id,
        "customers": instance.size,
        "start_cost": result.start_cost,
        "start_gap": gap_percent(result.start_cost, instance.best_known),
        "cost": result.cost,
        "best_known": instance.best_known,
        "gap": gap_percent(result.cost, instance.best_known),
        "vehicles": len(result.routes),
        "least_vehicles": instance.least_vehicles,
        "seconds": round(result.seconds, 3),
        "cpu_seconds": round(result.cpu_seconds, 3),
        "interrupted": result.interrupted,
        "iterations": result.iterations,
        "trace": [[round(t, 4), value] for t, value in result.trace],
        "solution": f"{base.name}.sol",
        "beside": beside,
    }
    if result.interrupted:
        raise KeyboardInterrupt
    write_json(kept, row)
    return row


def _beside(instance: Any, settings: Settings, seconds: float) -> dict[str, Any]:
    """PyVRP's figures on the whole problem within as many seconds; none where it is not asked for."""
    if settings.beside != "pyvrp":
        return {}
    from backcast.routing.score import cost
    from backcast.routing.subsolve import whole_by_pyvrp

    routes, trace = whole_by_pyvrp(instance, seconds, settings.seed)
    found = cost(instance, routes) if routes else None
    return {"engine": "pyvrp", "cost": found, "vehicles": len(routes), "trace": trace}


def _falls(row: dict[str, Any]) -> list[list[float]]:
    """Percent above the final cost, over seconds."""
    return [[t, 100 * (value / row["cost"] - 1)] for t, value in row["trace"]] if row["cost"] > 0 else []


def _gaps(rows: list[dict[str, Any]]) -> list[Gap]:
    """Percent above the best known where there is one, and cost in percent of the start's; intervals over instances."""
    out = []
    known = [row for row in rows if row["gap"] is not None]
    if known:
        spread = bootstrap([row["gap"] for row in known])
        begun = sum(row["start_gap"] for row in known) / len(known)
        out.append(Gap("solve", "% above the best known", begun, spread.value, spread.low, spread.high, spread.n))
    scaled = [100 * row["cost"] / row["start_cost"] for row in rows if row["start_cost"] > 0]
    spread = bootstrap(scaled)
    same = "" if any(map(_improved, rows)) else "the starts were already as good: no instance was improved"
    note = "; ".join(filter(None, ["no best known cost for any instance" if not known else "", same]))
    metric = "cost in % of the start's"
    out.append(Gap("solve", metric, 100.0, spread.value, spread.low, spread.high, spread.n, note=note))
    pairs = [(row["cost"], row["beside"]["cost"]) for row in rows if row.get("beside", {}).get("cost")]
    if pairs:
        spread = bootstrap([100 * mine / theirs for mine, theirs in pairs])
        metric = "cost in % of PyVRP's on the whole, same seconds"
        out.append(Gap("solve", metric, 100.0, spread.value, spread.low, spread.high, spread.n))
    return out


def _vitals(rows: list[dict[str, Any]], could: list[dict[str, Any]], better: int) -> list[Vital]:
    steps = [len(row["trace"]) - 1 for row in could]
    late = [row["trace"][-1][0] / max(row["seconds"], 1e-9) for row in could if len(row["trace"]) > 1]
    spare = [row["vehicles"] - row["least_vehicles"] for row in rows]
    return [
        Vital(
            "improved instances",
            better / len(could) if could else None,
            0.9,
            1.0,
            "Share of instances made cheaper than their start; below, the budget is too short or the start perfect.",
        ),
        Vital(
            "improvements",
            sum(steps) / len(steps) if steps else None,
            1.0,
            None,
            "Times that a better solution was stored, mean over instances.",
        ),
        Vital(
            "last improvement",
            sum(late) / len(late) if late else None,
            0.3,
            1.0,
            "When the last one came, as a share of the time; early means that the search had long ended.",
        ),
        Vital(
            "spare vehicles",
            sum(spare) / len(spare),
            0.0,
            None,
            "Vehicles beyond what the demand needs at least; below 0 a route is overloaded.",
        ),
    ]
