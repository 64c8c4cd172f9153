"""The page and the log quote the figures that the experiment wrote."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "benchmarks" / "effects").is_dir(), reason="no benchmarks beside the tests")


@pytest.mark.parametrize("name", ["text_steps", "text_steps_again"])
def test_the_page_and_the_log_quote_the_file(name):
    found = json.loads((ROOT / f"benchmarks/effects/results/{name}.json").read_text())
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


@pytest.mark.parametrize(("name", "met"), [("text_steps", False), ("text_steps_again", True)])
def test_the_control_stays_behind_in_every_seed(name, met):
    """The demand: at least 15 points, and 0.9 in four of five seeds, which the first attempt missed."""
    table = json.loads((ROOT / f"benchmarks/effects/results/{name}.json").read_text())["table"]
    assert (table["seeds at 0.9 or above"] >= 4) is met
    each = table["each seed"]
    assert all(a - b >= 0.15 for a, b in zip(each["steps"], each["at once"], strict=True))


def test_the_run_on_pubmedqa_is_quoted_as_measured():
    """Every accuracy and paired change of the file, and how often "yes" is said, stands on the page and in the log."""
    found = json.loads((ROOT / "benchmarks/effects/results/text_pubmedqa.json").read_text())
    page, log = ((ROOT / "docs" / name).read_text() for name in ("methods/alphamed.md", "log.md"))
    assert [seed["seed"] for seed in found["seeds"]] == [0, 1]
    figures = [found["before"][how] for how in ("likelihood", "generation")]
    figures += [seed[how]["after"] for seed in found["seeds"] for how in ("likelihood", "generation")]
    figures += [other["right"] for other in found["others"]]
    for figure in figures:
        mean, low, high = (f"{value:.3f}" for value in figure)
        assert f"{mean} [{low}, {high}]" in page
        assert f"{mean} [{low}, {high}]" in log
    for seed in found["seeds"]:
        assert seed["generation"]["n"] == 120
        assert seed["likelihood"]["n"] == 500
        mean, low, high = (f"{value:.3f}" for value in seed["generation"]["change"])
        assert f"+{mean} [{low}, {high}]" in page
        assert str(seed["generation"]["chosen"]["A"]) in page
        assert str(seed["likelihood"]["chosen"]["A"]) in page
    assert all(other["n"] == 500 for other in found["others"])
