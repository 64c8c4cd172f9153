"""The main job as a user meets it: one command on a tiny model, killed, gone on with, looked at again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from backcast.core.trace import TraceLog
from backcast.recipes import METHODS, RECIPES, defaults_file, module

PAIRS = [
    "The river rises in the hills.\n\nIt runs past the mill.\n\nIn the end it meets the sea.",
    "Mix flour with water.\n\nWait for an hour, then fold the dough and wait again.",
    "Dear neighbour, thank you for your letter.\n\nWe would like to talk about the wall.\n\nUntil Monday.",
    "Rain falls for three days.\n\nThen the fields are under water, and nobody walks the old road.",
]
SMALL = [
    *("--search.max-steps", "2", "--search.expansions", "2", "--search.proposal-tokens", "12"),
    *("--search.max-overlap", "1", "--search.last-share", "none", "--search.batch", "2"),
    *("--sft.samples", "1", "--sft.sample-tokens", "12", "--judging.thinking-tokens", "12", "--validation", "1"),
]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs of a few short paragraphs."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"id": f"t{i}", "prompt": f"Write text {i}.", "answer": text} for i, text in enumerate(PAIRS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(pairs: Path, model: Path, out: Path, *more: str) -> list[str]:
    words = ["run", "story", "--model", str(model), "--pairs", str(pairs), "--held-out", str(pairs), "--out", str(out)]
    return [sys.executable, "-m", "backcast", *words, *SMALL, *more, "--json"]


def finish(words: list[str], cache: Path) -> dict:
    env = {**os.environ, "BACKCAST_CACHE": str(cache)}
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "with --json stdout holds one line and nothing else"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def story(pairs: Path, tiny_llama: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """The summary and the folder of one whole run."""
    out = tmp_path_factory.mktemp("runs") / "story"
    return finish(command(pairs, tiny_llama, out), tmp_path_factory.mktemp("cache")), out


def test_the_run_folder_is_what_the_design_promises(story):
    """Resolved recipe, environment, one folder a stage, a plain model folder with its card, a report."""
    said, out = story
    assert {"run", "report", "seconds", "stages", "gaps", "vitals", "model", "dataset"} <= said.keys()
    assert [stage["name"] for stage in said["stages"]] == ["search", "export", "learn", "judge"]
    for name in ("recipe.toml", "environment.json", "1-search/traces.jsonl", "4-judge/done.json", "report.html"):
        assert (out / name).exists(), name
    for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
        assert (out / "model" / name).exists(), name


def test_the_gap_table_has_a_baseline_an_interval_and_n_in_every_judged_row(story):
    said, _ = story
    rows = [gap for gap in said["gaps"] if gap["stage"] == "judge"]
    assert len(rows) == 4
    for gap in rows:
        assert gap["n"] == 4
        assert gap["baseline"] is not None
        assert gap["low"] < gap["value"] - gap["baseline"] < gap["high"]


def test_the_held_out_texts_are_on_the_page_with_what_both_models_thought(story):
    """One trace a text in ``4-judge``, whose mean is the gap table's row; the report shows them."""
    said, out = story
    traces = list(TraceLog(out / "4-judge" / "traces.jsonl"))
    row = next(gap for gap in said["gaps"] if gap["metric"].endswith(", own thinking"))
    assert len(traces) == row["n"] == 4
    assert sum(trace.score.value for trace in traces) / 4 == pytest.approx(row["value"])
    assert sum(trace.data["change"] for trace in traces) / 4 == pytest.approx(row["value"] - row["baseline"])
    assert "The held-out texts, one by one" in (out / "report.html").read_text()


def test_training_on_the_found_reasoning_changed_the_model(story):
    """The judged NLL of both models differs in every row: the trained folder is really what was judged."""
    said, _ = story
    assert all(gap["value"] != gap["baseline"] for gap in said["gaps"] if gap["stage"] == "judge")


def test_the_model_folder_loads_with_plain_transformers(story):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, out = story
    assert AutoModelForCausalLM.from_pretrained(out / "model").config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(out / "model").chat_template


def test_resume_skips_everything_that_is_done(story, tmp_path):
    """``--resume DIR`` alone finds the whole recipe; an empty cache shows that nothing was asked again."""
    said, out = story
    again = finish([sys.executable, "-m", "backcast", "run", "--resume", str(out), "--json"], tmp_path)
    assert all(stage["skipped"] for stage in again["stages"])
    assert again["gaps"] == said["gaps"]
    assert not (tmp_path / "calls.sqlite").exists()


def test_relative_paths_are_stored_as_absolute_ones(pairs, tiny_llama, tmp_path):
    """A run begun in one folder goes on from another: the recipe it keeps names its files in full."""
    place = tmp_path / "begun-here"
    place.mkdir()
    (place / "mine.jsonl").write_bytes(pairs.read_bytes())
    words = [*command(Path("mine.jsonl"), tiny_llama, tmp_path / "run"), "--dry-run"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place)
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)["resolved"]
    assert resolved["pairs"] == resolved["held_out"] == str(place / "mine.jsonl")
    assert resolved["model"] == str(tiny_llama)


def test_the_scorer_of_the_search_gives_a_second_opinion_on_the_held_out_texts(pairs, tiny_llama, tmp_path):
    """Where the run has another model at hand, the held-out comparison has a row by it, without being asked to."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    other = tmp_path / "other"
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    model.get_output_embeddings().weight.data.mul_(1.5)
    model.save_pretrained(other)
    AutoTokenizer.from_pretrained(tiny_llama).save_pretrained(other)
    words = command(pairs, tiny_llama, tmp_path / "run", "--scorer", str(other), "--limit", "2")
    notes = [gap["note"] for gap in finish(words, tmp_path / "cache")["gaps"] if gap["stage"] == "judge"]
    assert [note for note in notes if note == f"scored by {other}"]


@pytest.mark.parametrize("stage", ["1-search", "3-learn", "4-judge"])
def test_killed_in_any_stage_it_ends_with_the_same_result(stage, story, pairs, tiny_llama, tmp_path):
    """kill -9 while a stage works, then the same command: traces byte for byte, gaps figure for figure."""
    said, out = story
    words = command(pairs, tiny_llama, tmp_path / "run")
    env = {**os.environ, "BACKCAST_CACHE": str(tmp_path / "cache")}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
    while not (tmp_path / "run" / stage / "begun.json").exists():
        assert process.poll() is None, "ended before it could be killed"
        time.sleep(0.01)
    time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    again = finish(words, tmp_path / "cache")
    traces = [folder / "1-search" / "traces.jsonl" for folder in (out, tmp_path / "run")]
    assert traces[0].read_bytes() == traces[1].read_bytes()
    assert [gap["value"] for gap in again["gaps"]] == pytest.approx([gap["value"] for gap in said["gaps"]], abs=1e-6)


def test_the_bundled_toml_of_each_recipe_is_its_defaults():
    """What ``backcast run NAME`` does and what the file beside the recipe says are one thing."""
    from backcast.core.params import from_dict, read_toml

    for name in RECIPES:
        given = read_toml(defaults_file(name))
        assert given.pop("recipe") == name
        stale = "python -m backcast.recipes writes these files again"
        assert from_dict(module(name).Settings, given, name) == module(name).Settings(), stale


PROOFS = {
    "pixel": "e2e/test_pixel.py",
    "reer": "e2e/test_reer.py",
    "hicra": "e2e/test_rl.py",
    "rethinker": "e2e/test_rl.py",
    "wgm": "e2e/test_compress.py",
    "splitquant": "e2e/test_compress.py",
    "games": "games/test_agents.py",
    "alphamed": "e2e/test_alphamed.py",
    "ootsm": "e2e/test_ootsm.py",
    "routing": "e2e/test_routing.py",
}
"""Which test runs a method's recipe from its input to its report."""


def test_every_method_that_claims_to_work_is_run_end_to_end_by_a_test():
    """``backcast methods`` may say that a method works only if its recipe exists and a test here runs it."""
    claimed = {method.recipe for method in METHODS if method.recipe is not None}
    assert claimed == PROOFS.keys()
    for recipe, proof in PROOFS.items():
        assert recipe in RECIPES
        assert f'"{recipe}"' in (Path(__file__).parents[1] / proof).read_text(), f"{proof} does not run {recipe}"


def test_traces_hold_no_clock_and_no_path(story):
    """Two machines that search alike write the same bytes."""
    _, out = story
    for trace in TraceLog(out / "1-search" / "traces.jsonl"):
        assert str(out) not in trace.to_json()
        assert "seconds" not in trace.to_json()
