"""The picture of where a model looked: an HTML page, or one PNG."""

import json
import textwrap
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput
from backcast.core.files import write_atomic
from backcast.lm.endpoint.sight import data_url
from backcast.report.look import LookPage, Mark, Picture, Step, page
from backcast.vision.looker.desk import Result, View
from backcast.vision.looker.loop import Look

WIDEST = 1_400
"""Pixels of the longer side of a given image on the page."""
COLOURS = ("#1c5a86", "#b3541e", "#3b7a4c", "#85458a", "#76671b", "#515a68")
"""The six colours of the report's page, in its light dress."""
ENDED = {
    "calls": "It asked for more calls than it may make, and gave no answer.",
    "images": "It asked for more images than it may see, and gave no answer.",
    "tokens": "The conversation became longer than it may be, and ended without an answer.",
    "length": "Its last reply was cut off at the most tokens allowed.",
}
"""What is said about a conversation that did not end in an answer."""


def write_picture(look: Look, path: Path | str, model: str = "") -> Path:
    """Writes the picture: PNG if ``path`` ends in .png, HTML if in .html; raises BadInput for other endings."""
    import io

    path = Path(path)
    if path.suffix.lower() in (".html", ".htm"):
        write_atomic(path, page(look_page(look, model)).encode("utf-8", "replace"))
    elif path.suffix.lower() == ".png":
        held = io.BytesIO()
        sheet(look).save(held, "PNG")
        write_atomic(path, held.getvalue())
    else:
        raise BadInput(f"the picture '{path}' must end in .html or .png")
    return path


def look_page(look: Look, model: str = "") -> LookPage:
    """What the page shows."""
    figures = [("calls", str(look.calls)), ("images seen", str(len(look.views))), ("tokens", f"{look.tokens:,}")]
    about = " · ".join(part for part in (look.desk.media.name, model) if part)
    given = [_given(look, view) for view in look.views[: look.desk.given]]
    notice = ENDED.get(str(look.stop), "")
    return LookPage(look.ask.question, look.answer, figures, given, _steps(look), about, notice)


def _steps(look: Look) -> list[Step]:
    results = iter(look.results)
    settings = look.desk.settings
    steps = []
    for turn in look.turns:
        if turn.role != "assistant":
            continue
        calls = turn.calls or settings.calling.parse(turn.text)
        mine = [result for _, result in zip(calls, results, strict=False)]
        apart = tuple(f"{call.name} {json.dumps(dict(call.arguments))}" for call in turn.calls)
        errors = tuple(result.error for result in mine if result.error)
        steps.append(Step(turn.text.strip(), apart, errors, tuple(_shown(view) for view in _views(mine))))
    return steps


def _views(results: list[Result]) -> list[View]:
    return [view for result in results for view in result.views]


def _given(look: Look, view: View) -> Picture:
    image = look.desk.media.images[view.source]
    marks = tuple(
        Mark(str(other.number), *_corner_and_size(other), _colour(other))
        for other in look.views[look.desk.given :]
        if other.source == view.source and other.tool == "zoom_in"
    )
    selected = [other for other in look.views if other.source == view.source and other.tool == "select_frames"]
    note = view.about or f"{image.width} × {image.height} pixels"
    if selected:
        note += "; selected as image " + ", ".join(str(other.number) for other in selected)
    return Picture(
        f"Image {view.number}",
        data_url(_smaller(image, WIDEST)),
        image.width,
        image.height,
        note,
        marks,
        _colour(selected[0]) if selected else None,
    )


def _shown(view: View) -> Picture:
    wide, high = view.size
    note = f"{view.about}; {wide} × {high} pixels, shown as {view.picture.width} × {view.picture.height}"
    shown = view.picture
    return Picture(f"Image {view.number}", data_url(shown), shown.width, shown.height, note, colour=_colour(view))


def _colour(view: View) -> int:
    return view.number % len(COLOURS)


def _corner_and_size(view: View) -> tuple[int, int, int, int]:
    left, top, right, bottom = view.box.outward()
    return left, top, right - left, bottom - top


def _smaller(image: Any, widest: int) -> Any:
    scale = widest / max(image.size)
    if scale >= 1:
        return image
    return image.resize((max(1, round(image.width * scale)), max(1, round(image.height * scale))))


def sheet(look: Look) -> Any:
    """One image (PIL): question and answer, the given images with boxes, and below them what was seen, in order."""
    from PIL import Image, ImageDraw, ImageFont

    wide, gap, small = 1_100, 24, ImageFont.load_default(15)
    given = [_drawn(look, view, 1_052 if look.desk.given == 1 else 240) for view in look.views[: look.desk.given]]
    seen = [
        (_smaller(view.picture, 330), f"Image {view.number}: {view.about}", COLOURS[_colour(view)])
        for view in look.views[look.desk.given :]
    ]
    told = [(None, f"Error: {result.error}", "#a3301b") for result in look.results if result.error]
    cells = [*((image, words, None) for image, words in given), *seen, *told]
    answer = look.answer if look.answer is not None else f"no answer. {ENDED.get(str(look.stop), '')}"
    headings = [(look.ask.question, ImageFont.load_default(24), 84), (answer, ImageFont.load_default(20), 100)]
    places, height = _laid_out(cells, wide, gap, sum(_lines(text, width) for text, _, width in headings) * 30 + gap)
    paper = Image.new("RGB", (wide, height), "#fcfbf8")
    draw = ImageDraw.Draw(paper)
    y = gap
    for text, font, width in headings:
        for line in textwrap.wrap(text, width) or [""]:
            draw.text((gap, y), line, "#21201c", font)
            y += 30
    for (image, words, colour), (x, y) in zip(cells, places, strict=True):
        top = y
        if image is not None:
            paper.paste(image, (x, y))
            if colour:
                draw.rectangle((x - 3, y - 3, x + image.width + 2, y + image.height + 2), outline=colour, width=3)
            top += image.height + 6
        for line in textwrap.wrap(words, max(24, (image.width if image else 1_000) // 8)):
            draw.text((x, top), line, colour or "#625e55", small)
            top += 20
    return paper


def _lines(text: str, width: int) -> int:
    return max(1, len(textwrap.wrap(text, width)))


def _laid_out(cells: list[Any], wide: int, gap: int, top: int) -> tuple[list[tuple[int, int]], int]:
    """Left upper corner of each cell, in rows, and the height of it all."""
    places, x, y, row = [], gap, top + gap, 0
    for image, words, _ in cells:
        width = max(200, image.width) if image else wide - 2 * gap
        height = (image.height + 6 if image else 0) + 20 * _lines(
            words, max(24, (image.width if image else 1_000) // 8)
        )
        if x > gap and x + width > wide - gap:
            x, y, row = gap, y + row + gap, 0
        places.append((x, y))
        x, row = x + width + gap, max(row, height)
    return places, y + row + gap


def _drawn(look: Look, view: View, widest: int) -> tuple[Any, str]:
    from PIL import ImageDraw, ImageFont

    image = look.desk.media.images[view.source]
    small = _smaller(image, widest).copy()
    scale = small.width / image.width
    draw, font = ImageDraw.Draw(small), ImageFont.load_default(16)
    for other in look.views[look.desk.given :]:
        if other.source != view.source or other.tool != "zoom_in":
            continue
        left, top, right, bottom = (round(number * scale) for number in other.box.outward())
        colour, label = COLOURS[_colour(other)], str(other.number)
        draw.rectangle((left - 1, top - 1, right, bottom), outline="#ffffff", width=4)
        draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=2)
        high = top - 20 if top >= 20 else bottom
        draw.rectangle((left, high, left + 10 + 9 * len(label), high + 20), fill=colour)
        draw.text((left + 5, high + 1), label, "#ffffff", font)
    return small, f"Image {view.number}" + (f", {view.about}" if view.about else "")
