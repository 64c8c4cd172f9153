"""Where in an image: one type for boxes, with the frame its numbers are meant in, always mapped to original pixels."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Frame = Literal["unit", "per_mille", "shown", "own"]
"""What a box's numbers count: shares of the image's sides (0 to 1), thousandths of them (Qwen3-VL), pixels of the image
as the model was shown it, after resizing (DeepEyes), or pixels of the image's own, before any resizing."""

FRAMES: dict[Frame, str] = {
    "unit": "shares of the image's width and height, from 0 to 1",
    "per_mille": "thousandths of the image's width and height, from 0 to 1000",
    "shown": "pixels of the image as you see it",
    "own": "pixels of the image",
}

OVERSHOOT = 0.01
"""How far beyond the image's edge, as a share of its side, a number may lie and still be taken for the edge."""

Size = tuple[int, int]
"""Width and height in pixels."""


class BadBox(ValueError):
    """A box that cannot be looked at; the message tells the model how to mend it."""


@dataclass(frozen=True)
class Box:
    """A rectangle: left, top, right, bottom, in the units of ``frame``."""

    x1: float
    y1: float
    x2: float
    y2: float
    frame: Frame = "unit"

    @classmethod
    def read(cls, value: Any, frame: Frame = "unit") -> "Box":
        """The box of four numbers, as a model sends them. Raises BadBox saying what is wrong with them."""
        if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 4:
            raise BadBox(f"bbox_2d must be four numbers [x1, y1, x2, y2], found {str(value)[:60]}")
        if not all(isinstance(number, int | float) and not isinstance(number, bool) for number in value):
            raise BadBox(f"bbox_2d must be four numbers [x1, y1, x2, y2], found {str(list(value))[:60]}")
        x1, y1, x2, y2 = (float(number) for number in value)
        if not all(math.isfinite(number) for number in (x1, y1, x2, y2)):
            raise BadBox(f"bbox_2d must be four finite numbers [x1, y1, x2, y2], found {str(list(value))[:60]}")
        return cls(x1, y1, x2, y2, frame)

    @property
    def numbers(self) -> tuple[float, float, float, float]:
        """The four numbers."""
        return self.x1, self.y1, self.x2, self.y2

    def in_pixels(self, size: Size, shown: Size | None = None) -> "Box":
        """The same box in pixels of an image of ``size`` that the model was shown with the size ``shown``."""
        if self.frame == "own":
            return self
        wide, high = {"unit": (1, 1), "per_mille": (1000, 1000), "shown": shown or size}[self.frame]
        x, y = size[0] / wide, size[1] / high
        return Box(self.x1 * x, self.y1 * y, self.x2 * x, self.y2 * y, "own")

    def in_frame(self, frame: Frame, size: Size, shown: Size | None = None) -> "Box":
        """The same box in the units of another frame."""
        box = self.in_pixels(size, shown)
        if frame == "own":
            return box
        wide, high = {"unit": (1, 1), "per_mille": (1000, 1000), "shown": shown or size}[frame]
        x, y = wide / size[0], high / size[1]
        return Box(box.x1 * x, box.y1 * y, box.x2 * x, box.y2 * y, frame)

    def checked(self, size: Size, shown: Size | None = None) -> "Box":
        """The box in pixels of an image of ``size``, clipped to it.

        Raises BadBox for a reversed or empty box, and for one that lies further outside than ``OVERSHOOT``.
        """
        given = ", ".join(f"{number:g}" for number in self.numbers)
        for low, high, names in ((self.x1, self.x2, "x1 and x2"), (self.y1, self.y2, "y1 and y2")):
            if low > high:
                raise BadBox(
                    f"[{given}] has {names} in the wrong order; "
                    "the order is [x1, y1, x2, y2] with x1 < x2 and y1 < y2: left, top, right, bottom"
                )
            if low == high:
                raise BadBox(f"[{given}] has no area, since {names} are equal; x1 < x2 and y1 < y2 are needed")
        box = self.in_pixels(size, shown)
        inside = Box(max(0.0, box.x1), max(0.0, box.y1), min(size[0], box.x2), min(size[1], box.y2), "own")
        beyond = max(-box.x1 / size[0], -box.y1 / size[1], box.x2 / size[0] - 1, box.y2 / size[1] - 1)
        if beyond > OVERSHOOT or inside.x2 <= inside.x1 or inside.y2 <= inside.y1:
            most = {"unit": "1 and 1", "per_mille": "1000 and 1000"}.get(self.frame)
            wide, high = (shown or size) if self.frame == "shown" else size
            raise BadBox(
                f"[{given}] reaches beyond the image; the numbers are {FRAMES[self.frame]}, "
                f"at most {most or f'{wide} and {high}'}"
            )
        return inside

    def padded(self, share: float, size: Size) -> "Box":
        """The box in pixels (frame ``own``) grown on every side by a share of the image's sides, within the image."""
        assert self.frame == "own"
        x, y = share * size[0], share * size[1]
        return Box(
            max(0.0, self.x1 - x), max(0.0, self.y1 - y), min(size[0], self.x2 + x), min(size[1], self.y2 + y), "own"
        )

    def moved(self, x: float, y: float) -> "Box":
        """The box in pixels, moved: from a crop whose corner is (x, y) to the image it was cut from."""
        assert self.frame == "own"
        return Box(self.x1 + x, self.y1 + y, self.x2 + x, self.y2 + y, "own")

    def outward(self) -> tuple[int, int, int, int]:
        """Whole pixels that contain the box (frame ``own``)."""
        edge = 1e-6  # 0.7 * 10 is not quite 7
        return (
            math.floor(self.x1 + edge),
            math.floor(self.y1 + edge),
            math.ceil(self.x2 - edge),
            math.ceil(self.y2 - edge),
        )

    def area(self) -> float:
        """In squared units of the frame."""
        return max(0.0, self.x2 - self.x1) * max(0.0, self.y2 - self.y1)

    def overlap(self, other: "Box") -> float:
        """Area that two boxes of one frame share."""
        assert self.frame == other.frame
        wide = min(self.x2, other.x2) - max(self.x1, other.x1)
        high = min(self.y2, other.y2) - max(self.y1, other.y1)
        return max(0.0, wide) * max(0.0, high)

    def contains(self, other: "Box") -> bool:
        """Whether ``other``, of the same frame, lies in this box."""
        assert self.frame == other.frame
        return self.x1 <= other.x1 and self.y1 <= other.y1 and other.x2 <= self.x2 and other.y2 <= self.y2


@dataclass(frozen=True)
class Budget:
    """How many tokens a picture may cost: its pixels are brought between ``low`` and ``high`` squares of ``cell``."""

    low: int
    high: int
    cell: int = 28
    """Side in pixels of what becomes one token (28 for Qwen2.5-VL: patches of 14, merged 2 by 2)."""

    def fitted(self, size: Size) -> Size:
        """The size that a picture of ``size`` is shown with: sides multiples of ``cell``, shape nearly kept.

        Qwen2-VL's rule ("smart resize"). Raises BadBox for a picture more than 200 times as long as wide.
        """
        wide, high = size
        if max(size) > 200 * min(size):
            raise BadBox(f"{wide}x{high} pixels is more than 200 times as long as wide; take a less narrow part")
        x, y = (round(side / self.cell) * self.cell for side in size)
        square = self.cell**2
        if x * y > self.high * square:
            shrink = math.sqrt(wide * high / (self.high * square))
            x, y = (max(self.cell, math.floor(side / shrink / self.cell) * self.cell) for side in size)
        elif x * y < self.low * square:
            grow = math.sqrt(self.low * square / (wide * high))
            x, y = (math.ceil(side * grow / self.cell) * self.cell for side in size)
        return x, y

    def tokens(self, size: Size) -> int:
        """Tokens of a picture of ``size`` once fitted."""
        x, y = self.fitted(size)
        return x // self.cell * (y // self.cell)
