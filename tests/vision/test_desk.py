"""The desk: stable numbers, crops from the original pixels, errors the model can act on, and the authors' ways."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from backcast.lm.sight import Call
from backcast.vision.looker import Desk, preset
from backcast.vision.media import Media

STRICT, AUTHORS = preset("strict"), preset("authors-train")


def noise(size=(1000, 800), seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), np.uint8))


def zoom(box, target=1):
    return Call("zoom_in", {"bbox_2d": box, "target_image": target})


def frames(*numbers):
    return Call("select_frames", {"target_frames": list(numbers)})


def test_a_crop_of_a_crop_is_cut_from_the_original_pixels():
    """No generation loss: what is shown second is exactly the original's part, resized once."""
    image = noise()
    desk = Desk(Media((image,)), STRICT)
    desk.carry_out(zoom([0.2, 0.25, 0.6, 0.75]))
    (view,) = desk.carry_out(zoom([0.5, 0.5, 0.75, 1.0], target=2)).views
    assert view.number == 3
    assert view.box.outward() == (400, 400, 500, 600)
    direct = image.crop((400, 400, 500, 600)).resize(view.picture.size, Image.Resampling.BICUBIC)
    assert np.array_equal(np.asarray(view.picture), np.asarray(direct))


def test_the_whole_image_and_its_padding():
    desk = Desk(Media((noise(),)), STRICT)
    (whole,) = desk.carry_out(zoom([0, 0, 1, 1])).views
    assert whole.size == (1000, 800)
    desk = Desk(Media((noise(),)), replace(STRICT, padding=0.1))
    (padded,) = desk.carry_out(zoom([0.2, 0.3, 0.4, 0.5])).views
    assert padded.size == (400, 320)


def test_numbers_shown_are_numbers_accepted(clip):
    """Overview frames, selected frames and crops share one numbering; every number shown can be zoomed into."""
    desk = Desk(clip, STRICT)
    shown = [part for part in desk.opening("what?") if isinstance(part, str) and part.startswith("Image")]
    assert [text.split(":")[0] for text in shown][2] == "Image 3 (frame 3, at 1.0 s)"
    result = desk.carry_out(frames(3, 1))
    assert [view.number for view in result.views] == [5, 6]
    told = [part for part in result.parts if isinstance(part, str) and part.startswith("Image")]
    assert told[0].startswith("Image 5 is frame 3, at 1.0 s")
    for view in list(desk.views):
        (crop,) = desk.carry_out(zoom([0, 0, 0.5, 0.5], view.number)).views
        assert crop.source == view.source
        assert crop.about.startswith(f"image {view.number} at")
    assert [view.number for view in desk.views] == list(range(1, len(desk.views) + 1))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (zoom([0.4, 0.3, 0.2, 0.5]), "wrong order"),
        (zoom([0.4, 0.3, 0.4, 0.5]), "no area"),
        (zoom([0.4, 0.3, 0.41, 0.31]), "too small: 10x8 pixels of image 1; at least 28x28"),
        (zoom([0, 0, 0.5, 0.5], 7), "there is no image 7; there are 1 to 1"),
        (zoom([0, 0, 0.5, 0.5], 0), "there is no image 0"),
        (zoom([0, 0, 0.5, 0.5], -1), "there is no image -1"),
        (zoom([0, 0, 0.5, 0.5], "first"), "must be the number of an image"),
        (zoom([0, 0, 0.5, 0.5], True), "must be the number of an image"),
        (Call("zoom_in", {"bbox_2d": [0, 0, 1, 1]}), "must be the number of an image"),
        (Call("zoom_in", {"bbox": [0, 0, 1, 1], "target_image": 1}), "no argument 'bbox'; it takes bbox_2d and"),
        (Call("rotate", {}), "there is no tool 'rotate'; there are: zoom_in"),
        (Call("", {}, broken="the call is not JSON"), "not JSON"),
        (frames(1), "there is no tool 'select_frames'"),
    ],
)
def test_mistakes_come_back_as_words(call, said):
    desk = Desk(Media((noise(),)), STRICT)
    result = desk.carry_out(call)
    assert said in result.error
    assert result.parts == (f"Error: {result.error}.",)
    assert len(desk.views) == 1


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ((), "must be a list of frame numbers, 1 to 4"),
        ((5,), "there is no frame 5; there are 1 to 4"),
        ((0,), "there is no frame 0"),
        ((1.5,), "must be whole numbers"),
        (("2",), "must be whole numbers"),
    ],
)
def test_mistakes_about_frames(clip, numbers, said):
    assert said in Desk(clip, STRICT).carry_out(frames(*numbers)).error


def test_too_many_frames_and_the_same_frame_twice():
    many = Media(tuple(noise((64, 48), n) for n in range(12)), video=True)
    desk = Desk(many, STRICT)
    assert "at most 8" in desk.carry_out(frames(*range(1, 10))).error
    assert len(desk.carry_out(frames(2, 2, 2.0)).views) == 1


def test_the_tools_offered_are_those_that_make_sense(photo, clip):
    assert Desk(photo, STRICT).names == ("zoom_in",)
    assert Desk(clip, STRICT).names == Desk(photo, AUTHORS).names == ("zoom_in", "select_frames")


# ---------------------------------------------------------------- as the authors' code does


@pytest.mark.parametrize(
    ("box", "size", "shown"),
    [([0.2, 0.3, 0.4, 0.5], (400, 320), (392, 308)), ([0, 0, 1, 1], (101, 81), (112, 84))],
)
def test_authors_crops_through_the_desk(box, size, shown):
    (view,) = Desk(Media((noise(),)), AUTHORS).carry_out(zoom(box)).views
    assert (view.size, view.picture.size) == (size, shown)


def test_authors_errors_and_wrapping_numbers():
    desk = Desk(Media((noise(),)), AUTHORS)
    result = desk.carry_out(zoom([0.4, 0.3, 0.2, 0.5]))
    assert "too small: 0x320" in result.error
    assert result.parts == (f"\nExecution error:\n{result.error}\n",)
    desk.carry_out(zoom([0.2, 0.3, 0.4, 0.5]))
    for number, base in ((0, 2), (-1, 1)):  # Python's index -1 is the last
        (view,) = desk.carry_out(zoom([0.2, 0.3, 0.8, 0.9], number)).views
        assert view.about.startswith(f"image {base} at")
        desk.views.pop()
    assert "not one of the 2 images" in desk.carry_out(zoom([0.2, 0.3, 0.8, 0.9], 3)).error
    assert "not a video" in desk.carry_out(frames(1)).error


def test_authors_frame_numbers_shown_are_not_those_accepted():
    """The trap: the message calls the first selected frame 1, and a crop must call it 2."""
    video = Media(tuple(noise((640, 480), n) for n in range(16)), video=True)
    desk = Desk(video, AUTHORS)
    (view,) = desk.carry_out(zoom([0.2, 0.2, 0.4, 0.4], 5)).views  # before any selection: frame 5
    assert view.source == 4
    desk = Desk(video, AUTHORS)
    result = desk.carry_out(frames(7, 9))
    assert "Numbered 1 to 2" in result.parts[0]
    assert "at least 2" in desk.carry_out(zoom([0.2, 0.2, 0.4, 0.4], 1)).error
    (view,) = desk.carry_out(zoom([0.2, 0.2, 0.4, 0.4], 2)).views
    assert view.source == 6
    assert "max()" in desk.carry_out(frames()).error
    assert "the last is 16" in desk.carry_out(frames(17)).error
    assert "at most 8" in desk.carry_out(frames(*range(1, 10))).error


def test_the_oracle_shows_as_much_as_was_asked_for_around_the_known_box():
    """By hand: 200 x 160 asked, a box of 40 x 40 with the middle (40, 400): shifted inside; a larger box stays."""
    desk = Desk(Media((noise(),), boxes=((20.0, 380.0, 60.0, 420.0),)), replace(STRICT, shows="oracle"))
    (view,) = desk.carry_out(zoom([0.7, 0.1, 0.9, 0.3])).views
    assert view.box.outward() == (0, 320, 200, 480)
    desk = Desk(Media((noise(),), boxes=((100.0, 100.0, 500.0, 500.0),)), replace(STRICT, shows="oracle"))
    (view,) = desk.carry_out(zoom([0.7, 0.1, 0.9, 0.3])).views
    assert view.box.outward() == (100, 100, 500, 500)
