"""What several verbs print for people: plan, gap table, vital signs. Rich tables on stdout (or where ``file`` says)."""

import sys
from collections.abc import Sequence
from typing import Any, TextIO

from backcast.core.progress import clock
from backcast.core.run import Plan


def console(file: TextIO | None = None) -> Any:
    """A console; in a pipe it is wide enough not to fold a row."""
    from rich.console import Console

    file = file or sys.stdout
    return Console(file=file, width=None if file.isatty() else 120, highlight=False)


def number(value: float | None, digits: int = 3) -> str:
    """A figure for a table; None is said to be unmeasured."""
    return "not measured" if value is None else f"{value:.{digits}f}"


def interval(low: float | None, high: float | None) -> str:
    """A 95 % interval for a table; empty without bounds."""
    return "" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def show_plan(plan: Sequence[Plan], file: TextIO | None = None) -> None:
    """Prints what each stage is expected to take on this machine."""
    from rich.table import Table

    table = Table("stage", "what", "about", "memory", title="Plan", title_justify="left", title_style="bold", box=None)
    for line in plan:
        table.add_row(line.stage, line.what, clock(line.seconds), f"{line.memory_gb:.1f} GB")
    most = max((line.memory_gb for line in plan), default=0.0)
    table.add_row("", "in all", clock(sum(line.seconds for line in plan)), f"{most:.1f} GB", style="bold")
    console(file).print(table)


def announce_plan(plan: Sequence[Plan]) -> None:
    """Prints the plan on stderr, before the work begins."""
    show_plan(plan, file=sys.stderr)


def show_gaps(gaps: Sequence[dict[str, Any]]) -> None:
    """Prints the gap table: every stage's metric without and with the method."""
    from rich.table import Table

    table = Table(title="Gap table", title_justify="left", title_style="bold", box=None)
    for name in ("stage", "metric"):
        table.add_column(name)
    for name in ("baseline", "value", "95 % interval", "n"):
        table.add_column(name, justify="right")
    table.add_column("")
    for gap in gaps:
        value, bounds = number(gap["value"]), interval(gap["low"], gap["high"])
        of_what = "interval of the difference" if gap["paired"] and bounds else ""
        note = "; ".join(filter(None, (gap["note"], of_what)))
        table.add_row(gap["stage"], gap["metric"], number(gap["baseline"]), value, bounds, str(gap["n"]), note)
    console().print(table)


def show_vitals(vitals: Sequence[dict[str, Any]]) -> None:
    """Prints the vital signs that are out of range or had no opportunity; nothing when all is well."""
    from backcast.report.words import healthy

    out = console()
    for vital in vitals:
        if vital["ok"] is None:
            out.print(f"no opportunity: {vital['name']} ({vital['meaning']})", style="dim")
        elif not vital["ok"]:
            found = f"{vital['name']} {vital['value']:.3g} (healthy: {healthy(vital['low'], vital['high'])})"
            out.print(f"out of range: {found}; {vital['meaning']}", style="yellow")


def show_run(result: dict[str, Any]) -> None:
    """Prints the end of every run: gap table, unusual vitals, time, the report's path."""
    show_gaps(result["gaps"])
    show_vitals(result["vitals"])
    skipped = sum(stage["skipped"] for stage in result["stages"])
    said = f" ({skipped} of {len(result['stages'])} stages were done before)" if skipped else ""
    out = console()
    out.print(f"{clock(result['seconds'])} in all{said}")
    out.print(f"report: {result['report']}", style="bold", soft_wrap=True, markup=False)
