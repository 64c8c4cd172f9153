"""What the page says of the small model is what the result files say."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "methods" / "pixel-reasoner.md"
RESULTS = ROOT / "benchmarks" / "effects" / "results"
pytestmark = pytest.mark.skipif(not PAGE.is_file() or not RESULTS.is_dir(), reason="no docs beside the tests")


def percent(value):
    return f"{100 * value:.1f}".removesuffix(".0")


def look_rows():
    """Test 26: tools on, off, random, grey, oracle, first boxes, and the lessons' own figures, seed by seed."""
    for seed in json.loads((RESULTS / "vision_look.json").read_text())["seeds"]:
        shares = [seed[key] for key in ("on", "off", "random", "blank", "oracle", "hits")]
        yield f"| {seed['seed']} | {' | '.join(map(percent, shares))} |"


def curiosity_rows():
    """Test 27: how many look, and how many of those that need a look are right."""
    for seed in json.loads((RESULTS / "vision_curiosity.json").read_text())["seeds"]:
        arms = [seed[name] for name in ("start", "plain", "curious")]
        cells = [percent(arm[key]) for key in ("rapr", "small", "right") for arm in arms]
        yield f"| {seed['seed']} | {' | '.join(cells)} |"


def corrections_rows():
    """Test 28: looks that miss, and what is right, with traces that make mistakes and without."""
    for seed in json.loads((RESULTS / "vision_corrections.json").read_text())["seeds"]:
        arms = [seed[name] for name in ("corrected start", "corrected", "uncorrected start", "uncorrected")]
        cells = [percent(arm[key]) for key in ("missed", "right") for arm in arms]
        yield f"| {seed['seed']} | {' | '.join(cells)} |"


@pytest.mark.parametrize("rows", [look_rows, curiosity_rows, corrections_rows])
def test_quotes(rows):
    text = PAGE.read_text()
    missing = [row for row in rows() if row not in text]
    assert not missing, "\n".join(missing)
