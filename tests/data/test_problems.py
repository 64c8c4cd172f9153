"""The bundled verifiable problems keep the promises of the README beside them."""

import json
from importlib.resources import files

from backcast.learn.questions import is_right, read
from backcast.recipes import story, story_train

FOLDER = files("backcast.data") / "problems"
PATH = story_train.problems_file("bundled")


def rows():
    return [json.loads(line) for line in PATH.read_text(encoding="utf-8").splitlines()]


def test_every_answer_is_right_by_its_own_rule_and_no_other_is():
    for problem in read(PATH):
        assert is_right(f"We look it up. The answer is {problem.answer}.", problem.answer, problem.kind)
        assert is_right(f"{problem.answer}.", problem.answer, problem.kind)
        assert not is_right("The answer is 1234.", problem.answer, problem.kind)


def test_numbers_are_what_the_prompt_says():
    """Sums and comparisons are computed again from their prompts."""
    for row in rows():
        name, *words = row["prompt"].removesuffix("?").removeprefix("What is ").split()
        if "plus" in words:
            assert int(row["answer"]) == int(name) + int(words[1])
        if words[:1] == ["larger"]:
            assert int(row["answer"]) == max(int(words[2]), int(words[4]))
        if words[:2] == ["number", "after"]:
            assert int(row["answer"]) == int(words[2]) + 1


def test_ids_and_prompts_are_unique_and_plain():
    found = rows()
    assert all(list(row)[:4] == ["id", "prompt", "answer", "kind"] for row in found)
    assert len({row["id"] for row in found}) == len({row["prompt"] for row in found}) == len(found)
    assert all(row["prompt"].isascii() and len(row["prompt"].split()) < 15 for row in found)


def test_worked_problems_are_learnt_by_the_warm_start_and_used_for_nothing_else():
    """One a kind; each ends in its own answer, and none is trained on by GRPO or judged on."""
    shown = story_train.worked(PATH)
    known = {row["prompt"]: row for row in rows()}
    assert len({known[asked["content"]]["id"].split("-")[0] for asked, _ in shown}) == len(shown)
    for asked, reply in shown:
        assert is_right(reply["content"], known[asked["content"]]["answer"], known[asked["content"]]["kind"])
        assert reply["content"].startswith("<think>\nWe need to find")
    learn, held = story_train.problems(story.Settings())
    asked = {question.prompt for question in (*learn, *held)}
    assert len(asked) == len(rows()) - len(shown) >= 40
    assert not asked & {turns[0]["content"] for turns in shown}
    assert min(len(learn), len(held)) >= 12


def test_the_readme_counts_them():
    said = (FOLDER / "README.md").read_text(encoding="utf-8")
    shown = len(story_train.worked(PATH))
    assert said.startswith(f"# Verifiable problems\n\n{len(rows()) - shown} short problems")
    assert f"{shown} worked ones" in said
    assert "CC0-1.0" in said
