"""AlphaMed and its study from questions to report, as processes: a tiny model answers in form and knows nothing."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backcast.text.answers import asked
from backcast.text.problems import Question

WORDS = ["north", "south", "cold", "warm", "early", "late", "near", "far", "steep", "flat", "loud", "still"]
SMALL = [
    *("--curation.answers", "3", "--curation.answer-tokens", "8", "--curation.levels", "1", "2", "3", "4"),
    *("--curation.per-level", "3", "--train.steps", "2", "--train.prompts", "2", "--train.group", "4"),
    *("--train.micro", "8", "--train.longest", "8", "--train.lora", "0", "--train.save-every", "1"),
    *("--judging.answer-tokens", "8", "--judging.limit", "6"),
]


def questions(words):
    for i, word in enumerate(words):
        options = ("the river", "the wall") if i % 2 else ("the wall", "the river")
        yield Question(f"{word}-{i}", f"What runs {word}?", "AB"[(i + 1) % 2], options=options, subject="water")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Twelve problems, the same with two of them twice, six of another set, and one that no rule can judge."""
    folder = tmp_path_factory.mktemp("questions")
    other = [
        Question(f"o{i}", f"Who sings {word}?", "A", options=("a bird", "a stone")) for i, word in enumerate(WORDS[:6])
    ]
    free = [Question("f", "Write.", "A text.", "free")]
    twice = [replace(question, id=f"again-{question.id}") for question in questions(WORDS[:2])]
    problems = list(questions(WORDS))
    sets = {"problems": problems, "repeating": [*problems, *twice], "birds": other, "free": free}
    for name, rows in sets.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row.row()) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def guesser(tiny_llama, tmp_path_factory) -> Path:
    """A tiny model trained to box one of two letters, each as often as the other."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.manual_seed(0)
    tokenizer = AutoTokenizer.from_pretrained(tiny_llama)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama)
    rows = []
    for question in questions(WORDS[:4]):
        chat = [{"role": "user", "content": asked(question)}]
        head = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        for letter in "AB":
            start = tokenizer(head, add_special_tokens=False).input_ids
            end = tokenizer(rf"\boxed{{{letter}}}", add_special_tokens=False).input_ids
            rows.append((start, [*end, tokenizer.eos_token_id]))
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(60):
        loss = torch.zeros(())
        for start, end in rows:
            ids = torch.tensor([start + end])
            logits = model(ids).logits[0, len(start) - 1 : -1]
            loss = loss + torch.nn.functional.cross_entropy(logits, torch.tensor(end)) / len(rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    folder = tmp_path_factory.mktemp("models") / "guesser"
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def backcast(*words, cache):
    env = {**os.environ, "BACKCAST_CACHE": str(cache)}
    return subprocess.run([sys.executable, "-m", "backcast", *map(str, words)], capture_output=True, text=True, env=env)


@pytest.mark.method(3, proves="judges, curates, trains on rules alone")
def test_from_questions_to_the_report(files, guesser, tmp_path):
    """Stages, levels, paired gaps in and out of domain, a model that loads; the same command again does nothing."""
    words = ["run", "alphamed", "--problems", files / "repeating.jsonl", "--out-of-domain", files / "birds.jsonl"]
    words = [*words, "--model", guesser, "--out", tmp_path / "run", *SMALL, "--json"]
    done = backcast(*words, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [stage["name"] for stage in said["stages"]] == ["label", "draw", "grpo", "judge"]
    assert (sum(said["pool"]["levels"].values()), said["left_out"]) == (9, 1), "of 14, 3 are held out, 2 repeat others"
    assert 0 < said["pool"]["pass_rate"] < 1, "it guesses in form, so some answers are right"
    assert {gap["stage"] for gap in said["gaps"]} == {"judge"}, "no figure without the untrained model beside it"
    judged = said["gaps"]
    assert [gap["metric"].split(", ", 1)[1] for gap in judged] == [
        "in domain, by generation",
        "in domain, by likelihood of the letter",
        "birds, by generation",
        "birds, by likelihood of the letter",
    ]
    assert all(gap["baseline"] is not None and gap["low"] <= gap["high"] for gap in judged)
    report = Path(said["report"]).read_text()
    assert "Accuracy beside answering blindly" in report
    assert "data:image/svg+xml" in report, "the picture of the pool"
    assert Path(said["model"]) == tmp_path / "run" / "model"
    assert (tmp_path / "run" / "model" / "model.safetensors").exists()
    assert "base_model" in (tmp_path / "run" / "model" / "README.md").read_text()
    again = backcast("run", "--resume", tmp_path / "run", "--json", cache=tmp_path / "empty")
    assert again.returncode == 0, again.stderr
    assert all(stage["skipped"] for stage in json.loads(again.stdout)["stages"])


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ((), "no problems named"),
        (("--problems", "{files}/problems.jsonl", "--out-of-domain", "{files}/free.jsonl"), "which no rule can judge"),
        (
            ("--problems", "{files}/problems.jsonl", "--test", "{files}/problems.jsonl"),
            "12 of 12 test questions",
        ),
        (("--problems", "{files}/none.jsonl"), "no such file"),
        (("--problems", "{files}/problems.jsonl", "--limit", "2"), "limit must be at least 4"),
    ],
)
def test_what_cannot_be_run_is_one_line(more, said, files, guesser, tmp_path):
    words = ("run", "alphamed", "--model", guesser, "--out", tmp_path / "run", *(m.format(files=files) for m in more))
    done = backcast(*words, cache=tmp_path / "cache")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


STUDY = [
    *("--arms", "mixed", "few", "hard", "--size", "8", "--seeds", "1"),
    *("--curation.answers", "3", "--curation.answer-tokens", "8", "--curation.levels", "1", "2", "3", "4"),
    *("--train.steps", "1", "--train.prompts", "2", "--train.group", "4", "--train.measured", "2"),
    *("--train.micro", "8", "--train.longest", "8", "--train.lora", "0", "--train.save-every", "1"),
    *("--judging.answer-tokens", "8"),
]


@pytest.mark.method(3, proves="compares sets of one budget")
def test_the_study_from_questions_to_the_report(files, guesser, tmp_path):
    """Arms of the same budget, compared question by question; what is done is not done again."""
    words = ["run", "study", "--problems", files / "problems.jsonl", "--test", files / "birds.jsonl"]
    words = [*words, "--model", guesser, "--out", tmp_path / "run", *STUDY, "--json"]
    done = backcast(*words, cache=tmp_path / "cache")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [stage["name"] for stage in said["stages"]] == ["label", "sets", "mixed-0", "few-0", "hard-0", "compare"]
    rows = {(row["arm"], row["by"]): row for row in said["arms"]}
    assert rows.keys() == {
        (arm, by) for arm in ("mixed", "few", "hard") for by in ("generation", "likelihood of the letter")
    }
    assert all(row["n"] == 6 for row in rows.values())
    hard = rows["hard", "likelihood of the letter"]
    assert hard["low"] <= hard["above mixed"] <= hard["high"]
    assert all(gap["baseline"] is not None for gap in said["gaps"]), "nothing without the untrained model beside it"
    report = Path(said["report"]).read_text()
    for text in ("The arms", "Arms beside &#39;mixed&#39;", "data:image/svg+xml"):
        assert text in report
    (tmp_path / "run" / "6-compare" / "done.json").unlink()
    again = backcast("run", "--resume", tmp_path / "run", "--json", cache=tmp_path / "cache")
    assert again.returncode == 0, again.stderr
    repeated = json.loads(again.stdout)
    assert [stage["skipped"] for stage in repeated["stages"]] == [True] * 5 + [False]
    assert repeated["arms"] == said["arms"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--arms", "easy", "hard"), "arms must be 'mixed' and others"),
        (("--arms", "mixed", "hrad"), "unknown arm 'hrad'; did you mean 'hard'"),
        (("--size", "0"), "size and seeds must be at least 1"),
        (("--size", "8"), "an arm would have 2 questions, and a step takes 4"),
        (("--test", "{files}/problems.jsonl"), "12 of 12 test questions"),
    ],
)
def test_a_study_that_cannot_be_run_is_one_line(more, said, files, guesser, tmp_path):
    words = ("run", "study", "--model", guesser, "--out", tmp_path / "run", "--problems", files / "problems.jsonl")
    done = backcast(*words, *(m.format(files=files) for m in more), cache=tmp_path / "cache")
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
