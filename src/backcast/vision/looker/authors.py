"""How Pixel Reasoner's code reads boxes and numbers, traps included (github TIGER-AI-Lab/Pixel-Reasoner).

Kept apart so that its results can be compared with, and so that nothing else does as it does.
"""

from collections.abc import Sequence
from typing import Any

from backcast.lm.sight import Part
from backcast.vision.looker.boxes import BadBox, Box, Size

FRAMES, LAST_FRAME = 8, 16


def crop(value: Any, size: Size, padding: float) -> Box:
    """The part that their code cuts out of an image of ``size``, in its pixels.

    Four numbers all below 1 are shares, otherwise pixels: [0, 0, 1, 1] is one pixel. Padding is a share of the image on
    every side, clipped to the image. The order of the corners is not checked: a reversed box may grow to a valid one.
    """
    box = Box.read(value, "unit")
    if not all(number < 1 for number in box.numbers):
        box = Box(*box.numbers, "own").in_frame("unit", size)
    x1, y1 = (max(0.0, number - padding) for number in (box.x1, box.y1))
    x2, y2 = (min(1.0, number + padding) for number in (box.x2, box.y2))
    return Box(x1, y1, x2, y2, "unit").in_pixels(size)


def rounded(part: Box) -> tuple[int, int, int, int]:
    """Whole pixels as Pillow's ``crop`` rounds them: each corner to the nearest."""
    left, top, right, bottom = (round(number) for number in part.numbers)
    return left, top, right, bottom


def target(value: Any, count: int, given: int, video: bool) -> int:
    """The index that a ``target_image`` means among ``count`` images, ``given`` of them from the start.

    Of images, number k is the k-th, and 0 or less counts from the end (Python's index k - 1). Of a video whose frames
    were selected, 2 is the first selected frame, although the message about it calls it 1.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or int(value) != value:
        raise BadBox(f"list indices must be integers or slices, found target_image {value!r}")
    number = int(value)
    if video and count > given:
        if number < 2:
            raise BadBox(f"target_image must be at least 2 once frames were selected, found {number}")
        index = given + number - 2
    else:
        index = number - 1
    if not -count <= index < count:
        raise BadBox(f"target_image {number} is not one of the {count} images")
    return index % count


def frames(value: Any, given: int) -> list[int]:
    """Indices of the frames that a ``target_frames`` means; an empty list fails as Python's ``max`` does."""
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise BadBox(f"target_frames must be a list, found {value!r}")
    if len(value) > FRAMES:
        raise BadBox(f"{len(value)} frames selected, at most {FRAMES} are allowed")
    if not value:
        raise BadBox("max() arg is an empty sequence")
    if not all(isinstance(number, int) for number in value):
        raise BadBox(f"target_frames must be integers, found {list(value)!r}")
    if max(value) > LAST_FRAME:
        raise BadBox(f"frame {max(value)} selected, the last is {LAST_FRAME}")
    if max(value) > given or min(value) <= -given:
        raise BadBox("list index out of range")
    return [(number - 1) % given for number in value]


def words(tool: str, views: Sequence[Any], before: int) -> tuple[Part, ...]:
    """What their feedback turn holds, in our words: the size, the numbers, then the pictures."""
    wide, high = views[0].picture.size
    if tool == "zoom_in":
        return (f"\nHere is the cropped image, {wide}x{high} pixels:\n", views[0].picture)
    said = f"\nHere are the selected frames, {wide}x{high} pixels, Numbered {before + 1} to {before + len(views)}:\n"
    return (said, *(view.picture for view in views))
