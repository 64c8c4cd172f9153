"""The examples: ten, one a method, at most ten lines each, and each does what it says as a process."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from backcast import recipes

FOLDER = Path(__file__).parents[2] / "examples"
SAYS = {
    "alphamed": r"-> A\n.*-> A\n.*-> None\n\[0\.0, 0\.656",
    "hicra": r"0\.6 +0\.5 +0\.5.*-0\.4 +-0\.5",
    "hlgp": r"\d\d routes, cost \d\d\.\d+ \[\]",
    "memory_games": r"tft 30 30\.0\ngrim 30 30\.0\nalld 10 10\.0",
    "ootsm": r"Persistence \['\w+.*\nMarkov \['\w+",
    "pixel_reasoner": r"\?.*Box\(x1=.*\n\[\[1\.025",
    "reer": r"^-?\d+\.\d+ -?\d+\.\d+ ",
    "splitquant": r"exact: True",
    "vl_rethinker": r"0\.2142",
    "wgm": r"1 groups.*\n2 groups",
}


def lines(path: Path) -> list[str]:
    """Lines of code: without the docstring, comments and blank lines."""
    code = re.sub(r'^""".*?"""', "", path.read_text(), flags=re.DOTALL)
    return [line for line in code.splitlines() if line.strip() and not line.startswith("#")]


def test_one_example_a_method_of_at_most_ten_lines():
    """Ten files, as many as methods; none is longer than ten lines of code."""
    found = sorted(path.stem for path in FOLDER.glob("*.py"))
    assert found == sorted(SAYS)
    assert len(found) == len(recipes.METHODS) == 10
    assert {name: len(lines(FOLDER / f"{name}.py")) for name in found if len(lines(FOLDER / f"{name}.py")) > 10} == {}


@pytest.mark.parametrize("name", sorted(SAYS))
def test_an_example_runs(name, tiny_llama):
    """It ends well and says what it should; REER's is given a tiny model in place of the bundled one."""
    words = [str(tiny_llama)] if name == "reer" else []
    done = subprocess.run([sys.executable, FOLDER / f"{name}.py", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(SAYS[name], done.stdout, flags=re.DOTALL), done.stdout
