"""``backcast judge`` as a process: the object it prints, and one line for everything it cannot use."""

import json
import subprocess
import sys

import pytest

from backcast.cli import judge

PAIRS = [{"id": str(i), "prompt": f"Say {i}.", "answer": f"The river rises {i} times."} for i in range(4)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    path.write_text("\n".join(map(json.dumps, PAIRS)))
    return path


def backcast(*words):
    return subprocess.run([sys.executable, "-m", "backcast", "judge", *map(str, words)], capture_output=True, text=True)


@pytest.fixture(scope="module")
def against(tiny_llama, pairs):
    """A tiny model judged against itself."""
    done = backcast(
        *(tiny_llama, "--on", f"writing:{pairs}", "--against", tiny_llama, "--samples", 2),
        *("--thinking-tokens", 8, "--limit", 3, "--seed", 1, "--json"),
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


def test_a_model_against_another(against):
    """The paired figures stand under their names, and a model differs from itself by exactly nothing."""
    assert against["metric"].startswith("NLL")
    assert (against["n"], against["unparsed"], against["kl"], against["agreement"]) == (3, 0, None, None)
    assert against["low"] <= against["value"] <= against["high"]
    assert against["value_against"] == against["value"]
    assert (against["difference"], against["difference_low"], against["difference_high"]) == (0, 0, 0)
    assert against["parts"]["nll_without_block"] > 0


def test_for_people(against, capsys):
    """Without --json there is a table with both models and their difference, and the other figures below."""
    judge.show(against)
    shown = capsys.readouterr().out
    for said in ("NLL of the text", "difference", f"{against['value']:.3f}", "nll empty block", "thinking closed"):
        assert said in shown


def test_a_judge_that_says_nothing_readable(tiny_llama, pairs, tmp_path):
    """A random model as judge writes no verdicts: all comparisons are unparsed, and no win rate is made up."""
    rubric = tmp_path / "rubric.txt"
    rubric.write_text("Prefer the truer text.")
    done = backcast(
        *(tiny_llama, "--on", pairs, "--against", tiny_llama, "--judge", tiny_llama, "--rubric", rubric),
        *("--answer-tokens", 8, "--limit", 2, "--json"),
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["metric"].startswith("win rate")
    assert (found["value"], found["value_against"], found["difference"], found["n"]) == (None, None, None, 0)
    assert found["unparsed"] == 2
    assert set(found["outcomes"].values()) == {None}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["m", "--on", "nowhere.jsonl"], "no such file: 'nowhere.jsonl'"),
        (["m", "--on", "writng:x.jsonl"], "unknown kind 'writng'; did you mean 'writing'?"),
        (["m", "--on", "{odd}"], "its columns (a, b) fit no kind of judgement; known: choice, writing"),
        (["m", "--on", "{empty}"], "no items"),
        (["m", "--on", "writing:{odd}"], "no column 'prompt'"),
        (["m", "--on", "{pairs}", "--judge", "j"], "--judge compares two models"),
        (["m", "--on", "{pairs}", "--rubric", "r"], "--rubric is read to a judge"),
        (["m", "--on", "{pairs}", "--limit", "0"], "--limit must be at least 1, found 0"),
        (["m", "--on", "{pairs}", "--against", "a", "--judge", "j", "--rubric", "nowhere"], "no such file: 'nowhere'"),
        (["smolm2", "--on", "{pairs}"], "unknown model 'smolm2'; did you mean 'smollm2'?"),
        (["m", "--on", "{pairs}", "--agianst", "x"], "did you mean '--against'?"),
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(words, said, pairs, tmp_path):
    """Whatever is wrong with the input is said in one line that names it."""
    (tmp_path / "odd.jsonl").write_text('{"a": 1, "b": 2}\n')
    (tmp_path / "empty.jsonl").write_text("\n")
    known = {"odd": tmp_path / "odd.jsonl", "empty": tmp_path / "empty.jsonl", "pairs": pairs}
    done = backcast(*(word.format(**known) for word in words))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert done.stdout == ""
