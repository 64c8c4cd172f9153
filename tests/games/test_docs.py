"""What the pages say: their files and snippets work as printed, and their figures are those of the result file."""

import json
import re
import shlex
from pathlib import Path

import pytest

from backcast.cli import main

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "games.md"
pytestmark = pytest.mark.skipif(not PAGE.is_file(), reason="no docs beside the tests")


def blocks(kind):
    """The code blocks of the how-to of one language ('' for commands)."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    return [text for language, text in found if language == kind]


def commands():
    """Every command of the how-to that trains nothing, without its comment."""
    lines = [line.partition(" # ")[0] for block in blocks("") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith("backcast game ") and " gap " not in line]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_the_commands_work_with_the_files_as_printed(words, tmp_path, monkeypatch, capsys):
    """Each command of the how-to succeeds in a folder that holds the page's own game and automaton."""
    monkeypatch.chdir(tmp_path)
    Path("mygame.toml").write_text(blocks("toml")[0])
    Path("fsm.json").write_text(blocks("json")[0])
    assert main(words) == 0
    assert capsys.readouterr().out.strip()


def test_the_snippets_run(capsys):
    """The Python of the how-to prints what its comments say."""
    pytest.importorskip("gymnasium")
    for block in blocks("python"):
        exec(block, {})
    out = capsys.readouterr().out
    assert "value=14.0" in out.replace("13.999999999999998", "14.0").replace("14.000000000000002", "14.0")
    assert "57/2 {'start': ['C']" in out


def test_the_page_quotes_the_experiment():
    """Gap and interval of every agent on the method's page are those of the result file, and its demands held."""
    found = json.loads((ROOT / "benchmarks/effects/results/game_agents.json").read_text())
    page = (ROOT / "docs/methods/memory-games.md").read_text()
    assert all(found["held"].values())
    for arm in found["arms"]:
        figures = f"{arm['gap']:.4f} [{arm['low']:.4f}, {arm['high']:.4f}]"
        assert f"| {arm['agent']} | {arm['k']} | {arm['steps']} | {arm['seeds']} | {figures} |" in page
