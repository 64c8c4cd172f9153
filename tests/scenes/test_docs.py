"""What the page says: its table is that of the result file, its commands work."""

import json
import re
import shlex
from pathlib import Path

import pytest

from backcast.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods" / "ootsm.md"
RESULTS = ROOT / "benchmarks" / "effects" / "results" / "scenes_counts.json"
pytestmark = pytest.mark.skipif(not PAGE.is_file() or not RESULTS.is_file(), reason="no docs beside the tests")


def rows():
    """The lines of the page's table, made from the file."""
    found = json.loads(RESULTS.read_text())
    for share in (0.3, 0.5, 0.7):
        lines = found[f"F={share}"]
        for name, line in lines.items():
            if name in ("frames", "minus reported"):
                continue
            points = [f"{100 * line[key]:.1f}" for key in ("no R@5", "no R@10", "no mR@10")]
            objects = " / ".join(f"{line[f'object {key}']:.3f}"[1:] for key in ("precision", "recall", "f1"))
            said = line["appear precision"]
            come = "0" if said is None else f"{line['appear recall']:.3f}"[1:] + " / " + f"{said:.3f}"[1:]
            novel = "0" if not line["novel f1"] else f"{line['novel f1']:.3f}"[1:]
            yield f"| {share:g} | {lines['frames']} | {name} | {' | '.join(points)} | {objects} | {come} | {novel} |"


def test_quotes():
    """Every row of the bar stands in the page."""
    text = PAGE.read_text()
    missing = [row for row in rows() if row not in text]
    assert not missing, "\n".join(missing)


def test_commands(tmp_path, monkeypatch, capsys):
    """The first commands of "try it" work as printed, on fewer clips."""
    block = re.search(r"## Try it.*?```\n(.*?)```", PAGE.read_text(), re.DOTALL).group(1)
    monkeypatch.chdir(tmp_path)
    for line in block.splitlines():
        words = shlex.split(
            line.replace("--count 300", "--count 30")
            .replace("--steps 600", "--steps 3")
            .replace("--fit.steps 600", "--fit.steps 3 --fit.width 16 --out run")
        )
        assert words[0] == "backcast"
        assert main(words[1:]) == 0, line
    assert capsys.readouterr().out
