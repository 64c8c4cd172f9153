"""How looking works: the strict way, and Pixel Reasoner's with the figures of its code."""

from dataclasses import dataclass, replace
from typing import Literal

from backcast.core.errors import BadInput, nearest
from backcast.vision.looker.boxes import FRAMES, Budget, Frame
from backcast.vision.looker.tools import Family, family

_GIVEN, _CROP, _FRAME, _OVERVIEW = Budget(4, 2_000), Budget(256, 1_000), Budget(64, 400), Budget(4, 64)


@dataclass(frozen=True)
class LookSettings:
    """What a model may do, and what it is shown. Figures of Pixel Reasoner (2505.15966) are its code's."""

    mode: Literal["strict", "authors"] = "strict"
    """authors: boxes, frame numbers and endings exactly as in Pixel Reasoner's code, traps included."""
    family: str = "hermes"
    """Whose way of calling tools: hermes (Qwen and most others), authors, mini-o3, deepeyes."""
    frame: Frame | None = None
    """What a box's numbers mean; None: the family's own."""
    padding: float = 0.0
    """Added on every side of a box, as a share of the image's sides (authors: 0.1)."""
    smallest: int = 28
    """A crop must be at least this many pixels wide and high (authors: more than 28)."""
    calls: int = 4
    """Calls served (authors: 4; a fifth is refused and counts all the same)."""
    images: int = 16
    """A request with more images than this is refused; the overview of a video does not count."""
    tokens: int = 12_088
    """A conversation longer than this ends (authors: 12 * 1024 - 200)."""
    reply_tokens: int = 2_048
    """Most tokens of one reply."""
    frames: int = 16
    """Frames of a video in its overview."""
    last_word: bool = True
    """A refused model is told so and may answer once more (strict mode only)."""
    shows: Literal["asked", "random", "blank", "oracle"] = "asked"
    """Control: what a call really brings, whatever was asked for: a part of that size anywhere, nothing but grey, or
    a part of that size (or what it takes) around where the answer is known to be."""
    first: Budget = _GIVEN
    """Tokens of an image that is given."""
    crop: Budget = _CROP
    """Tokens of a crop; at least 256, so that a small part is enlarged (authors: from 4 in training, 256 after it)."""
    selected: Budget | None = _FRAME
    """Tokens of a selected frame; None: as it is."""
    overview: Budget = _OVERVIEW
    """Tokens of a frame in the overview of a video."""

    def __post_init__(self) -> None:
        family(self.family)
        if self.frame is not None and self.frame not in FRAMES:
            raise BadInput(f"unknown frame '{self.frame}'{nearest(self.frame, FRAMES)}")
        if not 0 <= self.padding < 1:
            raise BadInput(f"padding must be a share from 0 to below 1, found {self.padding}")
        for name in ("smallest", "images", "tokens", "reply_tokens", "frames"):
            if getattr(self, name) < 1:
                raise BadInput(f"{name} must be at least 1, found {getattr(self, name)}")
        if self.calls < 0:
            raise BadInput(f"calls must be at least 0, found {self.calls}")

    @property
    def calling(self) -> Family:
        """The family."""
        return family(self.family)

    @property
    def box_frame(self) -> Frame:
        """What a box's numbers mean."""
        return self.frame or self.calling.frame

    def for_cell(self, cell: int) -> "LookSettings":
        """The same budgets for a model whose tokens are squares of ``cell`` pixels."""
        changed = {
            name: replace(budget, cell=cell)
            for name in ("first", "crop", "selected", "overview")
            if (budget := getattr(self, name)) is not None
        }
        return replace(self, **changed)


_AUTHORS = LookSettings(
    mode="authors",
    family="authors",
    padding=0.1,
    smallest=29,
    last_word=False,
    crop=Budget(4, 1_000),
    selected=Budget(4, 400),
    overview=Budget(4, 512),
)
PRESETS = {
    "strict": LookSettings(),
    "authors-train": _AUTHORS,
    "authors-eval": replace(_AUTHORS, first=Budget(256, 8_000), crop=Budget(256, 5_120), selected=None),
}
"""strict; and what Pixel Reasoner's code shows while training and while evaluating."""


def preset(name: str) -> LookSettings:
    """The settings of that name; raises BadInput naming the nearest."""
    if name not in PRESETS:
        raise BadInput(f"unknown preset '{name}'{nearest(name, PRESETS)}")
    return PRESETS[name]
