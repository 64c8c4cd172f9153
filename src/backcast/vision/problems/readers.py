"""Reading sets of visual questions: our JSON Lines, V*, TallyQA, InfographicVQA, MVBench."""

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from backcast.core.errors import BadInput, nearest
from backcast.core.problem import read_jsonl
from backcast.vision.problems.problem import KINDS, LETTERS, VisualProblem, make

Row = Mapping[str, Any]
Rows = Iterator[tuple[str, Row]]
"""(where it stands, the record)."""


def read_problems(path: Path | str, layout: str = "auto", images: Path | str | None = None) -> list[VisualProblem]:
    """The problems of a file. Files of images are looked for in ``images``, else beside the file.

    ``layout`` is one of ``LAYOUTS``; auto tells them apart by their columns. Raises BadInput naming the place for a
    record that lacks something, an image that is not there, and an unknown layout.
    """
    path = Path(path).expanduser()
    if layout != "auto" and layout not in LAYOUTS:
        raise BadInput(f"unknown layout '{layout}'{nearest(layout, LAYOUTS)}")
    rows = list(_records(path))
    if not rows:
        raise BadInput(f"'{path}' holds no questions")
    name = _layout(rows[0][1], path) if layout == "auto" else layout
    folder = Path(images).expanduser() if images is not None else path.parent
    return [LAYOUTS[name](row, where, folder) for where, row in rows]


def has_images(row: Row) -> bool:
    """Whether a record is about images."""
    return any(row.get(key) for key in ("image", "images", "video", "image_local_name"))


def _records(path: Path) -> Rows:
    if path.suffix.lower() in (".jsonl", ".ndjson"):
        for number, row in read_jsonl(path):
            yield f"{path}, line {number}", row
        return
    try:
        found = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"no such file: '{path}'; give a JSON or JSON Lines file of questions") from None
    except (OSError, ValueError) as error:
        raise BadInput(f"cannot read '{path}': {error}; give a JSON or JSON Lines file of questions") from None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise BadInput(f"'{path}' holds neither a list of questions nor an object with a list 'data'")
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            raise BadInput(f"{path}, record {number}: expected an object, found {type(row).__name__}")
        yield f"{path}, record {number}", row


def _layout(row: Row, path: Path) -> str:
    if "image_local_name" in row:
        return "infographicvqa"
    if "candidates" in row and "video" in row:
        return "mvbench"
    if "issimple" in row or "data_source" in row:
        return "tallyqa"
    if {"text", "label", "image"} <= set(row):
        return "vstar"
    if has_images(row):
        return "jsonl"
    raise BadInput(
        f"'{path}': the layout cannot be told from the columns {', '.join(map(str, row)) or 'none'}; "
        f"name one: {', '.join(LAYOUTS)}"
    )


def _need(row: Row, where: str, *names: str) -> Any:
    for name in names:
        value = row.get(name)
        if value is not None and str(value).strip():
            return value
    raise BadInput(f"{where}: no '{names[0]}'; found the columns {', '.join(map(str, row)) or 'none'}")


def _file(name: Any, where: str, folder: Path) -> Path:
    path = Path(str(name)).expanduser()
    found = path if path.is_absolute() else folder / path
    if not found.exists():
        raise BadInput(f"{where}: no image '{found}'; give the folder of the images")
    return found


def read_ours(row: Row, where: str, folder: Path) -> VisualProblem:
    """``{id?, prompt, answer, kind?, image | images | video, options?, box?, moments?, group?}``.

    ``answer`` may be a list of right answers; ``box`` is [x1, y1, x2, y2] in pixels of the first image.
    """
    answer = _need(row, where, "answer", "answers")
    answers = tuple(str(one) for one in (answer if isinstance(answer, list) else [answer]))
    options = tuple(str(option) for option in row.get("options") or ())
    kind = str(row.get("kind", "choice" if options else "exact"))
    if kind not in KINDS:
        raise BadInput(f"{where}: kind '{kind}' is not one of {', '.join(KINDS)}")
    named = _need(row, where, "image", "images", "video")
    files = tuple(_file(one, where, folder) for one in (named if isinstance(named, list) else [named]))
    if options:
        letter = answers[0].strip().upper()
        if answers[0] in options:
            letter = LETTERS[options.index(answers[0])]
        if letter not in tuple(LETTERS[: len(options)]):
            raise BadInput(f"{where}: the answer '{answers[0]}' is neither one of the options nor the letter of one")
        answers = (letter,)
    return make(
        str(_need(row, where, "prompt", "question")),
        answers,
        str(row.get("id", "")),
        kind=kind,
        options=options,
        files=files,
        box=_box(row.get("box"), where),
        moments=tuple(int(moment) for moment in row.get("moments") or ()),
        group=str(row.get("group", "")),
    )


def _box(value: Any, where: str) -> tuple[float, float, float, float] | None:
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 4 or not all(isinstance(x, int | float) for x in value):
        raise BadInput(f"{where}: box must be [x1, y1, x2, y2] in pixels, found {str(value)[:40]}")
    x1, y1, x2, y2 = (float(x) for x in value)
    if not (x1 < x2 and y1 < y2):
        raise BadInput(f"{where}: box {value} must have x1 < x2 and y1 < y2")
    return x1, y1, x2, y2


def read_vstar(row: Row, where: str, folder: Path) -> VisualProblem:
    """V*Bench: ``{image, text, label, category, question_id}``; the options stand in the text.

    A JSON beside the image (``bbox``: list of [x, y, width, height]) gives the box around all of them, if it is there.
    """
    file = _file(_need(row, where, "image"), where, folder)
    box, beside = None, file.with_suffix(".json")
    if beside.exists():
        try:
            found = json.loads(beside.read_text(encoding="utf-8")).get("bbox") or []
            corners = [(x, y, x + wide, y + high) for x, y, wide, high in found]
        except (ValueError, TypeError, AttributeError):
            raise BadInput(f"{where}: '{beside}' holds no boxes [x, y, width, height]; remove it or mend it") from None
        if corners:
            lows, highs = (
                [min(side) for side in zip(*corners, strict=True)],
                [max(s) for s in zip(*corners, strict=True)],
            )
            box = (float(lows[0]), float(lows[1]), float(highs[2]), float(highs[3]))
    return make(
        str(_need(row, where, "text")),
        (str(_need(row, where, "label")).strip().upper(),),
        str(row.get("question_id", "")),
        kind="choice",
        files=(file,),
        box=box,
        group=str(row.get("category", "")),
    )


def read_tallyqa(row: Row, where: str, folder: Path) -> VisualProblem:
    """TallyQA: ``{image, question, answer, issimple, question_id}``; the group is simple or complex."""
    simple = row.get("issimple")
    return make(
        str(_need(row, where, "question")),
        (str(_need(row, where, "answer")),),
        str(row.get("question_id", "")),
        kind="numeric",
        files=(_file(_need(row, where, "image"), where, folder),),
        group="" if simple is None else "simple" if simple else "complex",
    )


def read_infographicvqa(row: Row, where: str, folder: Path) -> VisualProblem:
    """InfographicVQA: ``{questionId, question, image_local_name, answers}``, scored by ANLS."""
    answers = _need(row, where, "answers", "answer")
    return make(
        str(_need(row, where, "question")),
        tuple(str(one) for one in (answers if isinstance(answers, list) else [answers])),
        str(row.get("questionId", "")),
        kind="anls",
        files=(_file(_need(row, where, "image_local_name"), where, folder),),
    )


def read_mvbench(row: Row, where: str, folder: Path) -> VisualProblem:
    """MVBench: ``{video, question, candidates, answer}``; the answer is one of the candidates."""
    options = tuple(str(option) for option in _need(row, where, "candidates"))
    answer = str(_need(row, where, "answer"))
    if answer not in options:
        raise BadInput(f"{where}: the answer '{answer}' is none of the candidates {', '.join(options)}")
    return make(
        str(_need(row, where, "question")),
        (LETTERS[options.index(answer)],),
        kind="choice",
        options=options,
        files=(_file(_need(row, where, "video"), where, folder),),
        group=str(row.get("task", "")),
    )


LAYOUTS: dict[str, Callable[[Row, str, Path], VisualProblem]] = {
    "jsonl": read_ours,
    "vstar": read_vstar,
    "tallyqa": read_tallyqa,
    "infographicvqa": read_infographicvqa,
    "mvbench": read_mvbench,
}
"""Readers of one record by the name of the layout."""


NO_PLACES = (
    "no problem says where its answer is to be seen, so no trace can be put together; give each its "
    '"box": [x1, y1, x2, y2] in pixels (videos: "moments": frame numbers)'
)
"""What is said about problems of which no warm-start trace can be made."""


def split(
    problems: Sequence[VisualProblem], share: float, seed: int
) -> tuple[list[VisualProblem], list[VisualProblem]]:
    """(to learn from, held out); raises BadInput for fewer than four problems."""
    if len(problems) < 4:
        raise BadInput(f"{len(problems)} problems; give at least 4, so that some can be held out")
    order = list(problems)
    random.Random(seed).shuffle(order)
    count = min(max(1, round(share * len(order))), len(order) - 1)
    return order[count:], order[:count]
