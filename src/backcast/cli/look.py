"""``backcast look``: a question about an image or a video, answered by looking closer; and a picture of where."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from backcast.cli import tables


@dataclass(frozen=True)
class Options:
    """Answers a question about an image or a video by looking closer, and draws where it looked."""

    image: Annotated[Path, tyro.conf.Positional]
    """An image, a video, or a folder of frames."""
    question: Annotated[str, tyro.conf.Positional]
    """What to answer."""
    model: str
    """A vision-language model: folder, hub id, or http(s)://host:port/v1#name."""
    out: Path = Path("look.html")
    """The picture: a page that shows every step (.html), or one image (.png)."""
    preset: Literal["strict", "authors-train", "authors-eval"] = "strict"
    """strict: our way; authors-*: boxes, numbers and sizes as in Pixel Reasoner's code."""
    family: Literal["hermes", "authors", "mini-o3", "deepeyes"] | None = None
    """Whose way of calling tools the model learnt (default: the preset's)."""
    frame: Literal["unit", "per_mille", "shown", "own"] | None = None
    """What the numbers of its boxes count (default: the family's): shares, thousandths (Qwen3-VL), pixels as shown."""
    padding: float | None = None
    """Added on every side of a box, as a share of the image's sides (default: the preset's)."""
    calls: int | None = None
    """Calls of the tools (default: the preset's)."""
    reply_tokens: int = 1_024
    """Most tokens of one reply."""
    tools: bool = True
    """--no-tools asks without them, for comparison."""
    temperature: float = 0.0
    """0 takes the likeliest token each time."""
    seed: int = 0
    """Of the draws."""


def main(options: Options) -> dict[str, Any]:
    """Looks, writes the picture; returns ``{answer, steps: [{tool, box, frame, image, error}], picture, ...}``."""
    from backcast.core.errors import BadInput
    from backcast.lm import sight
    from backcast.lm.base import Sampling
    from backcast.vision.looker import Ask, Looking, preset
    from backcast.vision.media import open_media
    from backcast.vision.picture import write_picture

    if options.out.suffix.lower() not in (".html", ".htm", ".png"):
        raise BadInput(f"the picture '{options.out}' must end in .html or .png")
    if not options.question.strip():
        raise BadInput("the question is empty; say what to look for")
    if options.temperature < 0:
        raise BadInput(f"temperature must be at least 0, found {options.temperature}")
    names = ("family", "frame", "padding", "calls", "reply_tokens")
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    settings = replace(preset(options.preset), **given)
    media = open_media(options.image, settings.frames)
    lm = sight.load(options.model)
    looking = Looking(lm, settings, Sampling(options.temperature, seed=options.seed), options.tools)
    look = looking.look([Ask(media, options.question)])[0]
    picture = write_picture(look, options.out, options.model)
    return {
        "answer": look.answer,
        "steps": look.steps(),
        "picture": str(picture),
        "stop": look.stop,
        "calls": look.calls,
        "images": len(look.views),
        "tokens": look.tokens,
    }


def show(result: dict[str, Any]) -> None:
    """Prints the answer, the steps and where the picture is."""
    from rich.markup import escape
    from rich.table import Table

    from backcast.vision.picture import ENDED

    out = tables.console()
    if result["steps"]:
        table = Table("step", "tool", "where", "image", box=None)
        for number, step in enumerate(result["steps"], start=1):
            where = f"box {step['box']}" if step["box"] else ""
            where += f" frame {step['frame']}" if step["frame"] else ""
            table.add_row(
                str(number), escape(step["tool"]), where.strip() or escape(step["error"]), str(step["image"] or "")
            )
        out.print(table)
    if result["stop"] != "answer":
        out.print(ENDED[result["stop"]], style="yellow")
    out.print(escape(result["answer"]) if result["answer"] is not None else "no answer", style="bold", soft_wrap=True)
    out.print(f"where it looked: {escape(result['picture'])}", soft_wrap=True)
