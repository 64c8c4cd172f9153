"""What can go wrong around a run: full disk, read-only and damaged caches, two runs at once, a server that goes.

Each ends in one clear line, nothing that was finished is lost, and the same command then ends as if nothing had been.
``kill -9`` in every stage is in test_story, test_rl, test_pixel, test_routing, cli/test_reason, compress/test_process.
The model is a toy behind HTTP, so that the processes are small and their figures exact.
"""

import contextlib
import json
import os
import resource
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.test_reason import rows
from tests.lm.endpoint.conftest import fake as fake

TEXTS = [
    "The river rises in the hills.\n\nIt runs past the mill.\n\nIn the end it meets the sea.",
    "Mix flour with water.\n\nWait for an hour, then fold the dough and wait again.",
]
KEY = "sk-never-to-be-written-4711"


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [{"id": f"t{i}", "prompt": f"Write text {i}.", "answer": TEXTS[i % 2]} for i in range(4)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def words(pairs, server, out):
    asked = ["reason", str(pairs), "--model", server.base, "--out", str(out), "--expansions", "2", "--batch", "2"]
    return [sys.executable, "-m", "backcast", *asked, "--max-overlap", "1", "--json"]


def start(command, cache, **more):
    env = {**os.environ, "BACKCAST_CACHE": str(cache), "BACKCAST_API_KEY": KEY, "OPENAI_API_KEY": KEY + "-2"}
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **more)


def end(process):
    """(exit code, what stands on stdout, the last line of stderr); never a traceback."""
    out, error = process.communicate(timeout=550)
    assert "Traceback" not in error, error[-2000:]
    return process.returncode, out, (error.strip().splitlines() or [""])[-1]


def done(command, cache):
    code, out, last = end(start(command, cache))
    assert code == 0, last
    return json.loads(out)


def traces(out):
    return (Path(out) / "1-search" / "traces.jsonl").read_bytes()


@pytest.fixture
def whole(pairs, fake, tmp_path):
    """(server, traces of an undisturbed run, its summary)."""
    server = fake(kind="vllm")
    result = done(words(pairs, server, tmp_path / "whole"), tmp_path / "cache-whole")
    return server, traces(tmp_path / "whole"), result


@pytest.mark.parametrize("room", [0, 3000])
def test_a_file_that_may_not_grow(whole, pairs, tmp_path, room):
    """A full disk, as the system tells it (a limit on the size of a file): one line that names a file and a way out,
    exit code 2; with room the same command ends with the same traces."""
    server, expected, _ = whole
    command, cache = words(pairs, server, tmp_path / "run"), tmp_path / "cache"

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.RLIM_INFINITY))

    code, out, last = end(start(command, cache, preexec_fn=small))
    assert (code, out) == (2, "")
    assert last.startswith("backcast: ")
    assert str(tmp_path) in last
    done(command, cache)
    assert traces(tmp_path / "run") == expected


@pytest.fixture
def mounted(tmp_path):
    """A file system of eight megabytes of its own, for those who may mount one."""
    place = tmp_path / "small"
    place.mkdir()
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if made.returncode:
        pytest.skip("needs the right to mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_full(whole, pairs, tmp_path, mounted):
    """A real full file system under the run folder, and then under the cache."""
    server, expected, _ = whole
    ballast = mounted / "ballast"
    for out, cache in ((mounted / "run", tmp_path / "cache"), (tmp_path / "run", mounted / "cache")):
        _fill(ballast)
        code, _, last = end(start(words(pairs, server, out), cache))
        assert code == 2, last
        assert str(mounted) in last
        ballast.unlink()
        done(words(pairs, server, out), cache)
        assert traces(out) == expected


def _fill(path):
    with path.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"x" * 4096)


def test_a_cache_that_is_read_only(whole, pairs, tmp_path, mounted):
    """It cannot be written, and the line says what to set; with the cache off the run is the same."""
    server, expected, _ = whole
    subprocess.run(["mount", "-o", "remount,ro", str(mounted)], check=True)
    code, _, last = end(start(words(pairs, server, tmp_path / "run"), mounted / "cache"))
    assert code == 2
    assert "set BACKCAST_CACHE to a folder that can be written, or add --no-cache" in last
    done([*words(pairs, server, tmp_path / "run"), "--no-cache"], mounted / "cache")
    assert traces(tmp_path / "run") == expected


def test_a_damaged_row_of_the_cache_is_asked_again(whole, pairs, tmp_path):
    """Rows with a flipped byte are told and asked again; a new run with that cache has the same traces."""
    server, expected, result = whole
    cache = tmp_path / "cache-whole"
    with sqlite3.connect(cache / "calls.sqlite") as connection:
        for key, value in connection.execute("SELECT key, value FROM calls LIMIT 3").fetchall():
            connection.execute("UPDATE calls SET value = ? WHERE key = ?", (value[:-1] + bytes([value[-1] ^ 1]), key))
    process = start(words(pairs, server, tmp_path / "again"), cache)
    out, error = process.communicate(timeout=550)
    assert process.returncode == 0, error
    assert "damaged rows deleted; they are computed again" in error
    assert traces(tmp_path / "again") == expected
    again = json.loads(out)
    assert again["calls"] - 4 <= again["cached_calls"] < again["calls"] == result["calls"]


def test_two_runs_at_once_on_one_cache(whole, pairs, tmp_path):
    """Both end with the traces of a run alone, and the file of calls is sound."""
    server, expected, _ = whole
    both = [start(words(pairs, server, tmp_path / name), tmp_path / "shared") for name in ("one", "two")]
    assert [end(process)[0] for process in both] == [0, 0]
    assert traces(tmp_path / "one") == traces(tmp_path / "two") == expected
    with sqlite3.connect(tmp_path / "shared" / "calls.sqlite") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_a_server_that_goes_in_mid_run(whole, pairs, tmp_path):
    """Exit code 1 and one line with its address; back again, the same command asks only what is missing."""
    server, expected, result = whole
    process = start(words(pairs, server, tmp_path / "run"), tmp_path / "cache")
    until = time.monotonic() + 300
    while not rows(tmp_path / "cache") and time.monotonic() < until:
        time.sleep(0.002)
    gone = ("/v1/completions", "/v1/chat/completions", "/tokenize", "/detokenize", "/v1/models")
    server.fail(*({"path": path, "times": 10**6, "drop": True} for path in gone))
    code, out, last = end(process)
    assert (code, out) == (1, ""), last
    assert server.root in last
    server.fail()
    again = done(words(pairs, server, tmp_path / "run"), tmp_path / "cache")
    assert traces(tmp_path / "run") == expected
    assert again["calls"] == result["calls"]
    assert again["cached_calls"] > result["cached_calls"]


def test_keys_are_written_nowhere(whole, tmp_path):
    """Run with API keys in the environment: no file of run, cache or report holds one, nor does the output."""
    server, _, result = whole
    assert {entry["key"] for entry in server.asked()} == {f"Bearer {KEY}"}
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 8
    assert {path.suffix for path in files} >= {".html", ".json", ".jsonl", ".toml", ".sqlite"}
    assert [str(path) for path in files if KEY.encode() in path.read_bytes()] == []
    assert KEY not in json.dumps(result)


def test_a_model_that_cannot_be_saved(tmp_path):
    """Weights that do not fit the disk: one line that names the cause, exit code 2, no traceback of a library's."""
    clips = tmp_path / "clips.jsonl"
    make = [sys.executable, "-m", "backcast", "scene", "convert", "household", "--count", "12", "--to", str(clips)]
    assert end(start(make, tmp_path / "cache"))[0] == 0
    fit = [sys.executable, "-m", "backcast", "scene", "fit", str(clips), "--out", str(tmp_path / "m"), "--steps", "1"]

    def small():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))

    code, _, last = end(start(fit, tmp_path / "cache", preexec_fn=small))
    assert code == 2, last
    assert "make room" in last
    assert end(start(fit, tmp_path / "cache"))[0] == 0
