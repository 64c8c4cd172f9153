"""The page and the log quote the figures that the experiment wrote."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks" / "effects").is_dir(), reason="no benchmarks beside the tests")


def test_the_page_and_the_log_quote_the_file():
    found = json.loads((ROOT / "benchmarks/effects/results/text_steps.json").read_text())
    page, log = ((ROOT / "docs" / name).read_text() for name in ("methods/alphamed.md", "log.md"))
    table = found["table"]
    for key in ("start", "steps", "at once"):
        mean, low, high = (f"{value:.3f}" for value in table[key])
        assert f"{mean} [{low}, {high}]" in page
        assert f"{mean} [{low}, {high}]" in log
    for value in table["each seed"]["steps"]:
        assert f"{value:.3f}" in page
    assert f"{table['seeds at 0.9 or above']} of {found['seeds']}" in page
    assert f"{found['steps']} steps of GRPO" in page


def test_the_control_stays_behind_in_every_seed():
    """The demand: at least 15 points."""
    each = json.loads((ROOT / "benchmarks/effects/results/text_steps.json").read_text())["table"]["each seed"]
    assert all(a - b >= 0.15 for a, b in zip(each["steps"], each["at once"], strict=True))
