"""What a report says, read from the run folder alone: plain values for the page's template, sizes bounded."""

import base64
import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backcast.core.run import RECIPE, Curve, Gap, Stage, Table, read_recipe
from backcast.core.vitals import Vital
from backcast.report.figures import SERIES, Range, interval_plot, line_chart, range_bar, span
from backcast.report.traces import Source
from backcast.report.words import clip, count, duration, healthy, interval, number, places, signed, size

CHARTS, CHART_SERIES = 24, SERIES
TABLE_BYTES, CELL = 250_000, 160
PICTURE_BYTES = 600_000
ROWS = 250
"""Gap rows, and vitals, on a page, at most."""
PICTURES = {".png": "image/png", ".svg": "image/svg+xml", ".jpg": "image/jpeg", ".jpeg": "image/jpeg"}

Row = dict[str, Any]


def gap_rows(stages: Sequence[Stage]) -> list[Row]:
    """One row per gap: its figures as text, and its place on an axis shared by the rows of the same metric."""
    gaps = [gap for stage in stages for gap in stage.result.gaps][:ROWS]
    domains = {gap.metric: _domain([other for other in gaps if other.metric == gap.metric]) for gap in gaps}
    return [_gap_row(gap, domains[gap.metric]) for gap in gaps]


def _domain(gaps: Sequence[Gap]) -> Range:
    figures = [figure for gap in gaps for figure in (gap.baseline, gap.value, *(_bounds(gap) or ()))]
    return span([figure for figure in figures if figure is not None], pad=0.08)


def _bounds(gap: Gap) -> Range | None:
    """The interval on the metric's own axis; a paired one is an interval of the difference, so it is moved there."""
    if gap.low is None or gap.high is None or (gap.paired and gap.baseline is None):
        return None
    moved = gap.baseline if gap.paired and gap.baseline is not None else 0.0
    return gap.low + moved, gap.high + moved


def difference(gap: Gap) -> float | None:
    """``value - baseline``, or None when either was not measured."""
    return None if gap.value is None or gap.baseline is None else gap.value - gap.baseline


def _gap_row(gap: Gap, domain: Range) -> Row:
    digits = places([gap.baseline, gap.value])
    return {
        "stage": gap.stage,
        "metric": gap.metric,
        "baseline": number(gap.baseline, digits),
        "value": number(gap.value, digits),
        "change": signed(difference(gap), digits),
        "interval": interval(gap.low, gap.high, digits),
        "of": "of the difference" if gap.paired else "of the value",
        "n": number(gap.n),
        "note": gap.note,
        "plot": interval_plot(gap.baseline, gap.value, _bounds(gap), domain),
    }


def headline(stages: Sequence[Stage]) -> Row | None:
    """The result in one sentence and its figures: the last stage's first gap that has a baseline and a value.

    ``warnings`` are the vital signs of that stage that lie outside their range: a gain is not read without them.
    """
    for stage in reversed(stages):
        for gap in stage.result.gaps:
            if difference(gap) is not None:
                warnings = [_warning(vital) for vital in stage.result.vitals if vital.ok is False]
                return {**_gap_row(gap, _domain([gap])), "sentence": _sentence(gap), "warnings": warnings}
    return None


def _warning(vital: Vital) -> str:
    name, meaning = vital.name.replace("_", " "), vital.meaning.rstrip(".")
    healthily = f"healthy {healthy(vital.low, vital.high)}"
    return f"{name} is {number(vital.value)}, {healthily}{': ' if meaning else ''}{meaning}."


def _sentence(gap: Gap) -> str:
    digits = places([gap.baseline, gap.value])
    start = (
        f"{gap.metric} went from {number(gap.baseline, digits)} without the method to {number(gap.value, digits)} "
        f"with it, a difference of {signed(difference(gap), digits)} over {count(gap.n, 'item')}"
    )
    bounds = _bounds(gap)
    if bounds is None or gap.baseline is None:
        return f"{start}. Without an interval, this may be chance."
    what = "zero" if gap.paired else "the baseline"
    where = "inside" if bounds[0] <= gap.baseline <= bounds[1] else "outside"
    # No line break inside "95 % interval".
    name = "95\N{NO-BREAK SPACE}%\N{NO-BREAK SPACE}interval" + ("" if gap.paired else " of the value")
    return f"{start} ({name} {interval(gap.low, gap.high, digits)}; {what} lies {where} it)."


def vital_rows(stages: Sequence[Stage]) -> list[Row]:
    """One row per vital: value, range and verdict as text, and the range bar."""
    return [_vital_row(stage.name, vital) for stage in stages for vital in stage.result.vitals][:ROWS]


def _vital_row(stage: str, vital: Vital) -> Row:
    bounded = vital.low is not None or vital.high is not None
    state = {True: "healthy", False: "outside", None: "no opportunity"}[vital.ok]
    return {
        "stage": stage,
        "name": vital.name.replace("_", " "),
        "value": number(vital.value),
        "healthy": healthy(vital.low, vital.high),
        "state": state if bounded or vital.value is None else "no range set",
        "meaning": _as_sentence(vital.meaning),
        "bar": range_bar(vital) if bounded else "",
    }


def _as_sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + ("" if not text or text[-1] in ".!?" else ".")


def charts(stages: Sequence[Stage], left_out: list[str]) -> list[Row]:
    """The stages' curves as drawings; what is left out is added to ``left_out``."""
    curves = [(stage.name, curve) for stage in stages for curve in stage.result.curves]
    if len(curves) > CHARTS:
        left_out.append(f"{count(len(curves) - CHARTS, 'curve')} of {len(curves)}")
    return [_chart(stage, curve, left_out) for stage, curve in curves[:CHARTS]]


def _chart(stage: str, curve: Curve, left_out: list[str]) -> Row:
    labels = list(curve.series)
    if len(labels) > CHART_SERIES:
        left_out.append(f"{len(labels) - CHART_SERIES} series of the curve '{curve.name}'")
        series = {label: curve.series[label] for label in labels[:CHART_SERIES]}
        curve = Curve(curve.name, curve.x, curve.y, series)
    return {
        "stage": stage,
        "name": curve.name,
        "y": curve.y,
        "svg": line_chart(curve),
        "legend": list(curve.series) if len(curve.series) > 1 else [],
    }


def tables(stages: Sequence[Stage], left_out: list[str]) -> list[Row]:
    """The stages' tables, cells as text (figures marked), until TABLE_BYTES are spent."""
    found, room = [], TABLE_BYTES
    for stage in stages:
        for table in stage.result.tables:
            rows: list[list[Row]] = []
            for row in table.rows:
                cells = [_cell(value) for value in row]
                room -= sum(len(cell["text"]) + 30 for cell in cells)
                if room < 0:
                    left_out.append(f"{count(len(table.rows) - len(rows), 'row')} of the table '{table.title}'")
                    break
                rows.append(cells)
            found.append(_table(stage.name, table, rows))
    return found


def _table(stage: str, table: Table, rows: list[list[Row]]) -> Row:
    figures = [all(row[i]["figure"] for row in rows if i < len(row)) for i in range(len(table.columns))]
    columns = [{"text": name, "figure": figure} for name, figure in zip(table.columns, figures, strict=True)]
    return {"stage": stage, "title": table.title, "columns": columns, "rows": rows, "note": table.note}


def _cell(value: Any) -> Row:
    is_figure = value is None or (isinstance(value, int | float) and not isinstance(value, bool))
    text = number(value) if is_figure or isinstance(value, bool | str) else json.dumps(value, ensure_ascii=False)
    return {"text": clip(text, CELL), "figure": is_figure, "missing": value is None}


def pictures(folder: Path, stages: Sequence[Stage], left_out: list[str]) -> list[Row]:
    """The stages' pictures as data URIs; one that is missing, too large or no picture is named in ``left_out``."""
    found, room = [], PICTURE_BYTES
    for stage in stages:
        for name in stage.result.pictures:
            path = folder / name
            inside = path.resolve().is_relative_to(folder.resolve()) and path.is_file()
            if not inside or path.suffix.lower() not in PICTURES:
                left_out.append(f"the picture {name} (not found in the run folder as a PNG, JPEG or SVG file)")
            elif path.stat().st_size > room:
                left_out.append(f"the picture {name} ({size(path.stat().st_size)}, too large for one page)")
            else:
                room -= path.stat().st_size
                data = base64.b64encode(path.read_bytes()).decode()
                uri = f"data:{PICTURES[path.suffix.lower()]};base64,{data}"
                found.append({"stage": stage.name, "name": path.stem.replace("_", " "), "uri": uri})
    return found


def attempts(folder: Path) -> list[Row]:
    """The attempt logs of a run, oldest first; one that cannot be read is passed over."""
    paths = sorted((folder / "logs").glob("attempt-*.json"), key=lambda path: (len(path.name), path.name))
    return [log for log in map(read_object, paths) if log]


def read_object(path: Path) -> Row:
    """The JSON object of a file; empty when there is none (a run that was killed early, or is older than the file)."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def stage_rows(folder: Path, stages: Sequence[Stage], last: Mapping[str, Any]) -> list[Row]:
    """One row per stage, begun or finished: seconds of work, bytes on disk, and what the last attempt did with it."""
    skipped = {stage["name"]: stage["skipped"] for stage in last.get("stages", ())}
    words = {True: "kept from an earlier attempt", False: "done", None: "done in an earlier attempt"}
    rows = [
        {
            "name": stage.name,
            "time": duration(stage.seconds),
            "size": size(folder_bytes(stage.folder)),
            "state": words[skipped.get(stage.name)],
        }
        for stage in stages
    ]
    for begun in sorted(folder.glob("*-*/begun.json")):
        if not (begun.parent / "done.json").exists():
            name = begun.parent.name.partition("-")[2]
            rows.append(
                {"name": name, "time": number(None), "size": size(folder_bytes(begun.parent)), "state": "unfinished"}
            )
    return rows


def folder_bytes(folder: Path) -> int:
    """Bytes of all files in a folder, or of one file."""
    members = [folder] if folder.is_file() else folder.rglob("*")
    return sum(member.stat().st_size for member in members if member.is_file() and not member.is_symlink())


def sources(folder: Path, stages: Sequence[Stage]) -> list[Source]:
    """The trace files of a run: those the stages name, then any other ``traces.jsonl`` of a stage folder."""
    named = [(stage.name, folder / view.path) for stage in stages for view in stage.result.views]
    others = [(path.parent.name.partition("-")[2], path) for path in sorted(folder.glob("*-*/traces.jsonl"))]
    found = {path.resolve(): Source(stage, path) for stage, path in reversed(named + others) if path.is_file()}
    return list(reversed(found.values()))


def commands(folder: Path, logs: Sequence[Mapping[str, Any]]) -> list[str]:
    """How to repeat the run: the command it was begun with (where that is known), and the one from its recipe."""
    begun: Sequence[object] = next((log["command"] for log in logs if log.get("command")), ())
    again = shlex.join(["backcast", "run", str(folder / RECIPE), "--out", f"{folder}-again"])
    return [shlex.join(map(str, begun)), again] if begun else [again]


def facts(folder: Path, stages: Sequence[Stage]) -> Row:
    """Everything on the page but the traces. Raises BadInput when the folder is no run."""
    recipe, logs = read_recipe(folder), attempts(folder)
    last: Row = logs[-1] if logs else {}
    left_out: list[str] = []
    rows = stage_rows(folder, stages, last)
    return {
        "name": folder.resolve().name,
        "recipe": str(recipe.get("recipe", "run")),
        "headline": headline(stages),
        "gaps": gap_rows(stages),
        "vitals": vital_rows(stages),
        "charts": charts(stages, left_out),
        "tables": tables(stages, left_out),
        "pictures": pictures(folder, stages, left_out),
        "stages": rows,
        "unfinished": [row["name"] for row in rows if row["state"] == "unfinished"],
        "time": duration(sum(stage.seconds for stage in stages)),
        "bytes": size(folder_bytes(folder)),
        "model": size(folder_bytes(folder / "model")) if (folder / "model").is_dir() else None,
        "attempts": len(logs),
        "begun": str(logs[0].get("started", ""))[:16].replace("T", " ") if logs else "",
        "lineage": [clip(str(line), 500).replace(" -> ", " → ") for stage in stages for line in stage.result.lineage][
            :ROWS
        ],
        "environment": read_object(folder / "environment.json"),
        "settings": clip((folder / RECIPE).read_text(encoding="utf-8"), 40_000),
        "commands": commands(folder, logs),
        "left_out": left_out,
    }
