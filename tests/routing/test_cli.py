"""``backcast route solve`` as a user meets it: files in, files out, JSON keys, one line for bad input, Ctrl-C."""

import json
import os
import re
import shutil
import subprocess
import sys
from itertools import pairwise

import pytest

from backcast.cli import main
from backcast.routing.problems import paper_instance, read_instance, read_solution, write_instance
from tests.routing.interrupting import interrupted

KEYS = {
    "instance",
    "cost",
    "cost_rounded",
    "cost_unrounded",
    "feasible",
    "vehicles",
    "seconds",
    "cpu_seconds",
    "best_known",
}
KEYS |= {"gap", "routes", "solution"}


@pytest.fixture
def city(tmp_path):
    """A CSV of 40 customers."""
    rows = [f"{k},{(k * 37) % 101},{(k * 53) % 97},{1 + k % 5 if k else 0}" for k in range(41)]
    path = tmp_path / "city.csv"
    path.write_text("\n".join(["id,x,y,demand", *rows]) + "\n")
    return path


def process(*words, **more):
    """``python -m backcast route ...`` run to its end."""
    words = [sys.executable, "-m", "backcast", "route", *map(str, words)]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, check=False, **more)


def test_many_files_at_once_with_json(city, tmp_path, capsys):
    """A CSV and a VRPLIB file with a solution beside it: promised keys, files that read back, pictures that are SVG."""
    vrp = tmp_path / "paper.vrp"
    write_instance(vrp, paper_instance(20))
    words = ["route", "solve", str(city), str(vrp), "--capacity", "20", "--iterations", "3000"]
    assert main([*words, "--out", str(tmp_path / "out"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["instance"] for row in rows] == ["city", "uniform-20-0"]
    for row, source in zip(rows, (city, vrp), strict=True):
        assert row.keys() >= KEYS
        assert row["feasible"] is True
        assert row["gap"] is None
        instance = read_instance(source, 20)
        routes = read_solution(row["solution"], instance)
        assert len(routes) == row["vehicles"]
        assert all((tmp_path / "out").joinpath(picture).read_text().startswith("<svg") for picture in row["pictures"])
        assert all(a[1] > b[1] for a, b in pairwise(row["trace"]))
    assert main([*words, "--out", str(tmp_path / "again"), "--json"]) == 0
    assert [row["cost"] for row in json.loads(capsys.readouterr().out)] == [row["cost"] for row in rows]


def test_the_gap_and_a_warm_start_from_a_file(city, tmp_path, capsys):
    """A .sol beside the instance gives gap and best known; the same file starts the search."""
    words = ["route", "solve", str(city), "--capacity", "20", "--iterations", "20000"]
    assert main([*words, "--out", str(tmp_path / "first")]) == 0
    shown = capsys.readouterr().out
    assert "not measured" in shown
    shutil.copy(tmp_path / "first" / "city.sol", tmp_path)
    assert main([*words, "--start", str(tmp_path / "city.sol"), "--out", str(tmp_path / "warm"), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["start_cost"] == pytest.approx(row["best_known"])
    assert row["gap"] <= 0


@pytest.mark.parametrize("engine", ["pyvrp", "exact"])
def test_other_engines(city, tmp_path, capsys, engine):
    """Both make the sweep's routes shorter; groups beyond the exact engine's reach are refused where all are."""
    words = ["--iterations", "1500", "--group", "2", "--engine", engine, "--start", "sweep", "--out", str(tmp_path)]
    assert main(["route", "solve", str(city), *words, "--capacity", "15", "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["cost"] < row["start_cost"]
    if engine == "exact":
        assert main(["route", "solve", str(city), *words, "--capacity", "200"]) == 2
        assert "the exact engine takes at most 12" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["solve", "nowhere.vrp"], "no such file: 'nowhere.vrp'"),
        (["solve", "uniform:x"], "'uniform:x': write uniform:N"),
        (["solve", "uniform:20", "--engine", "lkh"], "engine 'lkh' is unknown"),
        (["solve", "uniform:20", "--seconds", "0"], "0.0 seconds"),
        (["solve", "uniform:20", "--seconds", "nan"], "nan seconds"),
        (["solve", "uniform:20", "--seconds", "inf"], "inf seconds"),
        (["solve", "uniform:20", "--start", "nowhere.sol"], "no such file: 'nowhere.sol'"),
        (["solve", "{city}"], "a CSV file holds no capacity; add --capacity"),
        (["solve", "{city}", "--capacity", "3"], "node 3 has demand 4, more than the capacity 3"),
        (["slove"], "unknown command 'route slove'; did you mean 'solve'"),
    ],
)
def test_bad_input_is_one_line_and_code_2(city, words, said):
    done = process(*[word.format(city=city) for word in words])
    assert done.returncode == 2
    assert said in done.stderr
    lines = [line for line in done.stderr.splitlines() if not line.startswith(("compiling", "uniform-20-0: 0/"))]
    assert len(lines) == 1
    assert "Traceback" not in done.stderr


def test_an_interrupt_returns_the_best_so_far(tmp_path):
    """Ctrl-C after the search has begun: exit code 0, a feasible solution, marked as interrupted."""
    words = ["route", "solve", "uniform:200", "--seconds", "600", "--out", str(tmp_path), "--json"]
    running, out, _ = interrupted(words)
    assert running.returncode == 0
    (row,) = json.loads(out.strip().splitlines()[-1])
    assert row["interrupted"] is True
    assert row["feasible"] is True
    assert row["seconds"] < 300


def test_solving_imports_no_torch_and_the_room_is_light():
    """Through sys.modules: neither ``import backcast.routing`` nor a whole solve touches torch; the former not even
    numba."""
    code = (
        "import sys, backcast.routing as r; light = 'numba' not in sys.modules and 'scipy' not in sys.modules;"
        "r.solve(r.paper_instance(20), settings=r.Settings(iterations=100));"
        "print(light, 'torch' in sys.modules, 'pyvrp' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]


def test_the_first_call_says_that_it_compiles(tmp_path):
    """With an empty numba cache one line on stderr; with a full one none."""
    words = ["solve", "uniform:20", "--iterations", "100", "--out", tmp_path / "out", "--json"]
    fresh = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "numba")}
    first = process(*words, env=fresh)
    assert len(re.findall(r"^compiling the search", first.stderr, re.MULTILINE)) == 1
    assert "compiling" not in process(*words, env=fresh).stderr
    assert len(first.stdout.splitlines()) == 1


def test_exports_are_what_they_say():
    import backcast.routing as room

    assert all(getattr(room, name) is not None for name in room.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = room.nothing
