"""``backcast compress`` from end to end on a tiny model."""

import json

import pytest

from backcast import cli
from backcast.compress.job import folder_bytes

KEYS = {
    "method",
    "claimed_bits",
    "true_bits",
    "bytes_before",
    "bytes_after",
    "weights",
    "relative_mse",
    "seconds",
    "cpu_seconds",
    "reload_max_difference",
}


def run(capsys, *words):
    code = cli.main(["compress", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.mark.parametrize("words", [("--method", "wgm"), ("--method", "splitquant"), ("--method", "rtn", "--bits", 3)])
def test_figures_are_those_of_the_folder(tiny, tmp_path, capsys, words):
    """The JSON has the promised keys; bytes are the folder's; bits agree with the file; the sample goes on."""
    out = tmp_path / "out"
    code, said, _ = run(capsys, tiny, "--out", out, *words, "--json")
    assert code == 0
    figures = json.loads(said)
    assert figures.keys() >= KEYS
    assert figures["bytes_after"] == folder_bytes(out)
    assert figures["bytes_before"] == folder_bytes(tiny)
    assert figures["true_bits"] > figures["claimed_bits"] >= 3
    assert 0 < figures["relative_mse"] < 0.1
    assert figures["reload_max_difference"] < 1e-3
    assert figures["sample"].startswith("The capital of France is")
    assert "import backcast.compress" in (out / "README.md").read_text()


def test_the_released_setting_prints_both_counts(tiny, tmp_path, capsys):
    """The paper's preset at its own 6 bits: advertised near 1, stored 6, side by side for people."""
    code, said, _ = run(capsys, tiny, "--out", tmp_path / "out", "--preset", "paper", "--bits", 6)
    assert code == 0
    assert "true bits per weight" in said
    assert "advertised as 1." in said
    figures = json.loads((tmp_path / "out" / "compress.json").read_text())["figures"]
    assert figures["true_bits"] > 6


def test_again_is_answered_from_the_record_and_otherwise_is_refused(tiny, tmp_path, capsys):
    """The same command again does nothing; with other settings it exits 2 and says which."""
    out = tmp_path / "out"
    assert run(capsys, tiny, "--out", out, "--method", "rtn")[0] == 0
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    assert run(capsys, tiny, "--out", out, "--method", "rtn")[0] == 0
    assert before == {path: path.stat().st_mtime_ns for path in out.iterdir()}
    code, _, error = run(capsys, tiny, "--out", out, "--method", "rtn", "--block", 32)
    assert code == 2
    assert "block: 64 -> 32" in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--bits", 9), "'9'"),
        (("--method", "rtn", "--bits", 0), "'0'"),
        (("--method", "rtn", "--window", 8), "--window belongs to --method wgm"),
        (("--method", "wgm", "--masked"), "--masked belongs to --method splitquant"),
        (("--solver", "greedy"), "preset ours"),
        (("--block", 0), "--block"),
        (("--preset", "v3", "--lam", -1), "lambda: '-1.0'"),
        (("--preset", "paper", "--lam", "nan"), "lambda: 'nan'"),
        (("--preset", "exact", "--weigh", "nan"), "weigh: 'nan'"),
        (("--preset", "paper", "--window", 0), "'0'"),
        (("--protect", 2), "protect: '2.0'"),
        (("--method", "splitquant", "--form", "planes", "--masked"), "use the compact form"),
        (("--method", "zip"), "zip"),
    ],
)
def test_bad_flags_are_one_line_and_exit_2(tiny, tmp_path, capsys, words, named):
    """Out of range, or of another method: the flag is named, nothing is written."""
    code, _, error = run(capsys, tiny, "--out", tmp_path / "out", *words)
    assert code == 2
    assert named in error
    assert len(error.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
