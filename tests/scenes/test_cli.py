"""``backcast scene`` from the command line: JSON keys, exit codes, one-line errors."""

import json
import subprocess
import sys

import pytest

from backcast.cli import main


def call(capsys, *words):
    """Exit code, stdout, stderr of one command."""
    code = main(["scene", *map(str, words)])
    seen = capsys.readouterr()
    return code, seen.out, seen.err


def answer(capsys, *words):
    """The JSON object of a command that works."""
    code, out, err = call(capsys, *words, "--json")
    assert code == 0, err
    return json.loads(out.strip().splitlines()[-1])


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A small household in a file."""
    path = tmp_path_factory.mktemp("scene") / "clips.jsonl"
    assert main(["scene", "convert", "household", "--count", "24", "--to", str(path)]) == 0
    return path


def test_convert(capsys, tmp_path):
    """What was written and what the clips are like."""
    found = answer(capsys, "convert", "household", "--count", 5, "--to", tmp_path / "c.jsonl")
    assert (found["clips"], found["objects"], found["predicates"], found["dropped"]) == (5, 35, 26, {})
    code, out, _ = call(capsys, "convert", tmp_path / "c.jsonl", "--to", tmp_path / "again.jsonl")
    assert code == 0
    assert "objects a frame" in out
    assert (tmp_path / "again.jsonl").read_text() == (tmp_path / "c.jsonl").read_text()


def test_score(capsys, clips):
    """The promised keys, with the baselines beside; a stored forecast scores as its model does."""
    found = answer(capsys, "score", clips, "--model", "markov", "--horizon", 0.3, "--compat", "ootsm-with")
    assert found.keys() >= {
        "videos",
        "frames",
        "skipped",
        "parse_failures",
        "modes",
        "objects",
        "novel",
        "calibration",
        "baselines",
    }
    assert found["modes"].keys() == {"with", "no", "semi", "multi", "ootsm-with"}
    assert found["modes"]["no"].keys() >= {"R@10", "mR@10", "R@20", "mR@20", "R@50", "mR@50"}
    assert found["objects"].keys() >= {"precision", "recall", "f1"}
    assert found["baselines"].keys() == {"persistence", "markov", "markov+appearance", "knn"}
    assert (found["videos"], found["skipped"], found["parse_failures"]) == (24, 0, 0)
    one = found["differences"]["persistence"]["no R@10"]
    assert one["low"] <= one["value"] <= one["high"]
    stored = clips.parent / "forecast.jsonl"
    made = answer(capsys, "forecast", clips, "--model", "markov", "--horizon", 0.3, "--out", stored)
    assert (made["clips"], made["frames"]) == (24, found["frames"])
    again = answer(capsys, "score", clips, "--model", stored, "--horizon", 0.3)
    assert again["modes"]["with"] == pytest.approx(found["modes"]["with"], abs=2e-3)


def test_compat_differs_and_is_labelled(capsys, clips):
    """The two "with constraint" numbers stand under their own names, and differ."""
    code, out, _ = call(capsys, "score", clips, "--model", "markov", "--compat", "ootsm-with")
    assert code == 0
    assert "ootsm-with" in out
    assert "clips scored, 0 skipped" in out
    assert "parse failures" in out
    one = answer(capsys, "score", clips, "--model", "markov", "--compat", "ootsm-with")["modes"]
    other = answer(capsys, "score", clips, "--model", "markov", "--compat", "scenesayer-with")["modes"]
    assert other["scenesayer-with"] == other["with"] == one["with"]
    assert one["ootsm-with"] != one["with"]


def test_frames_beyond(capsys, clips, tmp_path):
    """Frames after the end of clips, from training clips of their own."""
    assert (
        answer(capsys, "convert", "household", "--count", 20, "--seed", 5, "--to", tmp_path / "train.jsonl")["clips"]
        == 20
    )
    words = ("forecast", clips, "--model", "knn", "--train", tmp_path / "train.jsonl", "--out", tmp_path / "f.jsonl")
    found = answer(capsys, *words, "--frames", "90000,90010")
    assert (found["clips"], found["frames"]) == (24, 48)
    lines = (tmp_path / "f.jsonl").read_text().splitlines()
    assert [frame["index"] for frame in json.loads(lines[1])["frames"]] == [90000, 90010]
    for frames, said in (("5", "ask for later ones"), ("9,8", "increasing order"), ("x", "whole numbers")):
        code, _, err = call(capsys, *words, "--frames", frames)
        assert (code, err.count("\n")) == (2, 1)
        assert said in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("score", "CLIPS", "--model", "markof"), "did you mean 'markov'"),
        (("score", "CLIPS", "--model", "knn", "--horizon", "1.5"), "between 0 and 1"),
        (("score", "CLIPS", "--model", "knn", "--threshold", "0"), "give a probability"),
        (("score", "CLIPS", "--model", "knn", "--k", "0"), "whole numbers from 1"),
        (("score", "nowhere.jsonl", "--model", "knn"), "no such file"),
        (("forecast", "CLIPS", "--model", "knn"), "either --horizon"),
        (("forecast", "CLIPS", "--model", "knn", "--frames", "99999"), "nothing to fit the model on"),
        (("convert", "nowhere"), "no such file or folder"),
        (("scor",), "did you mean 'score'"),
    ],
)
def test_bad_input(capsys, clips, words, said):
    """One line, exit code 2."""
    code, _, err = call(capsys, *(clips if word == "CLIPS" else word for word in words))
    assert (code, err.count("\n")) == (2, 1)
    assert said in err


def test_process(clips):
    """As a process: only JSON on stdout."""
    command = [sys.executable, "-m", "backcast", "scene", "score", str(clips), "--model", "persistence", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["videos"] == 24


def test_page(capsys, clips, tmp_path):
    """A timeline of one clip, with the truth at --horizon and without at --frames; an unknown clip is refused."""
    words = ("forecast", clips, "--model", "markov", "--out", tmp_path / "f.jsonl", "--page", tmp_path / "p.html")
    found = answer(capsys, *words, "--horizon", 0.5, "--clip", "household-0-3")
    text = (tmp_path / "p.html").read_text()
    assert found["page"] == str(tmp_path / "p.html")
    assert "What follows in household-0-3" in text
    assert "show what did follow" in text
    code, _, err = call(capsys, *words, "--horizon", 0.5, "--clip", "household-0-99")
    assert code == 2
    assert "no forecast of it" in err
