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
    *("--sft.samples", "1", "--sft.sample-tokens", "12", "--sft.learning-rate", "1e-5"),
    *("--grpo.steps", "3", "--grpo.group", "8", "--grpo.longest", "48", "--grpo.save-every", "1"),
    *("--judging.thinking-tokens", "12", "--answers", "3", "--validation", "1"),
]
STAGES = ["search", "export", "judge-start", "sft", "judge-sft", "grpo", "judge-grpo", "compress", "judge-compress"]
LAST = "9-judge-compress"


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs of a few short paragraphs."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [{"id": f"t{i}", "prompt": f"Write text {i}.", "answer": text} for i, text in enumerate(PAIRS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(pairs: Path, half_right: tuple[Path, Path], out: Path, *more: str) -> list[str]:
    model, problems = half_right
    words = ["run", "story", "--model", str(model), "--problems", str(problems), "--out", str(out)]
    words += ["--pairs", str(pairs), "--held-out", str(pairs)]
    return [sys.executable, "-m", "backcast", *words, *SMALL, *more, "--json"]


def finish(words: list[str], cache: Path) -> dict:
    env = {**os.environ, "BACKCAST_CACHE": str(cache)}
    done = subprocess.run(words, capture_output=True, text=True, env=env)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1, "with --json stdout holds one line and nothing else"
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def story(pairs: Path, half_right: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, Path]:
    """The summary and the folder of one whole run."""
    out = tmp_path_factory.mktemp("runs") / "story"
    return finish(command(pairs, half_right, out), tmp_path_factory.mktemp("cache")), out


def test_the_run_folder_is_what_the_design_promises(story):
    """Resolved recipe, environment, one folder a stage, a plain model folder with its card, a packed one, a report."""
    said, out = story
    assert {"run", "report", "seconds", "stages", "gaps", "vitals", "model", "packed", "dataset"} <= said.keys()
    assert [stage["name"] for stage in said["stages"]] == STAGES
    for name in ("recipe.toml", "environment.json", "1-search/traces.jsonl", f"{LAST}/done.json", "report.html"):
        assert (out / name).exists(), name
    for folder in ("model", "packed"):
        for name in ("config.json", "model.safetensors", "tokenizer.json", "README.md"):
            assert (out / folder / name).exists(), name


def test_every_model_is_judged_beside_the_untouched_one(story):
    """After SFT, GRPO and packing: texts and problems against the start, and from GRPO on against the stage before."""
    said, _ = story
    own, missed = "NLL of the text, nats/token, own thinking", "1 - accuracy, held-out problems"
    start = {gap["metric"]: gap["value"] for gap in said["gaps"] if gap["stage"] == "start"}
    for stage in ("sft", "grpo", "compress"):
        rows = [gap for gap in said["gaps"] if gap["stage"] == stage and gap["metric"] in (own, missed)]
        assert len(rows) == (2 if stage == "sft" else 4)
        for gap in rows:
            assert gap["paired"]
            assert gap["n"] == (4 if gap["metric"] == own else 2)
            assert gap["low"] <= gap["value"] - gap["baseline"] <= gap["high"]
            if not gap["note"].startswith("against"):
                assert gap["baseline"] == start[gap["metric"]]


def test_the_held_out_texts_and_problems_are_on_the_page(story):
    """One trace a text and one a problem, whose means are the gap table's rows; the report shows them."""
    said, out = story
    texts, answers = (list(TraceLog(out / LAST / name)) for name in ("texts.jsonl", "answers.jsonl"))
    last = [gap for gap in said["gaps"] if gap["stage"] == "compress" and not gap["note"].startswith("against")]
    assert sum(trace.score.value for trace in texts) / 4 == pytest.approx(last[1]["value"])
    assert sum(trace.data["change"] for trace in texts) / 4 == pytest.approx(last[1]["value"] - last[1]["baseline"])
    assert 1 - sum(trace.score.value for trace in answers) / 2 == pytest.approx(last[0]["value"])
    page = (out / "report.html").read_text()
    assert "The held-out texts, one by one" in page
    assert "The model after every stage" in page


def test_every_stage_changed_the_model_and_every_part_acted(story):
    """The judged NLL moves at SFT, GRPO and packing; replay drew rows, planning tokens got credit."""
    said, _ = story
    own = [gap["value"] for gap in said["gaps"] if gap["metric"].endswith(", own thinking")]
    assert len(set(own)) == 4, "one value a model, and each twice where it is compared twice"
    vitals = {vital["name"]: vital["value"] for vital in said["vitals"]}
    assert vitals["planning/credit_moved"] > 0
    assert "replay/share" in vitals


def test_the_lineage_leads_from_the_outcomes_to_the_served_file(story):
    """Line by line on the page: each thing made and what from, the packed folder and how to serve it at the end."""
    _, out = story
    done = [json.loads(path.read_text()) for path in sorted(out.glob("*-*/done.json"))]
    lines = [line for record in done for line in record["result"]["lineage"]]
    marks = ["pairs.jsonl", "rows of training data", "conversations", "steps of 2 x 8 answers", "packed", "serve"]
    found = [next(i for i, line in enumerate(lines) if mark in line) for mark in marks]
    assert found == sorted(found)
    assert lines[-1].endswith(f"backcast serve {out / 'packed'}")


def test_the_model_folder_loads_with_plain_transformers(story):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    _, out = story
    assert AutoModelForCausalLM.from_pretrained(out / "model").config.model_type == "llama"
    assert AutoTokenizer.from_pretrained(out / "model").chat_template


def test_the_packed_model_answers_through_backcast_serve(story):
    """``--check`` starts the server on the run's packed folder, asks it once over HTTP, and stops it."""
    _, out = story
    words = [sys.executable, "-m", "backcast", "serve", str(out / "packed"), "--port", "0", "--check", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["model"] == "packed"
    assert isinstance(said["answer"], str)


def test_resume_skips_everything_that_is_done(story, tmp_path):
    """``--resume DIR`` alone finds the whole recipe; an empty cache shows that nothing was asked again."""
    said, out = story
    again = finish([sys.executable, "-m", "backcast", "run", "--resume", str(out), "--json"], tmp_path)
    assert all(stage["skipped"] for stage in again["stages"])
    assert again["gaps"] == said["gaps"]
    assert not (tmp_path / "calls.sqlite").exists()


def test_a_file_with_relative_paths_and_a_budget(pairs, half_right, tmp_path):
    """``backcast run story.toml``: a run begun in one folder goes on from another, since the recipe it keeps names its
    files in full; the budget sets what neither file nor flag does."""
    place = tmp_path / "begun-here"
    place.mkdir()
    (place / "mine.jsonl").write_bytes(pairs.read_bytes())
    (place / "my.jsonl").write_bytes(half_right[1].read_bytes())
    lines = ['recipe = "story"', 'budget = "medium"', 'pairs = "mine.jsonl"', "validation = 1", "[grpo]", "prompts = 2"]
    (place / "story.toml").write_text("\n".join([*lines, "micro = 16", ""]))
    words = ["run", "story.toml", "--model", str(half_right[0]), "--problems", "my.jsonl", "--grpo.steps", "7"]
    done = subprocess.run(
        [sys.executable, "-m", "backcast", *words, "--dry-run", "--json"], capture_output=True, text=True, cwd=place
    )
    assert done.returncode == 0, done.stderr
    resolved = json.loads(done.stdout)["resolved"]
    assert resolved["pairs"] == str(place / "mine.jsonl")
    assert resolved["problems"] == str(place / "my.jsonl")
    assert (resolved["limit"], resolved["grpo"]["steps"], resolved["grpo"]["longest"]) == (200, 7, 128)


def test_the_scorer_of_the_search_gives_a_second_opinion_on_the_held_out_texts(pairs, tiny_llama, half_right, tmp_path):
    """Where the run has another model at hand, every stage has a row by it, without being asked to."""
    more = ["--scorer", str(tiny_llama), "--limit", "2", "--grpo.steps", "1"]
    words = command(pairs, half_right, tmp_path / "run", *more)
    gaps = finish(words, tmp_path / "cache")["gaps"]
    assert [gap["stage"] for gap in gaps if gap["note"] == f"scored by {tiny_llama}"] == ["sft", "grpo", "compress"]


def test_killed_in_three_stages_it_ends_with_the_same_result(story, pairs, half_right, tmp_path):
    """kill -9 in the search, behind a checkpoint of GRPO, and in the last judgement, each time gone on with by the same
    command: traces byte for byte, gaps figure for figure."""
    said, out = story
    words = command(pairs, half_right, tmp_path / "run")
    env = {**os.environ, "BACKCAST_CACHE": str(tmp_path / "cache")}
    for sign in ("1-search/begun.json", "6-grpo/trainer/checkpoint-2/trainer_state.json", f"{LAST}/begun.json"):
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        while not (tmp_path / "run" / sign).exists():
            assert process.poll() is None, "ended before it could be killed"
            time.sleep(0.01)
        time.sleep(0.1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    again = finish(words, tmp_path / "cache")
    traces = [folder / "1-search" / "traces.jsonl" for folder in (out, tmp_path / "run")]
    assert traces[0].read_bytes() == traces[1].read_bytes()
    for model in ("model", "packed"):
        whole, killed = (folder / model / "model.safetensors" for folder in (out, tmp_path / "run"))
        assert whole.read_bytes() == killed.read_bytes(), model
    assert [gap["metric"] for gap in again["gaps"]] == [gap["metric"] for gap in said["gaps"]]
    assert [gap["value"] for gap in again["gaps"]] == [gap["value"] for gap in said["gaps"]]


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
