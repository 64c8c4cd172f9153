"""``backcast run``: names, files, flags, dry runs, and what they answer to bad input."""

import json
import subprocess
import sys

import pytest


def backcast(*words):
    return subprocess.run([sys.executable, "-m", "backcast", *words], capture_output=True, text=True)


def refused(*words):
    done = backcast(*words)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def test_a_dry_run_shows_the_resolved_recipe_and_the_plan_and_does_nothing(tmp_path):
    """Defaults, file and flags are merged as they would be for the run; no folder appears, no model is fetched."""
    recipe = tmp_path / "mine.toml"
    recipe.write_text('recipe = "story"\nlimit = 3\n[search]\nexpansions = 7\n')
    done = backcast("run", str(recipe), "--search.max-steps", "5", "--out", str(tmp_path / "r"), "--dry-run", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["resolved"]["limit"] == 3
    assert said["resolved"]["search"]["expansions"] == 7
    assert said["resolved"]["search"]["max_steps"] == 5
    made = [line["stage"] for line in said["plan"] if not line["stage"].startswith("judge-")]
    assert made == ["search", "export", "sft", "grpo", "compress"]
    assert all(line["seconds"] > 0 and line["memory_gb"] > 0 for line in said["plan"])
    assert not (tmp_path / "r").exists()


def test_a_dry_run_prints_a_recipe_that_can_be_run(tmp_path):
    """What it prints above the plan is a TOML file that resolves to itself."""
    import tomllib

    text = backcast("run", "reer", "--limit", "2", "--dry-run").stdout.split("Plan")[0]
    path = tmp_path / "copied.toml"
    path.write_text(text)
    again = json.loads(backcast("run", str(path), "--dry-run", "--json").stdout)
    assert again["resolved"] == tomllib.loads(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('recipe = "stori"', "did you mean 'story'?"),
        ("limit = 3", "no recipe named"),
        ('recipe = "story"\nlimmit = 3', "unknown key 'limmit'; did you mean 'limit'?"),
        ('recipe = "story"\n[search]\nexpansion = 3', "unknown key 'expansion'; did you mean 'expansions'?"),
        ('recipe = "story"\nlimit = "many"', "limit: expected int, found 'many'"),
        ('recipe = "story"\nmodel = "http://localhost:1/v1"', "a server cannot be trained"),
        ('recipe = "story', "not TOML"),
        ('recipe = "story"\nlimit = 0', "limit must be at least 1, found 0"),
        ('recipe = "story"\nheld_out_limit = 0', "held_out_limit must be at least 1, found 0"),
        ('recipe = "story"\nlimit = 1', "--validation 1 leaves none of 1 pairs to train on"),
        ('recipe = "story"\nbudget = "smal"', "unknown budget 'smal'; did you mean 'small'?"),
        ('recipe = "story"\nproblems = "no.jsonl"', "no such file: 'no.jsonl'"),
        ('recipe = "story"\n[grpo]\nprompts = 90\nmicro = 720', "a step takes 90 different ones; lower --grpo.prompts"),
        ('recipe = "story"\nplanning = 1.0', "planning must be in [0, 1), found 1.0"),
        ('recipe = "story"\nbits = 9', "bits must be at least 1 and at most 8, found 9"),
        ('recipe = "story"\n[search]\ntop_p = 1.5', "top_p must be more than 0 and at most 1, found 1.5"),
        ('recipe = "story"\n[judging]\ntemperature = -1', "temperature must be at least 0, found -1"),
    ],
)
def test_a_wrong_recipe_is_answered_in_one_line(tmp_path, text, said):
    path = tmp_path / "r.toml"
    path.write_text(text)
    assert said in refused("run", str(path))


def test_a_problem_worked_wrongly_is_named_by_its_line(tmp_path):
    """The column ``worked`` of a user's own problems holds text, or is not there."""
    lines = [{"prompt": f"What is {n} plus 1?", "answer": n + 1, "kind": "numeric"} for n in range(8)]
    path = tmp_path / "my.jsonl"
    path.write_text(
        "".join(json.dumps({**line, "worked": 5} if i == 2 else line) + "\n" for i, line in enumerate(lines))
    )
    said = refused("run", "story", "--problems", str(path), "--dry-run")
    assert "line 3: 'worked' must be a text, found 5" in said


def test_a_missing_recipe_file_is_named():
    assert "no such file: 'nowhere.toml'" in refused("run", "nowhere.toml")


def test_a_missing_pairs_file_is_named_before_anything_is_loaded():
    assert "no such file: 'nowhere.jsonl'" in refused("run", "reer", "--pairs", "nowhere.jsonl", "--dry-run")


def test_an_unknown_alias_names_the_nearest():
    assert "did you mean 'smollm2'?" in refused("run", "reer", "--model", "smolm2")


def test_resume_takes_nothing_else(tmp_path):
    assert "takes nothing else" in refused("run", "--resume", str(tmp_path), "--limit", "3")
    assert "is no run folder" in refused("run", "--resume", str(tmp_path))


@pytest.mark.parametrize("where", ["/proc/nowhere/run", "/dev/null/run"])
def test_a_folder_that_cannot_be_written_is_one_line(where):
    assert where.split("/")[1] in refused("run", "reer", "--out", where)


def test_other_settings_in_the_same_folder_are_refused(tmp_path):
    """A second recipe never overwrites the first; the difference is named."""
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "recipe.toml").write_text(backcast("run", "reer", "--dry-run").stdout.split("Plan")[0])
    assert "limit: none -> 2" in refused("run", "reer", "--limit", "2", "--out", str(tmp_path / "r"))
