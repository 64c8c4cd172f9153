"""``backcast run hicra`` and ``rethinker`` on a user's own file, with a model folder that is right half of the time."""

import pytest

from tests.e2e.test_rl import backcast, finished


@pytest.mark.parametrize(
    ("recipe", "last", "vital"),
    [("hicra", "hicra", "planning/credit_moved"), ("rethinker", "rethinker", "rethink/accepted")],
)
@pytest.mark.method(2, 5, proves="trains a model on your questions")
def test_a_run_on_a_file_of_questions(tmp_path, half_right, recipe, last, vital):
    """Prompts and answers from JSON Lines, a model folder, a chat template: the method acts, every gap is there."""
    folder, path = half_right
    words = [
        "run",
        recipe,
        "--problems",
        str(path),
        "--model",
        str(folder),
        "--no-control",
        "--out",
        str(tmp_path / "run"),
    ]
    sizes = ["--train.steps", "3", "--train.prompts", "4", "--train.group", "8", "--train.micro", "32"]
    found = finished(backcast(*words, *sizes, "--train.longest", "48", "--json"))
    assert [stage["name"] for stage in found["stages"]][-1] == last
    assert all(0 <= gap["low"] <= gap["value"] <= gap["high"] <= 1 for gap in found["gaps"])
    vitals = {row["name"]: row["value"] for row in found["vitals"]}
    assert vitals[vital] > 0
    assert (tmp_path / "run" / "report.html").exists()
