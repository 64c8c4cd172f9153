"""``backcast reason`` as a user meets it: a run from end to end, killed and gone on with, and its bad inputs."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from backcast import cli

TEXTS = [
    "The river rises in the hills.\n\nIt runs past the mill.\n\nIn the end it meets the sea.",
    "Mix flour with water.\n\nWait for an hour, then fold the dough and wait again.",
    "Dear neighbour, thank you for your letter.\n\nWe would like to talk about the wall.\n\nUntil Monday.",
    "Rain falls for three days.\n\nThen the fields are under water, and nobody walks the old road.",
]
KEYS = [
    "items",
    "done",
    "dropped",
    "accepted",
    "nll_empty",
    "nll_start",
    "nll_final",
    "calls",
    "cached_calls",
    "traces",
]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random Llama with a real tokenizer."""
    from backcast.lm.tiny import make_tiny_llama

    return make_tiny_llama(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pairs of two or three paragraphs."""
    path = tmp_path_factory.mktemp("pairs") / "pairs.jsonl"
    rows = [
        {"id": f"t{i}", "prompt": f"Write text {i}.", "answer": text, "kind": "test"} for i, text in enumerate(TEXTS)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def command(pairs: Path, model: Path, out: Path, *more: str) -> list[str]:
    words = ["reason", str(pairs), "--model", str(model), "--out", str(out), "--expansions", "2", "--batch", "2"]
    return [sys.executable, "-m", "backcast", *words, "--max-overlap", "1", "--json", *more]


def started(words: list[str], cache: Path) -> "subprocess.Popen[str]":
    environment = {**os.environ, "BACKCAST_CACHE": str(cache), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finished(words: list[str], cache: Path) -> dict[str, object]:
    process = started(words, cache)
    out, error = process.communicate()
    assert process.returncode == 0, error
    (line,) = out.splitlines()
    result: dict[str, object] = json.loads(line)
    return result


def rows(cache: Path) -> int:
    """Model calls completed through a cache."""
    path = cache / "calls.sqlite"
    if not path.exists():
        return 0
    try:
        with sqlite3.connect(path, timeout=5) as connection:
            return int(connection.execute("SELECT COUNT(*) FROM calls").fetchone()[0])
    except sqlite3.OperationalError:  # the table is just being made
        return 0


def killed(words: list[str], cache: Path, moment: Callable[[], bool]) -> None:
    """Starts the command and kills it, unannounced, as soon as ``moment`` has come."""
    process = started(words, cache)
    give_up = time.monotonic() + 400
    while not moment():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < give_up
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL


@pytest.mark.method(1, proves="goes on after kill -9, byte for byte")
def test_killed_at_five_points(model: Path, pairs: Path, tmp_path: Path) -> None:
    """After five kills the traces are those of an undisturbed run, byte for byte, and no finished call was repeated."""
    whole = finished(command(pairs, model, tmp_path / "whole"), tmp_path / "cache-whole")
    total = rows(tmp_path / "cache-whole")
    assert total == whole["calls"]
    assert whole["cached_calls"] == 0

    cache, out = tmp_path / "cache", tmp_path / "run"
    traces = out / "1-search" / "traces.jsonl"
    words = command(pairs, model, out)
    killed(words, cache, lambda: (out / "recipe.toml").exists())
    killed(words, cache, lambda: rows(cache) > 0)
    killed(words, cache, lambda: rows(cache) >= total // 3)
    killed(words, cache, traces.exists)
    killed(words, cache, lambda: rows(cache) >= total * 4 // 5)
    kept = rows(cache)
    last = finished(words, cache)

    assert traces.read_bytes() == Path(str(whole["traces"])).read_bytes()
    assert last["calls"] == total
    assert last["cached_calls"] == kept
    assert rows(cache) == total
    again = finished(words, cache)
    assert [stage["skipped"] for stage in again["stages"]] == [True, True]  # type: ignore[attr-defined]
    assert again["cached_calls"] == again["calls"] == total


def test_a_run_leaves_what_scripts_rely_on(
    model: Path, pairs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The keys of ``--json``, traces, dataset and report are there; a judge adds its row to the gap table."""
    monkeypatch.setenv("BACKCAST_CACHE", str(tmp_path / "cache"))
    words = command(pairs, model, tmp_path / "run", "--judge", str(model), "--limit", "2")[3:]
    assert cli.main(words) == 0
    result = json.loads(capsys.readouterr().out)
    assert set(KEYS) <= result.keys()
    assert (result["items"], result["done"]) == (2, 2)
    assert len(Path(result["traces"]).read_text().splitlines()) == 2
    assert (Path(result["dataset"]) / "train.parquet").exists()
    assert Path(result["report"]).stat().st_size > 1000
    assert len(result["gaps"]) == 3
    assert cli.main([*words, "--seed", "1"]) == 2
    assert "other settings" in capsys.readouterr().err


def test_requests_are_written_backwards(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Bare texts get a request each from the model, and the trace says that it was not given."""
    monkeypatch.setenv("BACKCAST_CACHE", str(tmp_path / "cache"))
    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[:2]))
    words = command(texts, model, tmp_path / "run", "--requests", "write", "--max-steps", "1")[3:]
    assert cli.main(words) == 0
    result = json.loads(capsys.readouterr().out)
    for line in Path(result["traces"]).read_text().splitlines():
        data = json.loads(line)["data"]
        assert data["prompt"].startswith("Write ")
        assert data["lineage"]["request"] == "written backwards from the answer"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "no such file"),
        ("{", "line 1: not JSON"),
        ('{"prompt": "q", "answer": "a"}\n{"prompt": "q", "answer": ""}', "line 2: empty 'answer'"),
        ('{"prompt": "q", "txt": "a"}', "found: prompt, txt"),
        ("", "no items"),
    ],
)
def test_bad_pairs(content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One line naming file, line and what was found; exit code 2; no run folder."""
    path = tmp_path / "pairs.jsonl"
    if content is not None:
        path.write_text(content)
    assert cli.main(["reason", str(path), "--model", "smollm2", "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--model", "smolm2"], "did you mean 'smollm2'?"),
        (["--model", "smollm2", "--limit", "0"], "limit must be at least 1"),
        (["--model", "smollm2", "--expansions", "0"], "expansions must be at least 1"),
        (["--model", "smollm2", "--preset", "tiny"], "--preset"),
        (["--model", "smollm2", "--max-overlap", "nan"], "max_overlap must be at least 0 and at most 1, found nan"),
        (["--model", "smollm2", "--proposal-tokens", "0"], "proposal_tokens must be at least 1"),
        (["--model", "./no-such-folder"], "no model folder './no-such-folder'"),
        (["--model", "/no/such/folder"], "no model folder '/no/such/folder'"),
    ],
)
def test_bad_flags(
    flags: list[str], said: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong model, preset or number is refused in one line before anything is written."""
    assert cli.main(["reason", str(pairs), *flags, "--out", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()
