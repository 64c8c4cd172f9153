"""The page of the plane: every point is on it, zero errors are not, labels are escaped and apart."""

import re
from itertools import pairwise

from backcast.report.plane import Plane, Point, chart, page

PLANE = Plane(
    title="a <b> in 4bits",
    note="ten layers",
    x="bits",
    y="error",
    points=[Point("two", 2.3, 0.11), Point("three & more", 2.4, 0.1), Point("exact", 16.0, 0.0)],
    front=[(2.0, 0.2), (3.0, 0.03), (4.0, 0.005), (16.0, 0.0)],
    chosen=Point("this plan", 3.0, 0.03),
    columns=["layer", "bits"],
    rows=[["up", 3.25], ["down", 2.5]],
)


def test_every_point_with_an_error_is_drawn():
    """Three dots (a zero has no place on a log scale), a line of three, names in words for readers of screens."""
    svg = chart(PLANE)
    assert svg.count("<circle") == 3
    path = re.search(r'class="line s0" d="([^"]*)"', svg)[1]
    assert path.count("M") + path.count("L") == 3
    assert 'aria-label="error over bits. two: 2.3' in svg
    assert "three &amp; more" in svg


def test_falling_error_rises_on_the_page():
    """Half the error lies lower, and equal steps in the logarithm are equal on the page."""
    even = Plane("t", "n", "x", "y", [Point(str(i), i, 10.0**-i) for i in range(4)], [], Point("c", 1.5, 0.01))
    places = [float(y) for y in re.findall(r'class="dot s1" cx="[\d.]+" cy="([\d.]+)"', chart(even))]
    steps = [b - a for a, b in pairwise(places)]
    assert min(steps) > 10
    assert max(steps) - min(steps) < 0.2


def test_close_labels_are_moved_apart():
    """Two points that nearly touch have labels at least a line apart."""
    ys = [float(y) for y in re.findall(r'y="([\d.]+)" text-anchor="start"', chart(PLANE))]
    assert abs(ys[0] - ys[1]) > 10


def test_the_page_is_one_file_and_escapes():
    """No scripts, nothing fetched, the title as text."""
    html = page(PLANE)
    assert "a &lt;b&gt; in 4bits" in html
    assert "<script" not in html
    assert "http" not in re.sub(r'http-equiv="', "", html)
    assert "3.25" in html
