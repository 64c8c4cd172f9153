"""``backcast run hicra`` and ``backcast run rethinker`` as a user runs them, on the small world, made short."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

SHORT = ["--train.warm", "100", "--train.steps", "3", "--train.measured", "40", "--train.save-every", "2"]


SIX = "".join(json.dumps({"prompt": f"{n} + 1 =", "answer": str(n + 1)}) + "\n" for n in range(6))


def backcast(*words):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "backcast", *words], capture_output=True, text=True, env=env, timeout=590
    )


def finished(done):
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("recipe", "stages", "vital"),
    [
        ("hicra", ["start", "grpo", "hicra"], "planning/credit_moved"),
        ("rethinker", ["start", "reasoner", "rethinker"], "rethink/accepted"),
    ],
)
@pytest.mark.method(2, 5, proves="trains on a small world")
def test_a_run_on_the_small_world(tmp_path, recipe, stages, vital):
    """Stages, gaps, vitals, report and a model that loads; the same command again does nothing."""
    more = [] if recipe == "hicra" else ["--no-control"]
    words = ["run", recipe, "--out", str(tmp_path / "run"), *SHORT, *more, "--json"]
    found = finished(backcast(*words))
    assert [stage["name"] for stage in found["stages"]] == stages
    assert [gap["stage"] for gap in found["gaps"]] == stages
    assert all(0 <= gap["low"] <= gap["value"] <= gap["high"] <= 1 for gap in found["gaps"])
    vitals = {row["name"]: row["value"] for row in found["vitals"]}
    assert vitals[vital] is not None
    assert "What groups teach" in (tmp_path / "run" / "report.html").read_text()
    assert (tmp_path / "run" / f"{len(stages)}-{stages[-1]}" / "model" / "model.safetensors").exists()
    again = finished(backcast(*words))
    assert all(stage["skipped"] for stage in again["stages"])
    assert again["gaps"] == found["gaps"]


@pytest.mark.method(2, 5, proves="goes on after kill -9, byte for byte")
def test_killed_and_run_again_it_ends_with_the_same_bytes(tmp_path):
    """``kill -9`` in the middle of a training, behind a checkpoint: the same command goes on, and ends as if whole."""
    short = ["--train.warm", "60", "--train.steps", "6", "--train.measured", "20", "--train.save-every", "2"]

    def words(name):
        return ["run", "hicra", "--no-control", "--out", str(tmp_path / name), *short, "--json"]

    whole = finished(backcast(*words("whole")))
    command = [sys.executable, "-W", "ignore", "-m", "backcast", *words("killed")]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    started = subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    waited = tmp_path / "killed" / "2-hicra" / "trainer" / "checkpoint-2" / "group_trainer_0.pt"
    until = time.monotonic() + 500
    while not waited.exists() and time.monotonic() < until:
        assert started.poll() is None, "the run ended before it could be killed"
        time.sleep(0.02)
    started.kill()
    started.wait()
    assert not (tmp_path / "killed" / "2-hicra" / "done.json").exists()
    again = finished(backcast(*words("killed")))
    assert again["gaps"] == whole["gaps"]
    assert again["vitals"] == whole["vitals"]
    first, second = (tmp_path / name / "2-hicra" / "model" / "model.safetensors" for name in ("whole", "killed"))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("lines", "more", "message"),
    [
        ('{"prompt": "1 + 1 ="}\n', [], "line 1: no 'answer'"),
        ('{"prompt": "1 + 1 =", "answer": "2"}\n', [], "1 questions; give at least 4"),
        ('{"prompt": "1 + 1 =", "answer": "2", "kind": "maths"}\n', [], "kind 'maths' is not one of"),
        ('{"prompt": "1 + 1 =", "answer": "2"}\n', ["--train.group", "1"], "group must be at least 2, found 1"),
        ('{"prompt": "1 + 1 =", "answer": "two", "kind": "numeric"}\n', [], "line 1: the answer 'two' is not a number"),
        ('{"prompt": "A or B?", "answer": "aspirin", "kind": "choice"}\n', [], "'aspirin' is not a letter"),
        ('{"prompt": "Is it?", "answer": true}\n', [], "line 1: no 'answer'"),
        ('{"prompt": "1 + 1 =", "answer": "2"}\n' * 8, [], "every question repeats a held-out one"),
        (SIX, [], "5 questions to learn from, but a step takes 16 different ones; lower --train.prompts"),
        (SIX, ["--train.heldout", "2"], "heldout must lie between 0 and 1"),
        (SIX, ["--train.lora", "-1"], "lora, seed and clip-high must be at least 0, found -1, 0 and 0.28"),
        (None, [], "do not go together"),
        (None, ["--grams", "GRAMS"], "the list of grams is empty"),
        (None, ["--grams", "nowhere.txt"], "cannot read the grams in 'nowhere.txt'"),
        (None, ["--alpha", "1.5"], "alpha must be in [0, 1), found 1.5"),
        (None, ["--problems", "reasoning-gym:no_such_thing"], "no questions called 'no_such_thing'"),
        (None, ["--problems", "nowhere.jsonl"], "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_run(tmp_path, lines, more, message):
    """One clear line, exit code 2."""
    path, grams = tmp_path / "questions.jsonl", tmp_path / "grams.txt"
    path.write_text(lines or "")
    grams.write_text("// only a comment\n\n")
    more = [str(grams) if word == "GRAMS" else word for word in more]
    model = [] if "--grams" in more or "--alpha" in more else ["--model", "smollm2"]
    problems = ["--problems", str(path)] if lines else []
    done = backcast("run", "hicra", *model, *problems, *more, "--out", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--share", "0"], "share must be above 0 and at most 1, found 0.0"),
        (["--replay-alpha", "-1"], "replay-alpha and imitate must be at least 0, found -1.0 and 0.05"),
    ],
)
def test_what_the_rethinker_cannot_run(tmp_path, more, message):
    done = backcast("run", "rethinker", *more, "--out", str(tmp_path / "run"), "--dry-run")
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_a_tokenizer_without_offsets_is_refused(tmp_path, tiny_llama):
    """A model folder whose tokenizer is a slow one: planning credit says in one line what it needs."""
    folder = tmp_path / "slow"
    shutil.copytree(tiny_llama, folder)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (folder / name).unlink()
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "ByT5Tokenizer", "extra_ids": 0}')
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{n} + 1 =", "answer": str(n + 1)}) + "\n" for n in range(6)))
    words = ["run", "hicra", "--model", str(folder), "--problems", str(path), "--out", str(tmp_path / "run")]
    done = backcast(*words, "--no-control", "--train.steps", "1", "--train.prompts", "1", "--train.group", "2")
    assert done.returncode == 2, done.stderr
    assert "gives no offsets; save it with a tokenizer.json" in done.stderr
    assert "Traceback" not in done.stderr
