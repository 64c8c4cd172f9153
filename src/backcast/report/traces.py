"""Traces for the page: where they are, which ones are shown, and how much of each."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backcast.core.run import Curve
from backcast.core.trace import Trace
from backcast.report.viewers import Slim, Viewer, finite, viewer_of
from backcast.report.words import count

SHOWN = 12
"""Traces of one kind on a page, at most: a third each of the best, the worst, and others that were changed."""
MIDDLE = {True: "changed", False: "unchanged", None: "between"}
"""What a trace that is neither best nor worst is called."""
BUDGET = 1_500_000
"""Bytes of the page that all traces together may take; longer ones have their texts cut (and say so)."""


@dataclass(frozen=True)
class Source:
    """A trace file: the stage that wrote it, and where."""

    stage: str
    path: Path


@dataclass(frozen=True)
class _Entry:
    source: Source
    offset: int
    rank: float | None
    changed: bool | None


@dataclass(frozen=True)
class Shown:
    """The traces of one kind that are on the page, and how many there are in the run."""

    kind: str
    traces: list[Slim]
    total: int
    curves: list[Curve | None]
    """One per trace, or None where it has none."""


def read_traces(path: Path) -> Iterator[tuple[int, Trace | None]]:
    """Yields (byte offset, trace) for each line, None for a line that is no whole trace; the file is never changed.

    The last line of a run that is still writing, or was killed, may be torn: that is None too.
    """
    with path.open("rb") as file:
        offset = 0
        for line in file:
            yield offset, _parse(line)
            offset += len(line)


def _parse(line: bytes) -> Trace | None:
    if not line.endswith(b"\n"):
        return None
    try:
        return Trace.from_json(line.decode("utf-8"))
    except (ValueError, KeyError, TypeError):
        return None


def choose(sources: Sequence[Source], shown: int = SHOWN, budget: int = BUDGET) -> tuple[list[Shown], list[str]]:
    """The traces to show, by kind (best, changed, worst), and a sentence for each file with unreadable lines.

    Files are streamed: a run may have more traces than fit in memory.
    """
    found: dict[str, list[_Entry]] = {}
    broken: dict[str, int] = {}
    for source in sources:
        for offset, trace in read_traces(source.path):
            if trace is None:
                name = f"{source.path.parent.name}/{source.path.name}"
                broken[name] = broken.get(name, 0) + 1
                continue
            viewer = viewer_of(trace.kind)
            changed = viewer.changed(trace)
            rank = finite(viewer.rank(trace))
            entry = _Entry(source, offset, rank, None if changed is None else bool(changed))
            found.setdefault(trace.kind, []).append(entry)
    picks = {kind: _pick(entries, shown, viewer_of(kind).ends) for kind, entries in found.items()}
    share = budget // max(1, sum(map(len, picks.values())))
    kinds = [_load(kind, picks[kind], len(entries), share) for kind, entries in found.items()]
    return kinds, [f"{count(lines, 'line')} of {name} could not be read" for name, lines in broken.items()]


def _load(kind: str, picks: Sequence[tuple[str, _Entry]], total: int, share: int) -> Shown:
    viewer, traces, curves = viewer_of(kind), [], []
    for why, entry in picks:
        trace = _read_at(entry)
        traces.append({"why": why, "stage": entry.source.stage, **_fit(trace, viewer, share)})
        curves.append(viewer.curve(trace))
    return Shown(kind, traces, total, curves)


def _pick(entries: list[_Entry], shown: int, ends: tuple[str, str]) -> list[tuple[str, _Entry]]:
    ranked = sorted((entry for entry in entries if entry.rank is not None), key=lambda entry: entry.rank or 0.0)
    lost = [entry for entry in entries if entry.rank is None]
    third = max(1, min(shown, len(ranked)) // 3) if len(ranked) > 1 else 0
    best, middle, worst = ranked[:third], ranked[third : len(ranked) - third], ranked[len(ranked) - third :]
    room = shown - len(best) - len(worst)
    # Something without a result is worth seeing too, but never at the price of all the others.
    lost = lost[: max(2, room - len(middle))] if ranked else lost[:shown]
    room = max(0, room - len(lost))
    changed = [entry for entry in middle if entry.changed]
    chosen = (changed + [entry for entry in middle if not entry.changed])[:room]
    chosen.sort(key=lambda entry: entry.rank or 0.0)
    return [
        *((ends[0], entry) for entry in best),
        *((MIDDLE[entry.changed], entry) for entry in chosen),
        *((ends[1], entry) for entry in worst),
        *(("no result", entry) for entry in lost),
    ]


def _read_at(entry: _Entry) -> Trace:
    with entry.source.path.open("rb") as file:
        file.seek(entry.offset)
        return Trace.from_json(file.readline().decode("utf-8"))


def _fit(trace: Trace, viewer: Viewer, share: int) -> Slim:
    slim: Slim = {}
    for length in (20_000, 2_000, 400, 60):
        slim = viewer.slim(trace, length)
        if len(to_script(slim)) <= share:
            return slim
    # Still too long: very many steps or tokens. Keep the first ones; the page says how many there were.
    for key in ("steps", "pieces"):
        while slim.get(key) and len(to_script(slim)) > share:
            slim[key] = slim[key][: len(slim[key]) // 2]
    if len(to_script(slim)) <= share:
        return slim
    return {"id": trace.id, "problem": trace.problem, "tooLong": True}


def to_script(value: Any) -> str:
    """JSON that is safe inside a ``<script>`` element, whatever a model wrote: no markup character is left in it."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
