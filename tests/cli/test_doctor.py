"""``backcast doctor``: what stands in a bug report, and that it finds what is in the way."""

import json
import os
import subprocess
import sys
from importlib import metadata

import pytest

from backcast import cli
from backcast.cli import doctor
from tests.lm.endpoint.conftest import fake as fake


def ask(capsys, *words):
    """(exit code, the object) of ``backcast doctor --json``."""
    code = cli.main(["doctor", *words, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_everything_a_report_needs_is_there(capsys):
    """Every part is filled; versions are those installed; a healthy machine has no problem and code 0."""
    code, found = ask(capsys)
    assert (code, found["problems"]) == (0, [])
    assert found["torch"]["version"] == metadata.version("torch")
    assert found["torch"]["build"].startswith(("CPU", "CUDA"))
    assert found["extras"]["lm"] is True
    assert found["versions"]["as tested"] > 20
    assert found["cache"]["writable"] is True
    assert found["free_disk_gb"] > 0
    assert found.keys() >= {"device", "memory_gb", "kernels", "browser", "hub", "servers", "python", "platform"}


def test_for_people_it_is_lines(capsys):
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "\ntorch: version " in out
    assert out.strip().endswith("nothing is in the way")


def test_a_version_that_was_not_tested_is_named(monkeypatch):
    """Another numpy than the pinned one stands beside the tested one; a build suffix is no difference."""
    monkeypatch.setattr(doctor, "_constraints", lambda: f"# x\nnumpy==0.1\ntorch=={_plain('torch')}\nnobody==1\n")
    assert doctor._versions() == {"as tested": 1, "numpy": f"{metadata.version('numpy')} (tested: 0.1)"}


def _plain(name):
    return metadata.version(name).partition("+")[0]


def test_a_cache_that_cannot_be_written_is_a_problem(capsys, monkeypatch, tmp_path):
    """A cache below a regular file: code 1, and the line says what to set."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BACKCAST_CACHE", str(tmp_path / "file" / "cache"))
    code, found = ask(capsys)
    assert code == 1
    assert found["cache"]["writable"] is False
    assert "set BACKCAST_CACHE" in found["problems"][0]


def test_asking_leaves_nothing_behind(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("BACKCAST_CACHE", str(tmp_path / "none"))
    assert ask(capsys)[0] == 0
    assert not (tmp_path / "none").exists()


def test_a_damaged_call_cache_is_a_problem(capsys, monkeypatch, tmp_path):
    """The cache's own line, not a traceback."""
    monkeypatch.setenv("BACKCAST_CACHE", str(tmp_path))
    (tmp_path / "calls.sqlite").write_bytes(b"no database" * 500)
    code, found = ask(capsys)
    assert code == 1
    assert "is damaged" in found["problems"][0]


def test_servers_are_tried(capsys, fake):
    """One that answers, one that is not there, one that is no address."""
    code, found = ask(capsys, "--servers", fake().base, "http://127.0.0.1:9/v1", "ftp://x")
    told = list(found["servers"].values())
    assert code == 1
    assert told[0].startswith("reachable, serves ")
    assert all(line.startswith("not reachable: ") for line in told[1:])
    assert len(found["problems"]) == 2


def test_no_key_is_printed():
    """Keys in the environment stay there."""
    env = {**os.environ, "OPENAI_API_KEY": "sk-secret-1", "BACKCAST_API_KEY": "sk-secret-2", "HF_TOKEN": "hf-secret-3"}
    done = subprocess.run([sys.executable, "-m", "backcast", "doctor"], capture_output=True, text=True, env=env)
    assert "backcast: " in done.stdout
    assert "secret" not in done.stdout + done.stderr


@pytest.mark.parametrize("value", ["1", "true", "ON"])
def test_an_offline_hub_is_said(value, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert ask(capsys)[1]["hub"] == "offline"
