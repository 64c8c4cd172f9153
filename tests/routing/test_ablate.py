"""``route ablate``: start x levels x sub-solver in one table."""

import json

import pytest

from backcast.cli import main


def test_the_table(tmp_path, capsys):
    """Costs fall over levels for every start and sub-solver, and level 0 is the start's own cost for both."""
    words = ["route", "ablate", "uniform:60:0", "uniform:60:1", "--levels", "2", "--iterations", "30"]
    assert main([*words, "--out", str(tmp_path / "table.json"), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads((tmp_path / "table.json").read_text())
    assert len(rows) == 2 * 2 * 3
    by = {(row["start"], row["solver"], row["level"]): row["cost"] for row in rows}
    for start in ("sweep", "savings"):
        assert by[start, "pyvrp", 0] == by[start, "sisr", 0]
        for solver in ("pyvrp", "sisr"):
            costs = [by[start, solver, level] for level in range(3)]
            assert costs[0] >= costs[1] >= costs[2]
            assert costs[2] < costs[0]
    assert main([*words[:4], "--levels", "0"]) == 0
    assert "level 0" in capsys.readouterr().out


def test_policies_in_the_table(tmp_path, capsys):
    """Trained and random policies as start and sub-solver, from a folder."""
    pytest.importorskip("torch")
    from backcast.routing.nets import Shape, make_policy, save_policy

    for name in ("global", "local"):
        save_policy(make_policy(Shape(2, 16, 8), 1), tmp_path, name)
    words = ["route", "ablate", "uniform:30:0", "--levels", "1", "--starts", "policy", "random", "--policy"]
    assert main([*words, str(tmp_path), "--solvers", "policy", "random", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {(row["start"], row["solver"]) for row in rows} == {
        (a, b) for a in ("policy", "random") for b in ("policy", "random")
    }


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--starts", "sweeps"], "start 'sweeps' is unknown; did you mean 'sweep'"),
        (["--solvers", "lkh"], "sub-solver 'lkh' is unknown"),
        (["--starts", "policy"], "'policy' needs --policy DIR"),
        (["--levels", "-1"], "levels -1"),
    ],
)
def test_bad_words_are_one_line(words, said, capsys):
    assert main(["route", "ablate", "uniform:20", *words]) == 2
    assert said in capsys.readouterr().err
