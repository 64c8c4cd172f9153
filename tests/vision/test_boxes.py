"""Boxes and sizes: the figures of Pixel Reasoner's code, the strict rules, and the mapping between frames."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.vision.looker import authors
from backcast.vision.looker.boxes import BadBox, Box, Budget
from backcast.vision.looker.settings import PRESETS

TRAIN, EVAL = PRESETS["authors-train"], PRESETS["authors-eval"]


@pytest.mark.parametrize(
    ("numbers", "size"),
    [
        ([0.2, 0.3, 0.4, 0.5], (400, 320)),
        ([200, 240, 400, 400], (400, 320)),
        ([0, 0, 0.99, 0.99], (1000, 800)),
        ([0, 0, 1, 1], (101, 81)),  # 1 is not < 1, so these are pixels
        ([0.5, 0.5, 0.5, 0.5], (200, 160)),
        ([0.9, 0.9, 0.95, 0.95], (200, 160)),
        ([0.4, 0.3, 0.2, 0.5], (0, 320)),  # the order is not checked
    ],
)
def test_the_authors_crops(numbers, size):
    """Measured on their code, for an image of 1000 x 800 pixels (spec B2)."""
    left, top, right, bottom = authors.rounded(authors.crop(numbers, (1000, 800), TRAIN.padding))
    assert (right - left, bottom - top) == size


@pytest.mark.parametrize(
    ("given_size", "budget", "size", "tokens"),
    [
        ((400, 320), TRAIN.crop, (392, 308), 154),
        ((400, 320), EVAL.crop, (504, 420), 270),
        ((40, 60), TRAIN.crop, (56, 84), 6),
        ((4000, 3000), TRAIN.first, (1428, 1064), 1938),
        ((4000, 3000), EVAL.first, (2884, 2156), 7931),
    ],
)
def test_the_authors_sizes(given_size, budget, size, tokens):
    """Measured on their code (spec B2)."""
    assert budget.fitted(given_size) == size
    assert budget.tokens(given_size) == tokens


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([14, 28, 32]), st.integers(1, 500))
def test_fitted_sizes_are_those_of_the_stock_processor(wide, high, cell, low):
    """The same as Qwen2-VL's ``smart_resize``, wherever that accepts the shape."""
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    budget = Budget(low, low + 900, cell)
    if max(wide, high) > 200 * min(wide, high):
        with pytest.raises(BadBox, match="200 times"):
            budget.fitted((wide, high))
        return
    stock = smart_resize(high, wide, cell, budget.low * cell**2, budget.high * cell**2)
    assert budget.fitted((wide, high)) == stock[::-1] or 0 in stock


def test_strict_boxes_mean_what_they_say():
    assert Box.read([0, 0, 1, 1]).checked((1000, 800)).outward() == (0, 0, 1000, 800)
    assert Box.read([0.2, 0.3, 0.4, 0.5]).checked((1000, 800)).outward() == (200, 240, 400, 400)
    assert Box.read([200, 300, 400, 500], "per_mille").checked((1000, 800)).outward() == (200, 240, 400, 400)
    # DeepEyes #141: a box predicted on the resized image must be carried back to the original.
    assert Box.read([100, 120, 200, 200], "shown").checked((1000, 800), (500, 400)).outward() == (200, 240, 400, 400)


@pytest.mark.parametrize(
    ("value", "frame", "said"),
    [
        ([0.4, 0.3, 0.2, 0.5], "unit", r"x1 and x2 in the wrong order.*x1 < x2 and y1 < y2"),
        ([0.2, 0.5, 0.4, 0.3], "unit", "y1 and y2 in the wrong order"),
        ([0.4, 0.3, 0.4, 0.5], "unit", "no area"),
        ([0.2, 0.3, 1.4, 0.5], "unit", "from 0 to 1, at most 1 and 1"),
        ([2, 3, 4, 5], "unit", "reaches beyond the image"),
        ([-0.5, 0, 0.5, 0.5], "unit", "reaches beyond the image"),
        ([0, 0, 1500, 10], "per_mille", "from 0 to 1000"),
        ([0, 0, 600, 10], "shown", "as you see it, at most 500 and 400"),
        ([0.1, 0.2, 0.3], "unit", "must be four numbers"),
        ("0.1 0.2 0.3 0.4", "unit", "must be four numbers"),
        ([0.1, 0.2, "0.3", 0.4], "unit", "must be four numbers"),
        ([0.1, 0.2, True, 0.4], "unit", "must be four numbers"),
        ([0.1, 0.2, float("nan"), 0.4], "unit", "four finite numbers"),
        (None, "unit", "must be four numbers"),
    ],
)
def test_a_bad_box_says_how_to_mend_it(value, frame, said):
    with pytest.raises(BadBox, match=said):
        Box.read(value, frame).checked((1000, 800), (500, 400))


def test_a_hair_beyond_the_edge_is_the_edge():
    assert Box.read([0, 0, 1.005, 1]).checked((1000, 800)).outward() == (0, 0, 1000, 800)


sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(sizes, sizes, st.lists(st.floats(0, 1), min_size=4, max_size=4), st.sampled_from(["per_mille", "shown", "own"]))
def test_frames_carry_a_box_to_the_same_place(size, shown, numbers, frame):
    """Into another frame and back is the same box, and both are the same pixels."""
    box = Box(*numbers)
    there = box.in_frame(frame, size, shown)
    assert there.in_pixels(size, shown).numbers == pytest.approx(box.in_pixels(size).numbers, abs=1e-6)
    assert there.in_frame("unit", size, shown).numbers == pytest.approx(box.numbers, abs=1e-9)


@given(sizes, st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(0, 0.9))
def test_padding_keeps_what_was_asked_for_and_stays_inside(size, numbers, share):
    x1, x2 = sorted(numbers[:2])
    y1, y2 = sorted(numbers[2:])
    box = Box(x1, y1, x2, y2).in_pixels(size)
    grown = box.padded(share, size)
    whole = Box(0, 0, *size, "own")
    assert grown.contains(box)
    assert whole.contains(grown)
