"""Looking as an environment of TRL's: the trainer calls the tools, and their pictures go into the conversation."""

from collections.abc import Mapping, Sequence
from typing import Any

from backcast.core.errors import BadInput
from backcast.lm.sight import Call
from backcast.vision.curiosity import Attempt
from backcast.vision.looker.desk import Desk
from backcast.vision.looker.settings import PRESETS, LookSettings
from backcast.vision.media import Media, rgb


class LookEnvironment:
    """One question's images, on which ``GRPOTrainer`` carries out the model's calls (``environment_factory``).

    Rows of the data set have a column ``images`` (or ``image``) of PIL images, and ``video`` where those are frames.
    Parts are cut from the column ``originals`` where there is one: ``images`` are then what is shown at first.
    TRL counts calls of known tools only; calls that it cannot read never reach an environment.
    """

    def __init__(self, settings: LookSettings = PRESETS["strict"]) -> None:
        self._settings = settings
        self._desk: Desk | None = None
        self._calls = self._valid = 0
        self._failed = False

    def reset(
        self, images: Any = None, image: Any = None, originals: Any = None, video: bool = False, **_: Any
    ) -> None:
        """Takes the images of the next question; called by the trainer with the columns of its row."""
        found = originals if originals is not None else images if images is not None else image
        pictures = list(found) if isinstance(found, Sequence) else [found]
        if not pictures or any(picture is None for picture in pictures):
            raise BadInput("a question without images cannot be looked at; give each row a column 'images'")
        self._desk = Desk(Media(tuple(rgb(picture) for picture in pictures), video=bool(video)), self._settings)
        self._calls = self._valid = 0
        self._failed = False

    def zoom_in(self, bbox_2d: list[float], target_image: int) -> list[dict[str, Any]]:
        """Looks closer at a part of an image. The part comes back as a new image, cut from the original pixels.

        Args:
            bbox_2d: The part as [x1, y1, x2, y2]: left, top, right, bottom, in shares of the image's width and height, from 0 to 1.
            target_image: Number of the image to look at, as it was given with the image. 1 is the first.

        Returns:
            The part, as an image behind its number, or what was wrong.
        """  # noqa: E501 - TRL reads an argument's description from one line
        return self._carry_out("zoom_in", {"bbox_2d": bbox_2d, "target_image": target_image})

    def select_frames(self, target_frames: list[int]) -> list[dict[str, Any]]:
        """Looks closer at frames of the video. They come back as new images, larger than in the overview.

        Args:
            target_frames: Numbers of the frames, counted from 1; at most 8.

        Returns:
            The frames, as images behind their numbers, or what was wrong.
        """
        return self._carry_out("select_frames", {"target_frames": target_frames})

    def _carry_out(self, name: str, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
        if self._desk is None:
            raise RuntimeError("reset comes before the first call")
        desk, call, limit = self._desk, Call(name, arguments), self._settings.calls
        self._calls += 1
        if self._calls > limit:
            result = desk.refuse(call, f"all {limit} calls are used up; answer now, from what you have seen")
        elif desk.counted > self._settings.images:
            result = desk.refuse(call, f"more than {self._settings.images} images were shown; answer now")
        else:
            result = desk.carry_out(call)
        self._failed = bool(result.error)
        self._valid += not result.error
        return [
            {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part}
            for part in result.parts
        ]

    def _attempt(self) -> Attempt:
        """What curiosity needs to know of this attempt."""
        video = self._desk is not None and self._desk.media.video
        return Attempt(self._calls, self._valid, self._failed, video)


# transformers writes a tool's return type into its schema where it is annotated. The declared schema, which the
# templates and our own loop show, has none; a model must be trained on the prompt that it is asked with.
for _tool in (LookEnvironment.zoom_in, LookEnvironment.select_frames):
    del _tool.__annotations__["return"]


def environment(settings: LookSettings = PRESETS["strict"], tools: Sequence[str] = ("zoom_in",)) -> Any:
    """An ``environment_factory`` for TRL: instances offer ``tools`` and look by ``settings``.

    Raises BadInput for another unit than shares, which the tool's docstring promises.
    """
    if settings.box_frame != "unit":
        raise BadInput(f"TRL's tools say that boxes are shares of the image; settings say '{settings.box_frame}'")
    hidden = {name: None for name in ("zoom_in", "select_frames") if name not in tools}
    return type(
        "LookEnvironment",
        (LookEnvironment,),
        {"__init__": lambda self: LookEnvironment.__init__(self, settings), **hidden},
    )
