"""The pages quote the measured front as its result file has it, and the file says where we stand."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE = ROOT / "benchmarks" / "effects" / "results" / "wgm-front.json"
pytestmark = pytest.mark.skipif(not FILE.exists(), reason="the benchmarks are not beside the tests")


def line(row: dict) -> str:
    """A row as the pages print it."""
    return (
        f"| {row['setting']} | {row['true_bits']:.3f} | {row['perplexity']:.2f} | {row['kl']:.4f} | "
        f"{row['agreement']:.3f} |"
    )


@pytest.mark.parametrize(("page", "groups"), [("wgm", None), ("splitquant", ("RTN4", "SplitQuant", "RTN8 row"))])
def test_the_page_quotes_every_row(page, groups):
    """Bits, perplexity, KL and agreement of every row (of these settings) stand on the page, digit for digit."""
    text = (ROOT / "docs" / "methods" / f"{page}.md").read_text()
    assert FILE.name in text
    rows = [row for table in json.loads(FILE.read_text())["tables"].values() for row in table]
    quoted = [row for row in rows if groups is None or row["setting"].startswith(groups)]
    assert quoted
    for row in quoted:
        assert line(row) in text, row["setting"]


def test_no_peer_is_as_good_in_no_more_bits():
    """At three, four, five and six bits, off the grid: what the page claims is what was measured."""
    found = json.loads(FILE.read_text())
    for title, by_setting in found["peers as good in no more bits"].items():
        assert "off its grid" in title
        assert {f"ours {bits}" for bits in (3, 4, 5, 6)} <= by_setting.keys()
        assert not any(by_setting[f"ours {bits}"] for bits in (3, 4, 5, 6))
    for reference in found["references"]:
        assert abs(reference["perplexity_after"] / reference["perplexity_before"] - 1) < 0.1
        assert reference["grid_after"] > 0.95
