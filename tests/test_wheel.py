"""The wheel: it holds the package with its data, nothing else, and runs from its own files alone."""

import email
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="needs hatchling, which builds the wheel")
pytest.importorskip("build", reason="needs the package build")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    (found,) = out.glob("*.whl")
    return found


def names(wheel):
    return set(zipfile.ZipFile(wheel).namelist())


def test_it_holds_the_package_and_nothing_else(wheel):
    """Every file below src/backcast, the tested versions, and what a wheel must have; no test, benchmark or page."""
    source = ROOT / "src"
    kept = {
        p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file() and p.parent.name != "__pycache__"
    }
    about = {name for name in names(wheel) if ".dist-info/" in name}
    assert names(wheel) - about == {name for name in kept if ".egg-info" not in name} | {
        "backcast/data/constraints.txt"
    }
    endings = ("METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE")
    assert sorted(name.split("/", 1)[1] for name in about) == sorted(endings)


def test_what_it_must_hold(wheel):
    """One of each kind of data, by name: recipes, phrases, templates, scaffolds, bundled texts, states, versions."""
    wanted = ("recipes/story.toml", "learn/grams.txt", "report/templates/page.html", "scenes/timeline.js")
    wanted += ("data/new/game/game.toml", "data/writing/search.jsonl", "data/methods.json", "data/constraints.txt")
    wanted += ("compress/trellis_tables.npy", "py.typed")
    assert {f"backcast/{name}" for name in wanted} <= names(wheel)


def test_what_it_asks_for(wheel):
    """torch is in no base requirement; the extras are those of the project; every pin is in the constraints."""
    archive = zipfile.ZipFile(wheel)
    (metadata,) = (name for name in archive.namelist() if name.endswith("METADATA"))
    about = email.message_from_bytes(archive.read(metadata))
    base = [line for line in about.get_all("Requires-Dist") if "extra ==" not in line]
    assert 5 <= len(base) <= 12
    assert not any(line.startswith(("torch", "transformers", "trl")) for line in base)
    assert {"all", "lm", "learn", "compress", "games", "routing", "serve"} <= set(about.get_all("Provides-Extra"))


def test_it_runs_from_its_own_files(wheel, tmp_path):
    """Unpacked in an empty folder and nowhere near the checkout: states, recipes, scaffolds and pages are found."""
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    env = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def backcast(*words):
        command = [sys.executable, "-m", "backcast", *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = "import backcast; print(backcast.__file__)"
    found = subprocess.run([sys.executable, "-c", where], capture_output=True, text=True, cwd=tmp_path, env=env)
    assert found.stdout.startswith(str(tmp_path)), "the unpacked wheel is not what was imported"
    assert any(row["proved"] for row in json.loads(backcast("methods", "--json")))
    assert json.loads(backcast("doctor", "--json"))["versions"]["as tested"] > 20
    assert json.loads(backcast("new", "game", "mine", "--json"))["files"]
    assert "search" in backcast("run", "story", "--dry-run", "--out", "none")
    assert float(json.loads(backcast("game", "reply", "ipd", "--opponent", "tft", "--json"))["value"]) > 0
