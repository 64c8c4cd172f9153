"""Bars: widths are proportional, texts are escaped, nothing impossible is drawn."""

import re
from xml.etree import ElementTree

import pytest

from backcast.report.bars import Bar, bars


def test_widths_are_proportional_and_texts_escaped():
    """Half the count is half the width, half of it filled is half of that; a name with marks stays text."""
    text = bars("T < 1", [Bar("a & b", 40, 20, "x"), Bar("c", 20)])
    ElementTree.fromstring(text)
    whole, part = (
        [float(w) for w in re.findall(rf'class="{kind}"[^>]* width="([\d.]+)"', text)] for kind in ("whole", "part")
    )
    assert whole[1] == pytest.approx(whole[0] / 2)
    assert part == [pytest.approx(whole[0] / 2), 0.0]
    assert "a &amp; b" in text
    assert "T &lt; 1" in text


def test_nothing_impossible_is_drawn():
    with pytest.raises(ValueError, match=r"part 3 must lie in 0\.\.2"):
        bars("t", [Bar("a", 2, 3)])
    with pytest.raises(ValueError, match="at least one row"):
        bars("t", [])
