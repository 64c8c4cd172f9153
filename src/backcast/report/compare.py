"""Two runs side by side: paired differences on the problems that both attempted, and the settings that differ."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from backcast.core.params import flat
from backcast.core.run import Gap, read_recipe, read_stages
from backcast.core.stats import Interval, paired
from backcast.core.trace import Trace
from backcast.report.collect import sources
from backcast.report.traces import read_traces
from backcast.report.viewers import finite

Values = dict[str, float | None]
"""One measure: problem id -> its mean over the attempts, None where no attempt was scored."""


def compare(first: Path, second: Path, seed: int = 0) -> dict[str, Any]:
    """The comparison of two run folders as plain values; every difference is ``second - first``.

    ``measures`` has one row per kind of trace and measure, over the problems both runs scored: means, paired
    difference with its 95 % bootstrap interval, n. Raises BadInput when a folder is no run.
    """
    one, two = _measures(first), _measures(second)
    rows = [_row(key, one[key], two[key], seed) for key in one if key in two]
    kinds = dict.fromkeys([kind for kind, _ in [*one, *two]])
    return {
        "runs": [str(first), str(second)],
        "measures": rows,
        "problems": [_problems(kind, one, two) for kind in kinds],
        "gaps": _gaps(first, second),
        "settings": _settings(first, second),
    }


def _measures(folder: Path) -> dict[tuple[str, str], Values]:
    found: dict[tuple[str, str], dict[str, list[float]]] = {}
    for source in sources(folder, read_stages(folder)):
        for _, trace in read_traces(source.path):
            if trace is None:
                continue
            for name, value in _figures(trace).items():
                values = found.setdefault((trace.kind, name), {}).setdefault(trace.problem, [])
                values.extend([] if value is None else [value])
    return {
        key: {problem: sum(values) / len(values) if values else None for problem, values in problems.items()}
        for key, problems in found.items()
    }


def _figures(trace: Trace) -> dict[str, float | None]:
    figures = {"score": finite(trace.score.value)}
    nll = trace.data.get("nll")
    if trace.kind == "reer" and isinstance(nll, Mapping):
        figures |= {f"nll {name}": finite(nll.get(name)) for name in ("plain", "empty", "start", "final")}
    if trace.kind == "judge":
        figures |= {name: finite(value) for name, value in trace.score.parts.items()}
    return figures


def _row(key: tuple[str, str], one: Values, two: Values, seed: int) -> dict[str, Any]:
    pairs = [(a, b) for a, b in ((one[name], two.get(name)) for name in one) if a is not None and b is not None]
    a, b = [a for a, _ in pairs], [b for _, b in pairs]
    # Nothing shared: no figure at all, rather than the mean of nothing.
    change = paired(b, a, seed) if pairs else Interval(None, None, None, 0)
    return {
        "kind": key[0],
        "measure": key[1],
        "first": sum(a) / len(a) if a else None,
        "second": sum(b) / len(b) if b else None,
        "difference": change.value,
        "low": change.low,
        "high": change.high,
        "n": change.n,
    }


def _problems(
    kind: str, one: Mapping[tuple[str, str], Values], two: Mapping[tuple[str, str], Values]
) -> dict[str, Any]:
    a, b = one.get((kind, "score"), {}), two.get((kind, "score"), {})
    return {
        "kind": kind,
        "shared": sum(1 for name in a if name in b),
        "unscored": [name for name in a if name in b and (a[name] is None or b[name] is None)],
        "only_first": [name for name in a if name not in b],
        "only_second": [name for name in b if name not in a],
    }


def _gaps(first: Path, second: Path) -> list[dict[str, Any]]:
    def keyed(folder: Path) -> dict[tuple[str, str], Gap]:
        return {(gap.stage, gap.metric): gap for stage in read_stages(folder) for gap in stage.result.gaps}

    one, two = keyed(first), keyed(second)
    return [
        {"stage": key[0], "metric": key[1], "first": _value(one.get(key)), "second": _value(two.get(key))}
        for key in dict.fromkeys([*one, *two])
    ]


def _value(gap: Gap | None) -> dict[str, Any] | None:
    if gap is None:
        return None
    return {name: getattr(gap, name) for name in ("baseline", "value", "low", "high", "n", "paired")}


def _settings(first: Path, second: Path) -> list[dict[str, Any]]:
    one, two = flat(read_recipe(first)), flat(read_recipe(second))
    keys: Sequence[str] = sorted(one.keys() | two.keys())
    return [{"key": key, "first": one.get(key), "second": two.get(key)} for key in keys if one.get(key) != two.get(key)]
