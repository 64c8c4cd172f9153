"""What the method's page says works as printed."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from backcast.cli import main
from backcast.routing.problems import paper_instance, windowed, write_instance

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "hlgp.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="no docs beside the tests")


def blocks(kind):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language == kind]


def commands():
    lines = [line for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("backcast route solve")]


def untrained(folder):
    """A policy folder as ``route train`` leaves it, with random weights."""
    pytest.importorskip("torch")
    from backcast.routing.nets import Shape, make_policy, save_policy

    for name in ("global", "local"):
        save_policy(make_policy(Shape(2, 16, 8), 0), folder, name)


def write_solomon(path, instance):
    """An instance with time windows in Solomon's format, cut to whole numbers."""
    head = ["R", "VEHICLE", "NUMBER CAPACITY", "25 60", "CUSTOMER"]
    head.append("CUST NO. XCOORD. YCOORD. DEMAND READY TIME DUE DATE SERVICE TIME")
    columns = [instance.coords, instance.demands[:, None], instance.variant.windows, instance.variant.service[:, None]]
    table = np.concatenate(columns, axis=1).astype(int)
    table[0, 4] += 9  # places are cut too, so legs may be longer
    rows = [f"{k} {' '.join(map(str, row))}" for k, row in enumerate(table)]
    path.write_text("\n".join([*head, *rows]) + "\n")


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_work(words, tmp_path, monkeypatch, capsys):
    """Each ``route solve`` of the page, with a second instead of its budget, in a folder with files of those names."""
    monkeypatch.chdir(tmp_path)
    write_instance("X-n1001-k43.vrp", paper_instance(200))
    rows = [f"{k},{k * 37 % 101},{k * 53 % 97},{1 + k % 9 if k else 0}" for k in range(60)]
    Path("city.csv").write_text("\n".join(["id,x,y,demand", *rows]) + "\n")
    write_solomon(Path("R101.txt"), windowed(25, np.random.default_rng(0)))
    if "--policy" in words:
        untrained(Path(words[words.index("--policy") + 1]))
    words = [word if before != "--seconds" else "1" for before, word in zip(["", *words], words, strict=False)]
    words += [] if "--seconds" in words else ["--seconds", "1"]
    assert main(words) == 0
    assert "vehicles" in capsys.readouterr().out


def test_the_snippet_runs(capsys):
    for block in blocks("python"):
        exec(block.replace("seconds=2", "seconds=0.5").replace(":1000:", ":200:"), {})
    assert capsys.readouterr().out.count("\n") >= 2
