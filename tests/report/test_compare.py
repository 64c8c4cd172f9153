"""Two runs side by side."""

from dataclasses import replace

import pytest

from backcast.core.errors import BadInput
from backcast.core.problem import Score
from backcast.core.run import Gap, Run, StageResult
from backcast.core.stats import paired
from backcast.core.trace import Trace, TraceLog
from backcast.report.compare import compare
from tests.report.sample import Settings, build, make_traces


def run_of(folder, values, candidates=4):
    """A run of one stage: ``values`` maps problems to the scores of their attempts."""
    traces = [
        Trace(f"{problem}-{n}", problem, "quiz", None, Score(value))
        for problem, scores in values.items()
        for n, value in enumerate(scores)
    ]
    return keep(folder, traces, candidates)


def keep(folder, traces, candidates=4):
    """A run of one stage that left these traces."""

    def work(stage):
        TraceLog(stage / "traces.jsonl").append(traces)
        return StageResult(gaps=[Gap("quiz", "error", 0.5, 0.25, n=len(traces))])

    run = Run.open(folder, "reer", Settings(candidates=candidates))
    run.stage("quiz", work)
    run.close()
    return folder


def test_pairs_by_problem_and_averages_attempts(tmp_path):
    """By hand: p goes from mean(1, 3) = 2 to 5, q from 4 to 3; mean difference (3 - 1) / 2 = 1. Others are named."""
    first = run_of(tmp_path / "a", {"p": [1.0, 3.0], "q": [4.0], "r": [1.0], "u": [None]})
    second = run_of(tmp_path / "b", {"p": [5.0], "q": [3.0], "s": [9.0], "u": [1.0]}, candidates=2)
    found = compare(first, second)
    (row,) = found["measures"]
    assert (row["kind"], row["measure"], row["n"]) == ("quiz", "score", 2)
    assert (row["first"], row["second"], row["difference"]) == (3.0, 4.0, 1.0)
    assert (row["low"], row["high"]) == (-1.0, 3.0)
    assert found["problems"] == [
        {"kind": "quiz", "shared": 3, "unscored": ["u"], "only_first": ["r"], "only_second": ["s"]}
    ]
    assert found["settings"] == [{"key": "candidates", "first": 4, "second": 2}]
    assert found["gaps"][0]["first"]["value"] == 0.25


def test_reer_traces_are_compared_on_their_likelihoods(tmp_path):
    """The refined thinking of the second run is 0.1 nats worse on each item: exactly that is found, others are 0."""
    traces = make_traces(5)
    worse = [
        replace(t, data={**t.data, "nll": {**t.data["nll"], "final": t.data["nll"]["final"] + 0.1}}) for t in traces
    ]
    found = compare(build(tmp_path / "a", traces), build(tmp_path / "b", worse))
    rows = {row["measure"]: row for row in found["measures"]}
    assert set(rows) == {"score", "nll plain", "nll empty", "nll start", "nll final"}
    assert rows["nll final"]["difference"] == pytest.approx(0.1)
    assert rows["nll final"]["low"] == pytest.approx(0.1)
    assert rows["nll start"]["difference"] == 0
    assert rows["nll final"]["n"] == 5
    assert found["settings"] == []


def test_held_out_texts_are_compared_under_every_condition(tmp_path):
    """Two judged runs pair on their held-out texts: own thinking and no block alike, text by text."""

    def judged(shift):
        parts = {"own thinking": 3.0 + shift, "no thinking block": 3.5}
        return [Trace(name, name, "judge", "z", Score(3.0 + shift, parts)) for name in "ab"]

    found = compare(keep(tmp_path / "a", judged(0.0)), keep(tmp_path / "b", judged(-0.25)))
    rows = {row["measure"]: (row["difference"], row["n"]) for row in found["measures"]}
    assert rows == {"score": (-0.25, 2), "own thinking": (-0.25, 2), "no thinking block": (0.0, 2)}


def test_the_interval_is_the_paired_one(tmp_path):
    """The bounds are those of core.stats.paired on the shared problems, and depend on nothing but the seed."""
    a, b = {f"p{n}": [float(n % 5)] for n in range(20)}, {f"p{n}": [float(n % 7)] for n in range(20)}
    first, second = run_of(tmp_path / "a", a), run_of(tmp_path / "b", b)
    expected = paired([n % 7 for n in range(20)], [n % 5 for n in range(20)], 3)
    (row,) = compare(first, second, seed=3)["measures"]
    assert (row["difference"], row["low"], row["high"]) == (expected.value, expected.low, expected.high)


def test_nothing_in_common_is_null_and_not_0(tmp_path):
    """Runs of other problems: no difference, no interval, n = 0; with one problem a difference without interval."""
    first = run_of(tmp_path / "a", {"p": [1.0]})
    (row,) = compare(first, run_of(tmp_path / "b", {"q": [1.0]}))["measures"]
    assert (row["first"], row["difference"], row["low"], row["n"]) == (None, None, None, 0)
    (row,) = compare(first, run_of(tmp_path / "c", {"p": [4.0]}))["measures"]
    assert (row["difference"], row["low"], row["n"]) == (3.0, None, 1)


def test_a_folder_that_is_no_run_is_bad_input(tmp_path):
    """Either side may be the wrong one."""
    run = run_of(tmp_path / "a", {"p": [1.0]})
    for pair in ((run, tmp_path), (tmp_path, run)):
        with pytest.raises(BadInput, match="no run folder"):
            compare(*pair)
