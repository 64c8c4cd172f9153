"""The picture of where a model looked: every box in its place, nothing that runs, nothing fetched."""

import re

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.lm.sight import Call
from backcast.vision.looker import Ask, preset
from backcast.vision.looker.loop import begin, take
from backcast.vision.picture import COLOURS, sheet, write_picture
from tests.vision.test_loop import request, said

STRICT = preset("strict")


@pytest.fixture
def look(photo):
    look = begin(Ask(photo, "What is <b>this</b>?"), STRICT)
    take(look, request((0.6, 0.3, 0.8, 0.5)), STRICT)
    take(look, request((0.4, 0.3, 0.2, 0.5)), STRICT)
    take(look, request((0.5, 0.5, 0.9, 0.9), target=2), STRICT)
    take(look, said("<script>alert(1)</script> \\boxed{green}"), STRICT)
    return look


def test_the_page_draws_each_box_in_pixels_of_the_original(look, tmp_path):
    page = write_picture(look, tmp_path / "look.html").read_text()
    drawn = re.findall(r'<rect x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)" class="halo"', page)
    assert drawn == [("600", "240", "200", "160"), ("700", "320", "80", "64")]
    assert "wrong order" in page
    assert "green" in page
    assert "<script" not in page
    assert "What is &lt;b&gt;this" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)


def test_the_sheet_draws_them_too(look):
    image = np.asarray(sheet(look))
    scale = 1_000 / 1_000  # the photo is shown as it is
    colour = [int(COLOURS[2][i : i + 2], 16) for i in (1, 3, 5)]
    line = (image == colour).all(-1)
    ys, xs = np.nonzero(line[:1100])
    assert line.any()
    assert xs.max() - xs.min() >= 190 * scale
    assert ys.max() - ys.min() >= 150 * scale


def test_a_conversation_without_an_answer_says_why(photo, tmp_path):
    look = begin(Ask(photo, "what?"), STRICT)
    for _ in range(6):
        take(look, request(), STRICT)
    page = write_picture(look, tmp_path / "look.html").read_text()
    assert "no answer" in page
    assert "more calls than it may make" in page
    with pytest.raises(BadInput, match=r"\.html or \.png"):
        write_picture(look, tmp_path / "look.pdf")


def test_calls_of_a_server_are_shown(photo, tmp_path):
    from backcast.lm.sight import Reply

    look = begin(Ask(photo, "what?"), STRICT)
    call = Call("zoom_in", {"bbox_2d": [0, 0, 0.5, 0.5], "target_image": 1}, "c1")
    take(look, Reply("", (call,), 5, 5, True), STRICT)
    take(look, said("4"), STRICT)
    page = write_picture(look, tmp_path / "look.html").read_text()
    assert "zoom_in {&#34;bbox_2d&#34;: [0, 0, 0.5, 0.5]" in page
