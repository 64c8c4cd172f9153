"""``backcast new``: the scaffold is written, and every command that it names runs."""

import json
import shlex
import subprocess
import sys

import pytest

from backcast import cli

SMALL = {
    "text": "--train.steps 1 --train.prompts 2 --train.measured 2 --train.longest 8 --train.lora 0 --dry-run",
    "scene": "--fit.steps 40",
    "game": "--dry-run",
}
"""What makes a scaffold's training small enough for a test."""


@pytest.mark.parametrize("kind", sorted(SMALL))
def test_every_command_of_the_scaffold_runs(kind, tmp_path, tiny_llama, capsys, monkeypatch):
    """``--json`` names files and commands; each command ends with code 0 in the new folder (models: a tiny one)."""
    folder = tmp_path / "mine"
    assert cli.main(["new", kind, str(folder), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["files"] == sorted(path.name for path in folder.iterdir())
    assert (folder / "README.md").read_text().startswith("# mine: ")
    assert len(told["commands"]) >= 3
    monkeypatch.chdir(folder)
    for command in told["commands"]:
        words = [str(tiny_llama) if word == "smollm2" else word for word in shlex.split(command)]
        if words[0] == "python":
            subprocess.run([sys.executable, *words[1:]], check=True)
            continue
        if words[:2] == ["backcast", "run"]:
            words += shlex.split(SMALL[kind])
        if "judge" in words:
            words[-1] = "2"
        assert cli.main(words[1:]) == 0, capsys.readouterr().err


def test_a_folder_that_holds_something_is_left_alone(tmp_path, capsys):
    """One line, exit code 2, nothing written."""
    (tmp_path / "note.txt").write_text("mine")
    assert cli.main(["new", "game", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"backcast: '{tmp_path}' is there already; name a new folder\n"
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]


def test_an_unknown_kind_is_named(tmp_path, capsys):
    """The kinds that there are stand in the line."""
    assert cli.main(["new", "txt", str(tmp_path / "x")]) == 2
    assert "text" in capsys.readouterr().err
