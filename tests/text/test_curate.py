"""Curation as a user meets it: a real tiny model labels real questions, killed and gone on with, and a scripted one."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from backcast.core.errors import InertMethod
from backcast.lm.base import Completion
from backcast.text.curate import Curation, draw_stage, label_stage, read_labels
from backcast.text.problems import Question, read_questions

QUESTIONS = [
    Question(str(i), f"Which thing number {i} is {word}?", "AB"[i % 2], options=("the river", "the wall"), subject=word)
    for i, word in enumerate(["wet", "dry", "old", "long", "high", "far"])
]


class Knows:
    """Answers question i right in i of 5 draws; the last wrong answer of each cannot be read."""

    name = fingerprint = "knows"

    def __init__(self):
        self.asked = 0

    def sample(self, prompts, n, sampling):
        found = []
        for prompt in prompts:
            self.asked += 1
            i = int(prompt.messages[0][1].split("number ")[1].split()[0])
            right, wrong = "AB"[i % 2], "BA"[i % 2]
            texts = [rf"\boxed{{{right}}}"] * i + [rf"\boxed{{{wrong}}}"] * (n - i)
            found.append([Completion(t, 4, True) for t in [*texts[:-1], texts[-1] if i == n else "well"]])
        return found

    def logprobs(self, items):
        raise AssertionError("not asked")


def test_levels_come_from_counting_and_a_second_run_asks_nothing(tmp_path):
    """Question i is at level 6 - i; unreadable answers count as wrong and are counted; labels are kept on disk."""
    model, settings = Knows(), Curation(per_level=1, batch=2)
    result = label_stage(tmp_path, QUESTIONS, model, settings)
    pool = read_labels(tmp_path, QUESTIONS)
    assert [one.level for one in pool] == [6, 5, 4, 3, 2, 1]
    assert [one.unparsed for one in pool] == [1, 1, 1, 1, 1, 0]
    assert result.outputs["pool"]["levels"] == {str(level): 1 for level in range(1, 7)}
    assert label_stage(tmp_path, QUESTIONS, model, settings).outputs == result.outputs
    assert model.asked == 6
    record = json.loads((tmp_path / "traces.jsonl").read_text().splitlines()[0])["data"]
    assert (record["n"], record["temperature"], record["model"]) == (5, 1.0, "knows")
    assert "Which thing number 0" in record["prompt"]


def test_the_drawn_file_holds_the_band_and_is_read_back(tmp_path):
    settings = Curation(per_level=1, levels=(2, 3))
    label_stage(tmp_path, QUESTIONS, Knows(), settings)
    result = draw_stage(tmp_path / "draw", read_labels(tmp_path, QUESTIONS), settings)
    found = read_questions(tmp_path / "draw" / "questions.jsonl")
    assert sorted(question.level for question in found) == [2, 3]
    assert {question.id for question in found} == {"3", "4"}
    assert result.outputs["missing"] == {}
    assert (tmp_path / "draw" / "pool.svg").read_text().startswith("<svg")


def test_every_level_is_drawn_from_unless_some_are_named(tmp_path):
    """With another number of answers there are other levels: none is left out in silence."""
    settings = Curation(answers=8, per_level=2)
    assert settings.band == tuple(range(1, 10))
    label_stage(tmp_path, QUESTIONS, Knows(), settings)
    drawn = draw_stage(tmp_path / "draw", read_labels(tmp_path, QUESTIONS), settings).outputs["drawn"]
    assert drawn["n"] == 6
    rows = [json.loads(line) for line in (tmp_path / "draw" / "questions.jsonl").read_text().splitlines()]
    assert all(row["level"] == row["answers"] + 1 - row["correct"] for row in rows)


def test_a_band_that_nothing_lies_in_is_an_error(tmp_path):
    settings = Curation(levels=(2,))
    label_stage(tmp_path, QUESTIONS[:1], Knows(), settings)
    with pytest.raises(InertMethod, match="curation is switched on but changed nothing in 1 opportunities"):
        draw_stage(tmp_path / "draw", read_labels(tmp_path, QUESTIONS[:1]), settings)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("questions") / "questions.jsonl"
    rows = [*QUESTIONS, Question("again", "Which thing number 0 is WET", "A", options=("the river", "the wall"))]
    path.write_text("".join(json.dumps(question.row()) + "\n" for question in rows))
    return path


def words(file, model, out, *more):
    small = ("--answers", "3", "--answer-tokens", "6", "--per-level", "2", "--levels", "1", "2", "3", "4")
    command = [sys.executable, "-m", "backcast", "curate", str(file), "--model", str(model), "--out", str(out)]
    return [*command, *small, *more]


def finish(command, cache):
    env = {**os.environ, "BACKCAST_CACHE": str(cache)}
    return subprocess.run(command, capture_output=True, text=True, env=env)


def test_the_verb_on_a_real_model_killed_and_gone_on_with(file, tiny_llama, tmp_path):
    """A random model is never right: all at the hardest level, one duplicate out, shortfalls told; kill -9 or not."""
    done = finish(words(file, tiny_llama, tmp_path / "run", "--json"), tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["pool"]["levels"] == {"1": 0, "2": 0, "3": 0, "4": 6}
    assert (said["duplicates"], said["unparsed_rate"]) == (1, 1.0)
    assert said["missing"] == {"1": 2, "2": 2, "3": 2}
    assert said["drawn"]["n"] == 2
    assert [stage["name"] for stage in said["stages"]] == ["label", "draw"]
    killed = words(file, tiny_llama, tmp_path / "killed", "--no-cache", "--json")
    env = {**os.environ, "BACKCAST_CACHE": str(tmp_path / "other")}
    process = subprocess.Popen(killed, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    while not (tmp_path / "killed" / "1-label" / "begun.json").exists():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert finish(killed, tmp_path / "other").returncode == 0
    for name in ("1-label/traces.jsonl", "2-draw/questions.jsonl", "2-draw/pool.svg"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "run" / name).read_bytes(), name
    shown = finish(words(file, tiny_llama, tmp_path / "run"), tmp_path / "cache")
    assert "groups that will teach" in shown.stdout


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--levels", "7"), "levels must lie in 1..4"),
        (("--group", "1"), "group must be at least 2"),
        (("--answers", "0"), "answers must be at least 1"),
        (("--test", "{file}"), "7 of 7 test questions are in the training set"),
        (("--limit", "0"), "limit must be at least 1"),
    ],
)
def test_bad_settings_are_one_line(more, said, file, tiny_llama, tmp_path):
    done = finish(words(file, tiny_llama, tmp_path / "run", *(m.format(file=file) for m in more)), tmp_path / "cache")
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (tmp_path / "run").exists()


class Echoes(Knows):
    """Answers every question with "The answer is 5", and remembers what it was asked."""

    def sample(self, prompts, n, sampling):
        self.heard = [prompt.messages[0][1] for prompt in prompts]
        return [[Completion("The answer is 5.", 4, True)] * n for _ in prompts]


@pytest.mark.parametrize(("as_given", "said"), [(True, "What is 2 + 3?"), (False, "Reason step by step")])
def test_a_problem_is_put_as_it_is_if_asked_to(as_given, said, tmp_path):
    """Problems that say themselves how to answer need no word on it; the trace holds what was asked."""
    model = Echoes()
    result = label_stage(
        tmp_path,
        [Question("sum", "What is 2 + 3?", "5", "numeric"), Question("next", "What is 3 + 3?", "6", "numeric")],
        model,
        Curation(as_given=as_given, duplicate_share=1),
    )
    assert said in model.heard[0]
    assert (model.heard[0] == "What is 2 + 3?") == as_given
    assert result.outputs["pool"]["levels"]["1"] == result.outputs["pool"]["levels"]["6"] == 1
    assert model.heard[0] in (tmp_path / "traces.jsonl").read_text().replace("\\n", "\n").replace("\\\\", "\\")
