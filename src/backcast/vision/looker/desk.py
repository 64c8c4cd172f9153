"""What lies before a model: its images under stable numbers, and the tools carried out on them."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backcast.core.errors import BadInput
from backcast.lm.sight import Call, Part
from backcast.vision.looker import authors
from backcast.vision.looker.boxes import BadBox, Box, Budget, Size
from backcast.vision.looker.settings import LookSettings
from backcast.vision.looker.tools import FRAMES_MOST
from backcast.vision.media import Media, rgb


class Refusal(ValueError):
    """A call that cannot be carried out; the message tells the model what to do instead."""


@dataclass(frozen=True)
class View:
    """One image that the model has been shown, under its number."""

    number: int
    source: int
    """Index into ``Media.images`` of what it was cut from."""
    box: Box
    """Which part, in pixels of that image (frame ``own``)."""
    picture: Any
    """As shown: PIL, RGB, resized."""
    about: str
    """What it is, in words: "image 1 at [..]", "frame 3, at 4.0 s"."""
    tool: str = ""
    """The tool that brought it; empty for what was given."""

    @property
    def size(self) -> Size:
        """Its own width and height, before resizing."""
        left, top, right, bottom = self.box.outward()
        return right - left, bottom - top


@dataclass(frozen=True)
class Result:
    """What came of one call: the text and pictures for the model."""

    call: Call
    parts: tuple[Part, ...]
    views: tuple[View, ...] = ()
    error: str = ""
    """What the model was told went wrong; empty if all went well."""


def _around(known: Box, least: tuple[float, float], whole: Size) -> Box:
    """``known`` grown on all sides to ``least`` (width, height), as far as the image goes."""
    found = []
    for low, high, side, end in ((known.x1, known.x2, least[0], whole[0]), (known.y1, known.y2, least[1], whole[1])):
        wide = min(max(high - low, side), float(end))
        found.append((min(max((low + high - wide) / 2, 0.0), end - wide), wide))
    (x, wide), (y, tall) = found
    return Box(x, y, x + wide, y + tall, "own")


class Desk:
    """The images of one question. Calls are carried out one after the other; numbers never change.

    Given images, or the frames of a video's overview, are 1 to n; whatever a tool brings gets the next number. Crops
    are always cut from the pixels of the given image, also crops of crops. Mistakes of the model come back as texts
    that say how to mend them (``Result.error``), never as exceptions.
    """

    def __init__(self, media: Media, settings: LookSettings) -> None:
        self.media, self.settings = media, settings
        self.views: list[View] = []
        budget = settings.overview if media.video else settings.first
        for index, image in enumerate(media.images):
            whole = Box(0, 0, image.width, image.height, "own")
            self._add(index, whole, budget, self._frame_words(index) if media.video else "")

    @property
    def names(self) -> tuple[str, ...]:
        """The tools that make sense here; the authors offer both always."""
        both = self.media.video or self.settings.mode == "authors"
        return ("zoom_in", "select_frames") if both else ("zoom_in",)

    @property
    def given(self) -> int:
        """Images there at the start."""
        return len(self.media.images)

    @property
    def counted(self) -> int:
        """Images that count against the limit: all but the overview of a video."""
        return len(self.views) - (self.given if self.media.video else 0)

    def opening(self, question: str) -> tuple[Part, ...]:
        """The parts of the first user's turn: every given image behind its number, then the question."""
        parts: list[Part] = []
        for view in self.views[: self.given]:
            words = f"Image {view.number} ({view.about}): " if view.about else f"Image {view.number}: "
            parts += ["" if self.settings.mode == "authors" else words, view.picture, "\n"]
        return (*[part for part in parts if not isinstance(part, str) or part], question)

    def carry_out(self, call: Call) -> Result:
        """Executes a call of ours (``zoom_in``, ``select_frames``)."""
        try:
            if call.broken:
                raise Refusal(call.broken)
            if call.name not in self.names:
                raise Refusal(f"there is no tool '{call.name}'; there are: {', '.join(self.names)}")
            views = self._zoom(call.arguments) if call.name == "zoom_in" else self._select(call.arguments)
        except (Refusal, BadBox) as error:
            return self._failed(call, str(error))
        return Result(call, self._words(call, views), tuple(views))

    def refuse(self, call: Call, why: str) -> Result:
        """The answer to a call that is not carried out."""
        return self._failed(call, why)

    def _failed(self, call: Call, why: str) -> Result:
        text = f"\nExecution error:\n{why}\n" if self.settings.mode == "authors" else f"Error: {why}."
        return Result(call, (text,), error=why)

    def _zoom(self, arguments: Mapping[str, Any]) -> list[View]:
        settings = self.settings
        known = {"bbox_2d", "target_image"}
        if settings.mode == "strict" and (strange := sorted(set(arguments) - known - {"label"})):
            raise Refusal(f"zoom_in has no argument '{strange[0]}'; it takes bbox_2d and target_image")
        if settings.mode == "authors":
            base = self.views[authors.target(arguments.get("target_image"), len(self.views), self.given, self.video)]
            part = authors.crop(arguments.get("bbox_2d"), base.size, settings.padding)
        else:
            base = self._view(arguments.get("target_image"))
            box = Box.read(arguments.get("bbox_2d"), settings.box_frame)
            part = box.checked(base.size, base.picture.size).padded(settings.padding, base.size)
        left, top, right, bottom = authors.rounded(part) if settings.mode == "authors" else part.outward()
        if min(right - left, bottom - top) < settings.smallest:
            raise Refusal(
                f"the part is too small: {right - left}x{bottom - top} pixels of image {base.number}; "
                f"at least {settings.smallest}x{settings.smallest} are needed, so take a larger box"
            )
        whole = Box(left, top, right, bottom, "own")
        shares = ", ".join(f"{number:.3f}" for number in whole.in_frame("unit", base.size).numbers)
        about = f"image {base.number} at [{shares}]"
        return [self._add(base.source, self._shown_box(base, whole), settings.crop, about, "zoom_in")]

    def _shown_box(self, base: View, asked: Box) -> Box:
        """The part that a call brings, in pixels of the given image: what was asked for, unless a control is on."""
        shows = self.settings.shows
        if shows == "oracle":
            if not self.media.boxes:
                raise BadInput(f"'{self.media.name}' has no known box, so no oracle can show it")
            known, whole = Box(*self.media.boxes[0], frame="own"), self.media.images[base.source].size
            return _around(
                known.padded(self.settings.padding, whole), (asked.x2 - asked.x1, asked.y2 - asked.y1), whole
            )
        if shows == "random":
            chance = random.Random(f"{self.media.name}|{len(self.views)}|{asked.numbers}")
            wide, high = asked.x2 - asked.x1, asked.y2 - asked.y1
            x, y = chance.uniform(0, base.size[0] - wide), chance.uniform(0, base.size[1] - high)
            asked = Box(round(x), round(y), round(x) + wide, round(y) + high, "own")
        corner = base.box.outward()
        return asked.moved(corner[0], corner[1])

    @property
    def video(self) -> bool:
        """Whether this is about a video."""
        return self.media.video

    def _view(self, number: Any) -> View:
        whole = isinstance(number, int) and not isinstance(number, bool)
        if not whole and not (isinstance(number, float) and number.is_integer()):
            raise Refusal(f"target_image must be the number of an image, 1 to {len(self.views)}, found {number!r}")
        if not 1 <= number <= len(self.views):
            raise Refusal(f"there is no image {int(number)}; there are 1 to {len(self.views)}")
        return self.views[int(number) - 1]

    def _select(self, arguments: Mapping[str, Any]) -> list[View]:
        if not self.media.video:
            raise Refusal("this is an image, not a video: it has no frames to select; use zoom_in")
        frames = arguments.get("target_frames")
        chosen = authors.frames(frames, self.given) if self.settings.mode == "authors" else self._frames(frames)
        words = [self._frame_words(index) for index in chosen]
        if self.settings.shows == "random":
            chosen = random.Random(f"{self.media.name}|{len(self.views)}|{chosen}").sample(
                range(self.given), len(chosen)
            )
        elif self.settings.shows == "oracle":
            if not self.media.moments:
                raise BadInput(f"'{self.media.name}' has no known moments, so no oracle can show them")
            chosen = [moment - 1 for moment in self.media.moments][: len(chosen)]
        return [
            self._add(index, self.views[index].box, self.settings.selected, said, "select_frames")
            for index, said in zip(chosen, words, strict=False)
        ]

    def _frames(self, frames: Any) -> list[int]:
        """Indices of the frames that a call names, each once."""
        if isinstance(frames, str) or not isinstance(frames, Sequence) or not frames:
            raise Refusal(f"target_frames must be a list of frame numbers, 1 to {self.given}, found {frames!r}")
        found: list[int] = []
        for number in frames:
            whole = isinstance(number, int) and not isinstance(number, bool)
            if not whole and not (isinstance(number, float) and number.is_integer()):
                raise Refusal(f"target_frames must be whole numbers, 1 to {self.given}, found {number!r}")
            if not 1 <= number <= self.given:
                raise Refusal(f"there is no frame {int(number)}; there are 1 to {self.given}")
            if int(number) - 1 not in found:
                found.append(int(number) - 1)
        if len(found) > FRAMES_MOST:
            raise Refusal(f"{len(found)} frames at once are too many; select at most {FRAMES_MOST}")
        return found

    def _frame_words(self, index: int) -> str:
        time = f", at {self.media.times[index]:.1f} s" if self.media.times else ""
        return f"frame {index + 1}{time}"

    def _add(self, source: int, box: Box, budget: Budget | None, about: str, tool: str = "") -> View:
        from PIL import Image

        left, top, right, bottom = box.outward()
        image = self.media.images[source]
        part = image if (left, top, right, bottom) == (0, 0, *image.size) else image.crop((left, top, right, bottom))
        part = rgb(part)
        if tool and self.settings.shows == "blank":
            part = Image.new("RGB", part.size, (128, 128, 128))
        size = budget.fitted(part.size) if budget else part.size
        shown = part if part.size == size else part.resize(size, Image.Resampling.BICUBIC)
        view = View(len(self.views) + 1, source, box, shown, about, tool)
        self.views.append(view)
        return view

    def _words(self, call: Call, views: Sequence[View]) -> tuple[Part, ...]:
        if self.settings.mode == "authors":
            return authors.words(call.name, views, len(self.views) - len(views) - self.given)
        parts: list[Part] = []
        for view in views:
            wide, high = view.picture.size
            parts += [f"Image {view.number} is {view.about}, shown with {wide}x{high} pixels:\n", view.picture, "\n"]
        return tuple(parts[:-1])
