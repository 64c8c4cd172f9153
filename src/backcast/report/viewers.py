"""How traces look on the page: a viewer per kind of trace, in one literal dict at the end of this file."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backcast.core.run import Curve
from backcast.core.trace import Trace
from backcast.report.words import clip

TOKENS = 2_500
"""Tokens of one text in the heat map, at most."""

Slim = dict[str, Any]


@dataclass(frozen=True)
class Viewer:
    """How one kind of trace is shown."""

    script: str
    """The file in ``templates/`` that draws it."""
    title: str
    note: str
    """One sentence under the title: what the reader sees, and in which units."""
    rank: Callable[[Trace], float | None]
    """What decides best and worst: lower is better; None for a trace that has no result."""
    changed: Callable[[Trace], bool | None]
    """Whether the method changed something in this trace; None where the trace does not say."""
    slim: Callable[[Trace, int], Slim]
    """What the page keeps of the trace, with texts cut to so many characters."""
    curve: Callable[[Trace], Curve | None]
    """The trace's own curve, drawn beside it; None for none."""
    ends: tuple[str, str] = ("best", "worst")
    """What the first and the last by rank are called."""


def finite(value: Any) -> float | None:
    """The value as a float, None when it is no finite number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def rounded(value: Any, digits: int = 4) -> float | None:
    """The value with so many decimals, None when it is no finite number."""
    found = finite(value)
    return None if found is None else round(found, digits)


def plain(value: Any, length: int) -> Any:
    """Any JSON value with long texts cut and non-finite numbers as null."""
    if isinstance(value, str):
        return clip(value, length)
    if isinstance(value, Mapping):
        return {str(key): plain(item, length) for key, item in list(value.items())[:60]}
    if isinstance(value, list | tuple):
        return [plain(item, length) for item in value[:60]]
    return rounded(value) if isinstance(value, float) else value


# REER: the search over thinking segments (data as written by reasons/reer.py).


def _reer_rank(trace: Trace) -> float | None:
    nll = trace.data.get("nll") or {}
    start, final = finite(nll.get("start")), finite(nll.get("final"))
    return None if start is None or final is None or trace.data.get("dropped") else final - start


def _reer_changed(trace: Trace) -> bool:
    return any(step.get("accepted") is not None for step in trace.data.get("steps", ()))


def _reer_curve(trace: Trace) -> Curve | None:
    steps, objective = trace.data.get("steps") or [], trace.data.get("objective") or {}
    start, empty = finite(objective.get("start")), finite(objective.get("empty"))
    if start is None or not steps:
        return None
    values = [[0.0, start]] + [[float(n), float(step["after"])] for n, step in enumerate(steps, start=1)]
    series = {"with thinking": values}
    if empty is not None:
        series["empty thinking"] = [[0.0, empty], [float(len(steps)), empty]]
    return Curve("Objective over steps", "step", objective.get("name", "objective"), series)


def _reer_slim(trace: Trace, length: int) -> Slim:
    data = trace.data
    pieces = token_pieces(str(data.get("answer", "")), data.get("tokens") or {})
    segments = data.get("segments") or {}
    return {
        "id": trace.id,
        "problem": trace.problem,
        "prompt": clip(str(data.get("prompt", "")), length),
        "answer": None if pieces else clip(str(data.get("answer", "")), length),
        "accepted": data.get("accepted"),
        "dropped": data.get("dropped"),
        "stop": data.get("stop"),
        "nll": plain(data.get("nll") or {}, length),
        "start": [clip(text, length) for text in segments.get("start") or ()],
        "final": [clip(text, length) for text in segments.get("final") or ()],
        "steps": [_reer_step(step, length) for step in data.get("steps") or ()],
        "allSteps": len(data.get("steps") or ()),
        "pieces": pieces[:TOKENS],
        "allPieces": len(pieces),
        "overlap": plain(data.get("overlap") or {}, length),
        "filters": plain(data.get("filters") or {}, length),
        "calls": plain(data.get("calls") or {}, length),
        "judge": plain(data.get("judge") or {}, length),
        "item": plain(data.get("item") or {}, min(length, 400)),
    }


def _reer_step(step: Mapping[str, Any], length: int) -> Slim:
    return {
        "sweep": step.get("sweep"),
        "index": step.get("index"),
        "before": rounded(step.get("before")),
        "after": rounded(step.get("after")),
        "accepted": step.get("accepted"),
        "candidates": [_reer_candidate(candidate, length) for candidate in step.get("candidates") or ()],
    }


def _reer_candidate(candidate: Mapping[str, Any], length: int) -> Slim:
    # The per-token log-probabilities stay in the trace file: they are most of its bytes.
    rejected = candidate.get("rejected")
    replacement = None if rejected in ("unparsed", "empty") else candidate.get("replacement")
    return {
        "kind": candidate.get("kind"),
        "text": clip(str(candidate.get("text") or ""), length),
        "replacement": None if replacement is None else [clip(text, length) for text in replacement],
        "delta": rounded(candidate.get("delta")),
        "overlap": rounded(candidate.get("overlap")),
        "content": rounded(candidate.get("content")),
        "rejected": rejected,
    }


def token_pieces(text: str, tokens: Mapping[str, Any]) -> list[list[Any]]:
    """The text cut at its token offsets: [piece, nats empty, nats start, nats final], nats being -log p.

    Offsets count characters. Text between tokens gets null figures; tokens that share one character (bytes of a
    multi-byte character) become one piece with the sum of their nats.
    """
    offsets = tokens.get("offsets") or []
    columns = [tokens.get(name) or [] for name in ("empty", "start", "final")]
    pieces: list[list[Any]] = []
    position = 0
    for index, (start, end) in enumerate(offsets):
        nats = [_nats(column, index) for column in columns]
        if end <= position and pieces:
            pieces[-1][1:] = [_sum(old, new) for old, new in zip(pieces[-1][1:], nats, strict=True)]
            continue
        if start > position:
            pieces.append([text[position:start], None, None, None])
        pieces.append([text[max(start, position) : end], *nats])
        position = end
    if pieces and position < len(text):
        pieces.append([text[position:], None, None, None])
    return pieces


def _nats(column: Sequence[float], index: int) -> float | None:
    value = finite(column[index]) if index < len(column) else None
    return None if value is None else round(-value, 3)


def _sum(old: float | None, new: float | None) -> float | None:
    return None if old is None or new is None else round(old + new, 3)


# A model that looks at pictures (data as written by vision/attempts.py).


def _look_slim(trace: Trace, length: int) -> Slim:
    data, kept = trace.data, length >= 400  # the pictures go before the words
    images = list(data.get("images") or ()) if kept else []
    views = [dict(view) for view in data.get("views") or ()] if kept else []
    moments = sum(view.get("box") is None for view in views)
    return {
        "id": trace.id,
        "problem": trace.problem,
        "prompt": clip(str(data.get("prompt") or ""), length),
        "answer": None if data.get("answer") is None else clip(str(data["answer"]), min(length, 400)),
        "known": clip(str(data.get("known") or ""), min(length, 400)),
        "group": data.get("group"),
        "lesson": data.get("lesson"),
        "stop": data.get("stop"),
        "calls": int(data.get("calls") or 0),
        "tokens": data.get("tokens"),
        "errors": plain(list(data.get("errors") or ()), min(length, 400)),
        "images": images,
        "given": int(data.get("given") or len(images)),
        "right": data.get("right"),
        "shownIn": 0 if not moments else views[-1].get("source"),
        "views": views,
        "turns": [
            {
                "role": str(turn.get("role")),
                "pieces": [[clip(str(text), length), bool(learnt)] for text, learnt in turn.get("pieces") or ()],
            }
            for turn in data.get("turns") or ()
        ],
        "score": {"value": rounded(trace.score.value)},
    }


# Any other kind: what was asked, what came out, how it scored, and the method's own record as it is.


def _plain_rank(trace: Trace) -> float | None:
    # With a known good outcome: the distance to it. Without: a score, of which more is better.
    score = trace.score
    if score.gap is not None:
        return abs(score.gap)
    return None if score.value is None else -score.value


def _plain_slim(trace: Trace, length: int) -> Slim:
    length = min(length, 4_000)
    return {
        "id": trace.id,
        "problem": trace.problem,
        "outcome": None if trace.outcome is None else clip(trace.outcome, length),
        "score": {
            "value": rounded(trace.score.value),
            "reference": rounded(trace.score.reference),
            "parts": plain(trace.score.parts, length),
        },
        "data": plain(trace.data, length),
    }


PLAIN = Viewer(
    script="plain.js",
    title="Traces",
    note="One attempt each: what was asked, what came out, how it scored.",
    rank=_plain_rank,
    changed=lambda trace: trace.data.get("changed"),
    slim=_plain_slim,
    curve=lambda _trace: None,
)
"""Shows traces of kinds that have no viewer of their own."""

VIEWERS = {
    "reer": Viewer(
        script="reer.js",
        title="The search, item by item",
        note="Choose an item, then a step. Differences are in nats per token of the known good text: "
        "a negative one made the text more likely.",
        rank=_reer_rank,
        changed=_reer_changed,
        slim=_reer_slim,
        curve=_reer_curve,
    ),
    "look": Viewer(
        script="look.js",
        title="Where it looked",
        note="Conversations about held-out problems: the boxes that the model asked for, on the image that it was "
        "given, what it was shown, and what it said. Dotted: where the answer is known to be.",
        rank=_plain_rank,
        changed=lambda trace: trace.data.get("changed"),
        slim=_look_slim,
        curve=lambda _trace: None,
    ),
    "warm": Viewer(
        script="look.js",
        title="The warm-start traces",
        note="Put together from a template and really carried out; some look in the wrong place first. Marked is what "
        "is learnt, token by token.",
        rank=lambda trace: float(len(trace.data.get("turns") or ())),
        changed=lambda _trace: None,
        slim=_look_slim,
        curve=lambda _trace: None,
        ends=("shortest", "longest"),
    ),
    "judge": Viewer(
        script="plain.js",
        title="The held-out texts, one by one",
        note="What the trained model thinks by itself (outcome), beside the untouched model, and how likely the known "
        "good text is behind either: NLL in nats per token, lower is likelier. Best: where training brought most.",
        rank=lambda trace: finite(trace.data.get("change")),
        changed=lambda _trace: None,
        slim=_plain_slim,
        curve=lambda _trace: None,
    ),
}
"""The viewer of each kind of trace. A new one: a script in ``templates/`` and a line here."""


def viewer_of(kind: str) -> Viewer:
    """The viewer of a kind of trace, PLAIN for one that has none of its own."""
    return VIEWERS.get(kind, PLAIN)
