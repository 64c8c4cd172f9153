"""A server that a run names is tried before the run shows its plan, as a user sees it at the command line."""

import json
import os
import subprocess
import sys

import pytest


@pytest.fixture
def reason(tmp_path):
    """Runs ``backcast reason`` with a server; returns the finished process and the run folder."""
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps({"prompt": "Write.", "answer": "One two.\n\nThree four."}) + "\n")

    def ask(url):
        words = ["reason", str(pairs), "--model", url, "--out", str(tmp_path / "run")]
        env = {**os.environ, "BACKCAST_CACHE": str(tmp_path / "cache")}
        return subprocess.run([sys.executable, "-m", "backcast", *words], capture_output=True, text=True, env=env)

    return ask, tmp_path / "run"


def test_a_server_that_is_not_there_is_one_line_and_no_plan(reason):
    ask, folder = reason
    done = ask("http://127.0.0.1:9/v1#toy")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "cannot be reached" in done.stderr
    assert not folder.exists()


def test_a_server_that_cannot_score_is_one_line_and_no_plan(reason, fake):
    ask, folder = reason
    done = ask(f"{fake(kind='openai').base}#toy")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "gives no log-probabilities of a prompt" in done.stderr
    assert not folder.exists()
