"""``backcast run ootsm``: from clips to a fitted model, gap table, vitals, traces, timeline and report."""

import json

import pytest

from backcast import cli
from backcast.core.trace import TraceLog


def run(capsys, *words):
    code = cli.main([*map(str, words), "--json"])
    said = capsys.readouterr()
    assert code == 0, said.err
    return json.loads(said.out)


@pytest.mark.method(6, proves="both stages, beside count models")
def test_runs_from_clips_to_the_report(tmp_path, capsys):
    """Both stages work, are scored beside the counts, and are skipped the second time."""
    words = (
        "run",
        "ootsm",
        "--out",
        tmp_path / "run",
        "--count",
        60,
        "--fit.steps",
        40,
        "--fit.parts",
        2,
        "--fit.width",
        32,
    )
    said = run(capsys, *words)
    assert [stage["name"] for stage in said["stages"]] == ["fit", "score"]
    assert {gap["metric"] for gap in said["gaps"]} >= {"no R@10, against persistence", "object f1, against knn"}
    for gap in said["gaps"]:
        assert gap["n"] == 12
        assert gap["low"] <= gap["value"] - gap["baseline"] <= gap["high"]
    assert {vital["name"] for vital in said["vitals"]} >= {"parse failures", "novel-triplet F1", "ECE"}
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Every model on the same clips" in page
    assert "What follows in" in (tmp_path / "run" / "2-score" / "timeline.html").read_text()
    traces = list(TraceLog(tmp_path / "run" / "2-score" / "traces.jsonl"))
    assert len(traces) == 12
    assert all(trace.outcome.startswith("Frame ") for trace in traces)
    again = run(capsys, *words)
    assert [stage["skipped"] for stage in again["stages"]] == [True, True]
    assert again["gaps"] == said["gaps"]


def test_bad_settings(tmp_path, capsys):
    """Too few clips and a horizon without a future are refused in one line, and leave no folder."""
    for words, said in (
        (("--count", "3"), "count must be at least 10"),
        (("--horizon", "1.5"), "between 0 and 1"),
        (("--clips", "nowhere.jsonl"), "no such file"),
    ):
        assert cli.main(["run", "ootsm", "--out", str(tmp_path / "run"), *words]) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert not (tmp_path / "run").exists()
