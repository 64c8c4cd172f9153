"""The search as a stage of a run: what it gives to the gap table, the vital signs and the report."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

from backcast.core.errors import InertMethod, WorkFailed
from backcast.core.progress import Progress
from backcast.core.run import Curve, Gap, StageResult, Table, View
from backcast.core.stats import paired
from backcast.core.trace import Trace, TraceLog
from backcast.core.vitals import Vital, must_act
from backcast.reasons.lockstep import Models
from backcast.reasons.pairs import Pair
from backcast.reasons.reer import search, visits
from backcast.reasons.settings import Search

METRIC = "NLL of the good text, nats/token"
TRACES = "traces.jsonl"


def search_stage(folder: Path, pairs: Sequence[Pair], models: Models, settings: Search) -> StageResult:
    """Searches the pairs, keeping the traces in ``folder``, and sums them up. For use as the work of ``Run.stage``.

    ``outputs`` holds the counts and means of ``figures``. Raises InertMethod when the generator's candidates never
    came as far as being scored, and WorkFailed when no item was kept.
    """
    log = TraceLog(folder / TRACES)
    with Progress("search, segments", sum(visits(pair, settings) for pair in pairs)) as progress:
        traces = search(pairs, models, settings, log, progress)
    names = {"generator": models.generator.name, "scorer": models.scorer.name}
    if models.judge is not None:
        names["judge"] = models.judge.name
    result = summary(traces, settings, names, f"{folder.name}/{TRACES}")
    if log.repaired is None:
        return result
    said = f"{TRACES}: a torn last line of {len(log.repaired)} characters was cut off, its item searched again"
    return replace(result, lineage=[*result.lineage, said])


def summary(traces: Sequence[Trace], settings: Search, models: Mapping[str, str], path: str) -> StageResult:
    """What the traces amount to. ``path`` is that of the traces, relative to the run folder."""
    kept = [trace for trace in traces if trace.outcome is not None]
    drawn = [c for _, c in _candidates(traces) if c["kind"] != "delete"]
    _must_score(drawn)
    if not kept:
        raise WorkFailed(f"all {len(traces)} items were dropped ({_counts(traces)}); try --preset small")
    return StageResult(
        gaps=_gaps(kept, models),
        vitals=_vitals(traces, kept, settings),
        curves=[_curve(kept)],
        tables=[_likelihoods(traces), _fates(traces)],
        views=[View("reer", path)],
        lineage=_lineage(traces, settings, models),
        outputs=figures(traces),
    )


def _must_score(drawn: Sequence[Mapping[str, Any]]) -> None:
    try:
        must_act("the REER search", sum(c["value"] is not None for c in drawn), len(drawn))
    except InertMethod as error:
        fates = ", ".join(f"{fate}: {n}" for fate, n in Counter(str(c["rejected"]) for c in drawn).most_common())
        raise InertMethod(
            f"{error} (none of {len(drawn)} candidates could be scored; {fates}): a model that cannot follow the "
            "instruction of its preset needs --preset small"
        ) from None


def figures(traces: Sequence[Trace]) -> dict[str, Any]:
    """The figures of ``--json``: counts of items, mean NLLs over kept items (nats per token), calls asked for."""
    kept = [trace for trace in traces if trace.outcome is not None]
    means = {f"nll_{name}": _mean(kept, name) for name in ("plain", "empty", "start", "final")}
    return {
        "items": len(traces),
        "done": len(traces),
        "dropped": len(traces) - len(kept),
        "accepted": sum(trace.data["accepted"] for trace in kept),
        **means,
        "calls": sum(sum(trace.data["calls"].values()) for trace in traces),
    }


def _gaps(kept: Sequence[Trace], models: Mapping[str, str]) -> list[Gap]:
    rows = [
        _gap(f"{METRIC}: refined thinking against none", [t.data["nll"] for t in kept], "plain"),
        _gap(f"{METRIC}: refined thinking against the first", [t.data["nll"] for t in kept], "start"),
    ]
    judged = [t.data["judge"] for t in kept if "judge" in t.data]
    if judged:
        rows.append(_gap(f"{METRIC}, by {models.get('judge')}: refined against the first", judged, "start"))
    return rows


def _gap(metric: str, nlls: Sequence[Mapping[str, float]], baseline: str) -> Gap:
    before, after = [row[baseline] for row in nlls], [row["final"] for row in nlls]
    found = paired(after, before)
    return Gap("search", metric, fmean(before), fmean(after), found.low, found.high, found.n, paired=True)


def _vitals(traces: Sequence[Trace], kept: Sequence[Trace], settings: Search) -> list[Vital]:
    steps = [step for trace in traces for step in trace.data["steps"]]
    drawn = Counter(c["rejected"] for _, c in _candidates(traces) if c["kind"] != "delete")
    total = drawn.total()
    unusable = drawn["unparsed"] + drawn["empty"]
    limit = settings.max_overlap
    return [
        Vital(
            "accept_rate", _share(sum(s["accepted"] is not None for s in steps), len(steps)), 0.05, None,
            "visits that found something better; near 0, the proposals do not help",
        ),
        Vital(
            "median_drop", median(t.data["nll"]["start"] - t.data["nll"]["final"] for t in kept), 0.01, None,
            "NLL(first thinking) - NLL(refined), nats per token, over kept items",
        ),
        Vital(
            "median_gain", median(t.data["nll"]["plain"] - t.data["nll"]["final"] for t in kept), 0.0, None,
            "NLL(no thinking) - NLL(refined); below 0, thinking costs more than it brings",
        ),
        Vital(
            "overlap", max(t.data["overlap"]["ngram"] for t in kept), None, limit if limit is not None else 0.10,
            "largest n-gram overlap of a kept thinking with its text; above the range, the text leaks",
        ),
        Vital(
            "content_overlap", fmean(t.data["overlap"]["content"] for t in kept), None, None,
            "mean share of a kept thinking's content words that its text holds; paraphrase shows here",
        ),
        Vital("dropped", _share(len(traces) - len(kept), len(traces)), None, 0.3, "items dropped by a filter"),
        Vital(
            "unusable", _share(unusable, total), None, 0.5,
            "candidates without a parsable or any text; near 1, the generator cannot follow the instruction",
        ),
        Vital("leaking", _share(drawn["overlap"], total), None, 0.5, "candidates rejected because they copy the text"),
        Vital(
            "duplicates", _share(drawn["duplicate"], total), None, 0.5,
            "candidates that repeat another one or the segment; near 1, the sampling is too cold",
        ),
    ]  # fmt: skip


def _curve(kept: Sequence[Trace]) -> Curve:
    """Mean objective after 0, 1, 2, ... visits; an item that ended keeps its last value."""
    series = [[t.data["objective"]["start"], *(step["after"] for step in t.data["steps"])] for t in kept]
    longest = max(map(len, series))
    points = [[k, fmean(row[min(k, len(row) - 1)] for row in series)] for k in range(longest)]
    return Curve("Search", "segments visited", "mean objective, nats/token", {"all items": points})


def _likelihoods(traces: Sequence[Trace]) -> Table:
    names = {"plain": "no thinking", "empty": "empty thinking", "start": "first", "final": "refined"}
    judges = {"start": "judge: first", "final": "judge: refined"}
    if not any("judge" in trace.data for trace in traces):
        judges = {}
    rows = []
    for trace in traces:
        nlls, judged = trace.data.get("nll", {}), trace.data.get("judge", {})
        figures = [*map(nlls.get, names), *map(judged.get, judges)]
        rows.append([trace.id, *figures, trace.data["dropped"] or ""])
    return Table("NLL of each text, nats/token", ["item", *names.values(), *judges.values(), "dropped"], rows)


def _fates(traces: Sequence[Trace]) -> Table:
    counts = Counter((c["kind"], c["rejected"] or "accepted") for _, c in _candidates(traces))
    rows = [[*key, counts[key]] for key in sorted(counts)]
    return Table("What became of the candidates", ["kind", "fate", "count"], rows)


def _lineage(traces: Sequence[Trace], settings: Search, models: Mapping[str, str]) -> list[str]:
    written = sum(trace.data["lineage"]["request"] != "given" for trace in traces)
    lines = [f"{role}: {name}" for role, name in models.items()]
    lines.append(f"objective {settings.objective}; proposals {', '.join(settings.proposals)}; seed {settings.seed}")
    if written:
        lines.append(f"{written} of {len(traces)} requests were written backwards from their text by the generator")
    return lines


def _candidates(traces: Sequence[Trace]) -> Iterator[tuple[Trace, dict[str, Any]]]:
    for trace in traces:
        for step in trace.data["steps"]:
            for candidate in step["candidates"]:
                yield trace, candidate


def _counts(traces: Sequence[Trace]) -> str:
    return ", ".join(f"{reason}: {n}" for reason, n in Counter(str(t.data["dropped"]) for t in traces).most_common())


def _mean(kept: Sequence[Trace], name: str) -> float | None:
    return fmean(trace.data["nll"][name] for trace in kept) if kept else None


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
