"""The table of benchmarks: README and page show what is stored, and what is stored was measured."""

import importlib.util
import re

import pytest

from tests.docs.pages import ROOT

pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="no benchmarks beside the tests")

HELPERS = {
    "calibration_free": "quantisers of others, for wgm_table",
    "collect": "this table",
    "games_small": "a bound without a peer",
    "gptq_reference": "a row of wgm_table",
    "offgrid": "makes the model that others measure",
    "public_questions": "makes question files",
    "routing_anytime": "promises without a peer",
    "synthetic": "makes a model folder",
    "windowed_text": "cuts a text",
}
"""Scripts that print no row, and why."""


@pytest.fixture(scope="module")
def collect():
    spec = importlib.util.spec_from_file_location("collect", ROOT / "benchmarks" / "collect.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_pages_show_the_stored_rows(collect):
    for page in collect.PAGES:
        text = (ROOT / page).read_text()
        assert collect.written(page, collect.rows()) == text, "run: python benchmarks/collect.py --write"


def test_a_row_entered_by_hand_is_in_the_log(collect):
    """Its words stand in the log (or on a method's page), the log has its day and its script."""
    log = (ROOT / "docs" / "log.md").read_text()
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "methods").glob("*.md"))
    for row in collect.rows():
        script = row["command"].split()[1].removeprefix("benchmarks/").split("_")[0]
        if row["log"]:
            assert " ".join(row["log"].split()) in " ".join((log + pages).split()), row["what"]
            assert re.search(rf"^## {row['date']}", log, re.MULTILINE), row["what"]
            assert f"benchmarks/{script}" in log, row["what"]


def test_the_figure_shown_is_the_one_in_the_words_of_the_log(collect):
    """The first number of what is shown occurs in the words of the log or the method's page."""
    for row in collect.rows():
        if row["log"]:
            number = re.search(r"[\d.]+", row["shown"])[0]
            assert number in row["log"] or row["what"].startswith(("a training step", "perplexity")), row


def test_every_script_is_in_the_table_or_says_why_not(collect):
    named = {row["command"].split()[1].removeprefix("benchmarks/").removesuffix(".py") for row in collect.rows()}
    there = {path.stem for path in (ROOT / "benchmarks").glob("*.py")}
    assert named <= there
    assert there - named == set(HELPERS)


def test_a_run_reads_its_figure_off_the_output(collect):
    """Scoring scenes, on few videos: a fresh ratio, today's date, this machine."""
    (row,) = (row for row in collect.rows() if "scenes_score" in row["command"])
    small = f"{row['command']} --videos 4 --loop 2"
    (fresh,) = collect.measure(small, [row])
    assert re.fullmatch(r"[\d.]+ times faster", fresh["shown"])
    assert isinstance(fresh["met"], bool)
    assert "cores" in fresh["machine"]
    with pytest.raises(SystemExit, match="no figure"):
        collect.measure(small, [{**row, "find": "never printed"}])
