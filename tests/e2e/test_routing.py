"""``backcast run routing`` as a user runs it: stages, gaps, vitals, report, resume after a kill."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from backcast.routing.problems import Instance, paper_instance, windowed, write_instance, write_solution
from backcast.routing.start import savings

SHORT = ["--seconds", "none", "--iterations", "4000"]


def backcast(*words):
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "backcast", *words], capture_output=True, text=True, env=env, timeout=590
    )


def finished(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture
def known(tmp_path):
    """An instance file with a solution (that of savings) beside it."""
    drawn = paper_instance(200, 1)
    instance = Instance("mine", drawn.demands, drawn.capacity, (drawn.coords * 1000).round())
    write_instance(tmp_path / "mine.vrp", instance)
    routes = savings(instance)
    write_solution(tmp_path / "mine.sol", routes, instance.score(routes).value)
    return tmp_path / "mine.vrp"


@pytest.mark.method(10, proves="routes files and drawn instances")
def test_a_run_over_a_file_and_a_drawn_instance(tmp_path, known):
    """Gap to the best known for the file, cost against the start for both; report, pictures; done twice: skipped."""
    words = ["run", "routing", "--files", str(known), "uniform:200:0", *SHORT, "--out", str(tmp_path / "run"), "--json"]
    found = finished(backcast(*words))
    gaps = {gap["metric"]: gap for gap in found["gaps"]}
    assert gaps["% above the best known"]["baseline"] == pytest.approx(0, abs=0.5)
    assert gaps["% above the best known"]["value"] < gaps["% above the best known"]["baseline"]
    relative = gaps["cost in % of the start's"]
    assert relative["n"] == 2
    assert relative["low"] <= relative["value"] <= relative["high"] < relative["baseline"] == 100
    assert {vital["name"]: vital["ok"] for vital in found["vitals"]}["improved instances"] is True
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Cost above the end of the run" in page
    assert page.count("<svg") >= 3
    again = finished(backcast(*words))
    assert all(stage["skipped"] for stage in again["stages"])
    assert again["gaps"] == found["gaps"]


def test_beside_pyvrp_on_the_whole(tmp_path):
    """Time windows in a run: PyVRP's line, column and gap beside ours, for as long as ours took."""
    write_instance(tmp_path / "w.vrp", windowed(40, np.random.default_rng(0), "w"))
    words = ["run", "routing", "--files", str(tmp_path / "w.vrp"), "--beside", "pyvrp", "--seconds", "none"]
    found = finished(backcast(*words, "--iterations", "1500", "--out", str(tmp_path / "run"), "--json"))
    (row,) = found["routes"]
    assert row["beside"]["vehicles"] > 0
    assert row["beside"]["trace"][-1][1] == pytest.approx(row["beside"]["cost"], rel=1e-3)
    (gap,) = [gap for gap in found["gaps"] if gap["metric"].startswith("cost in % of PyVRP's")]
    assert gap["value"] == pytest.approx(100 * row["cost"] / row["beside"]["cost"])
    assert "PyVRP, whole" in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / "1-solve" / "w.svg").read_text().count("translate(") >= 2


@pytest.mark.method(10, proves="goes on after kill -9")
def test_killed_and_resumed_it_ends_the_same(tmp_path):
    """``kill -9`` after the first instance: the same command keeps its figures and ends with those of a whole run."""

    def words(name):
        files = ["uniform:200:0", "uniform:200:1", "uniform:200:2"]
        budget = ["--seconds", "none", "--iterations", "30000"]
        return ["run", "routing", "--files", *files, *budget, "--out", str(tmp_path / name), "--json"]

    whole = finished(backcast(*words("whole")))
    running = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "backcast", *words("killed")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    kept = tmp_path / "killed" / "1-solve" / "uniform-200-0.json"
    while not kept.exists():
        time.sleep(0.01)
        assert running.poll() is None
    running.kill()
    running.wait()
    resumed = finished(backcast("run", "--resume", str(tmp_path / "killed"), "--json"))
    assert [row["cost"] for row in resumed["routes"]] == [row["cost"] for row in whole["routes"]]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--files", "nowhere.vrp"], "no such file: 'nowhere.vrp'"),
        (["--files", "uniform:20", "uniform:20:0"], "'uniform-20-0' stands twice"),
        (["--seconds", "none"], "seconds and iterations are both none"),
        (["--engine", "lkh"], "engine 'lkh' is unknown"),
        (["--jobs", "0"], "jobs must be at least 1, found 0"),
    ],
)
def test_bad_settings_are_one_line(tmp_path, words, said):
    done = backcast("run", "routing", *words, "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("how", "more"), [("rl", ["--reward", "after"]), ("sl", []), ("sl", ["--net", "attention"])])
@pytest.mark.method(10, proves="trains policies and uses them")
def test_policies_are_trained_scored_and_used(tmp_path, how, more):
    """``route train`` for a few steps: report, curves, arms; the same command again does nothing; its folder serves
    ``route solve``; a folder of another architecture is refused."""
    pytest.importorskip("torch")
    short = [
        "--size",
        "30",
        "--minutes",
        "none",
        "--steps",
        "6",
        "--instances",
        "4",
        "--samples",
        "4",
        "--held-out",
        "3",
    ]
    words = ["route", "train", "--how", how, *more, *short, "--out", str(tmp_path / "run"), "--json"]
    found = finished(backcast(*words))
    names = ["global", "local", "after", "score"] if how == "rl" else ["global", "local", "score"]
    assert [stage["name"] for stage in found["stages"]] == names
    assert len(found["gaps"]) == 3
    assert all(gap["paired"] and gap["n"] == 3 for gap in found["gaps"])
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Cost of decoded partitions, local" in page
    assert "sweep, one start + 5 levels, untrained local" in page
    assert all(stage["skipped"] for stage in finished(backcast(*words))["stages"])
    model = tmp_path / "run" / "model"
    solve = ["route", "solve", "uniform:60", "--start", "policy", "--engine", "policy", "--policy", str(model)]
    solve += ["--iterations", "40", "--out", str(tmp_path / "out"), "--json"]
    (row,) = finished(backcast(*solve))
    assert row["feasible"] is True
    assert row["cost"] <= row["start_cost"]
    if how == "rl":
        path = model / "global.json"
        path.write_text(path.read_text().replace('"width": 32', '"width": 16'))
        done = backcast(*solve)
        assert done.returncode == 2
        assert "is of another architecture" in done.stderr
        assert "Traceback" not in done.stderr
        assert backcast("route", "solve", "uniform:60", "--start", "policy").returncode == 2
        assert "set how to sl" in backcast("route", "train", "--net", "attention").stderr
        assert "set how to rl" in backcast("route", "train", "--how", "sl", "--reward", "after").stderr
