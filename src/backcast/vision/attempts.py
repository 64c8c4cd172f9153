"""Attempts as traces for the report: the conversation turn by turn, where the model looked, what is learnt of it."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from backcast.core.problem import Score
from backcast.core.trace import Trace, TraceLog
from backcast.lm.local_sight import LocalSight
from backcast.vision.looker.desk import View
from backcast.vision.looker.loop import Look
from backcast.vision.problems.problem import VisualProblem
from backcast.vision.warmup.masks import IGNORED, mask
from backcast.vision.warmup.mix import MISTAKES
from backcast.vision.warmup.traces import WarmTrace

WIDEST, PART = 420, 200
"""Pixels of the longer side of a whole image, and of a part, in a trace."""
IMAGE = "[image]"
"""Stands for a picture within a turn."""
PICTURED = 60
"""Traces of a stage that carry their pictures; the others keep the words."""


def small(picture: Any, widest: int) -> str:
    """A picture (PIL, RGB) as a data URL of a JPEG of at most ``widest`` pixels."""
    scale = min(1.0, widest / max(picture.size))
    size = tuple(max(1, round(side * scale)) for side in picture.size)
    held = io.BytesIO()
    picture.resize(size).save(held, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(held.getvalue()).decode()


def look_trace(look: Look, problem: VisualProblem, score: float, pictured: bool = True) -> Trace:
    """A conversation as it was held; what the model wrote is what reinforcement learning learns from."""
    turns = [
        {
            "role": turn.role,
            "pieces": _joined(
                [[part if isinstance(part, str) else IMAGE, turn.role == "assistant"] for part in turn.parts]
            ),
        }
        for turn in look.turns
    ]
    data = {
        **_about(problem, look.answer),
        "stop": look.stop,
        "calls": look.calls,
        "errors": [result.error for result in look.results if result.error],
        "tokens": look.tokens,
        "turns": turns,
        "changed": look.used,
        **(_pictures(look.desk.views, look.desk.given, problem, look.desk.media.images) if pictured else {}),
    }
    return Trace(f"{problem.id}#0", problem.id, "look", look.answer, Score(score, reference=1.0), data)


def warm_trace(trace: WarmTrace, lm: LocalSight, pictured: bool = True) -> Trace:
    """A trace to learn from, with the tokens that are learnt."""
    problem = trace.problem
    turns = [
        {"role": turn.role, "pieces": pieces} for turn, pieces in zip(trace.turns, _pieces(trace, lm), strict=True)
    ]
    images = problem.media().images
    data = {
        **_about(problem, problem.answer),
        "lesson": trace.kind,
        "calls": sum(turn.role == "tool" for turn in trace.turns),
        "turns": turns,
        "changed": MISTAKES[trace.kind] > 0,
        **(_pictures(trace.views, len(images), problem, images) if pictured else {}),
    }
    return Trace(f"{problem.id}#warm", problem.id, "warm", problem.answer, Score(None), data)


def _about(problem: VisualProblem, answer: str | None) -> dict[str, Any]:
    return {"prompt": problem.prompt, "answer": answer, "known": problem.answer, "group": problem.group}


def _pictures(views: Sequence[View], given: int, problem: VisualProblem, images: Sequence[Any]) -> dict[str, Any]:
    """The whole images with what was looked at in each, and the parts as the model saw them."""
    return {
        "images": [
            {"url": small(image, WIDEST), "width": image.width, "height": image.height} for image in images[:16]
        ],
        "given": given,
        "right": None if problem.box is None else list(problem.box),
        "views": [
            {
                "number": view.number,
                "source": view.source,
                "box": list(view.box.outward()) if view.tool == "zoom_in" else None,
                "about": view.about,
                "url": small(view.picture, PART),
            }
            for view in views[given:]
        ],
    }


def _pieces(trace: WarmTrace, lm: LocalSight) -> list[list[list[Any]]]:
    """For each turn its text in runs of tokens that are learnt or not; what the template adds is left out."""
    masked = mask(lm, trace.turns, trace.right, trace.tools)
    pictures = [picture for turn in trace.turns for picture in turn.pictures]
    _, offsets, shifts = lm.encode_with_offsets(masked.text, pictures)
    grown = masked.text
    for end, more in reversed(shifts):
        grown = grown[:end] + "\0" * more + grown[end:]
    learnt = [label != IGNORED for label in masked.labels]
    found, at = [], 0
    for turn in trace.turns:
        pieces: list[list[Any]] = []
        for part in turn.parts:
            if not isinstance(part, str):
                pieces.append([IMAGE, False])
                continue
            at = max(at, grown.find(part, at))
            pieces += _runs(part, at, offsets, learnt)
            at += len(part)
        found.append(_joined(pieces))
    return found


def _runs(text: str, start: int, offsets: Sequence[tuple[int, int]], learnt: Sequence[bool]) -> list[list[Any]]:
    runs: list[list[Any]] = []
    for (low, high), good in zip(offsets, learnt, strict=True):
        low, high = max(low, start) - start, min(high, start + len(text)) - start
        if low < high:
            runs.append([text[low:high], good])
    return runs


def _joined(pieces: list[list[Any]]) -> list[list[Any]]:
    found: list[list[Any]] = []
    for text, good in pieces:
        if found and found[-1][1] == good:
            found[-1][0] += text
        else:
            found.append([text, good])
    return found


def write(path: Path, traces: Sequence[Trace]) -> None:
    """A stage's traces, written anew."""
    path.unlink(missing_ok=True)
    TraceLog(path).append(list(traces))
