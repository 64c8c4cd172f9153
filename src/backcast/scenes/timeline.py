"""A forecast as a page: lanes of objects over time, observed and predicted, with what did follow; one file."""

import base64
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from backcast import __version__
from backcast.scenes.forecast import GraphForecast, certain
from backcast.scenes.problems.clip import Frame, dense
from backcast.scenes.problems.vocabulary import Vocabulary
from backcast.scenes.render import object_text, scene_text

WIDE, HIGH, LEFT, TOP = 26, 42, 150, 26
"""Pixels: a frame's column, an object's lane, the names, the frame numbers."""
SHOWN = 0.1
"""Objects that reach this chance nowhere, and did not follow, have no lane."""
ALTERNATIVES = 6


def page(
    forecast: GraphForecast, seen: Sequence[Frame], vocabulary: Vocabulary, future: Sequence[Frame] | None = None
) -> str:
    """The HTML of one clip's forecast; ``future``: what did follow, drawn over it."""
    past = certain(forecast.id, seen, vocabulary)
    objects = np.concatenate([past.objects, forecast.objects])
    predicates = np.concatenate([past.predicates, forecast.predicates])
    listed = np.concatenate([past.listed, forecast.listed])
    truth = None if future is None else dense(future, vocabulary)[1]
    lanes = _lanes(objects, truth)
    frames = [*past.index.tolist(), *forecast.index.tolist()]
    rows = [
        {
            "name": vocabulary.objects[o],
            "text": object_text(seen, o, vocabulary),
            "cells": [
                _cell(objects[t, o], predicates[t, o], bool(listed[t, o]), _held(truth, t - len(seen), o), vocabulary)
                for t in range(len(frames))
            ],
        }
        for o in lanes
    ]
    data = {
        "id": forecast.id,
        "frames": frames,
        "observed": len(seen),
        "lanes": rows,
        "prompt": scene_text(seen, vocabulary),
    }
    script = _file("timeline.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    environment = Environment(autoescape=True, undefined=StrictUndefined)
    return environment.from_string(_file("timeline.html")).render(
        title=f"What follows in {forecast.id}",
        sentence=f"{len(seen)} frames observed, {len(forecast.index)} predicted, {len(lanes)} objects.",
        groups=vocabulary.group_names,
        truth=truth is not None,
        board=_board(rows, frames, len(seen)),
        data=Markup(json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")),
        script=Markup(script),
        hash=f"sha256-{digest}",
        style=Markup((resources.files("backcast.report") / "templates" / "style.css").read_text(encoding="utf-8")),
        version=__version__,
    )


def _file(name: str) -> str:
    return (resources.files("backcast.scenes") / name).read_text(encoding="utf-8")


def _held(truth: np.ndarray | None, t: int, thing: int) -> np.ndarray | None:
    """(R,) labels that did follow; None where nothing is known or the object was not there."""
    if truth is None or t < 0 or not truth[t, thing].any():
        return None
    row: np.ndarray = truth[t, thing]
    return row


def _lanes(objects: np.ndarray, truth: np.ndarray | None) -> list[int]:
    """Objects worth a lane, in the order in which they are first likely."""
    shown = objects.max(0) >= SHOWN
    if truth is not None:
        shown |= truth.any((0, 2))
    first = (objects >= 0.5).argmax(0) + len(objects) * ~(objects >= 0.5).any(0)
    return sorted(np.flatnonzero(shown).tolist(), key=lambda o: (int(first[o]), o))


def _cell(
    chance: float, labels: np.ndarray, listed: bool, truth: np.ndarray | None, vocabulary: Vocabulary
) -> dict[str, Any]:
    groups = []
    for group, ids in zip(vocabulary.groups, vocabulary.slices, strict=True):
        best = sorted(range(ids.start, ids.stop), key=lambda r: (-labels[r], r))[:ALTERNATIVES]
        named = [[vocabulary.predicates[r], round(float(labels[r]), 3)] for r in best if labels[r] >= 0.005]
        groups.append([group.name, named if chance > 0 else []])
    found: dict[str, Any] = {"p": round(float(chance), 3), "listed": listed, "groups": groups}
    if truth is not None:
        found["truth"] = ", ".join(vocabulary.predicates[r] for r in np.flatnonzero(truth))
    return found


def _board(rows: Sequence[dict[str, Any]], frames: Sequence[int], observed: int) -> Markup:
    width, height = LEFT + WIDE * len(frames) + 8, TOP + HIGH * len(rows) + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    ]
    every = max(1, round(48 / WIDE))
    parts += [
        f'<text class="quiet" x="{LEFT + WIDE * t + 2}" y="16">{index}</text>'
        for t, index in enumerate(frames)
        if t % every == 0
    ]
    for i, row in enumerate(rows):
        y = TOP + HIGH * i
        parts.append(f'<line class="hair" x1="0" x2="{width}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="2" y="{y + HIGH / 2 + 4}">{escape(row["name"])}</text>')
        parts += [_drawn(i, t, cell, row["name"], frames[t], t >= observed) for t, cell in enumerate(row["cells"])]
    x = LEFT + WIDE * observed
    parts.append(f'<line class="divide" x1="{x}" x2="{x}" y1="{TOP - 6}" y2="{height}"/></svg>')
    return Markup("".join(parts))


def _drawn(i: int, t: int, cell: dict[str, Any], name: str, index: int, ahead: bool) -> str:
    """One cell: a stripe for each group, as opaque as its likeliest label; a mark for what did follow."""
    x, y = LEFT + WIDE * t, TOP + HIGH * i
    stripe = (HIGH - 6) / len(cell["groups"])
    state = f"predicted, {cell['p']:.0%}" if ahead else "observed" if cell["p"] else "absent"
    label, focus = escape(f"{name}, frame {index}: {state}"), 0 if i == t == 0 else -1
    true = set(filter(None, cell.get("truth", "").split(", ")))
    out = [
        f'<g class="cell" data-at="{i},{t}" role="button" tabindex="{focus}" aria-label="{label}">',
        f'<rect class="frame-line" x="{x + 0.5}" y="{y + 2}" width="{WIDE - 1}" height="{HIGH - 4}" '
        'pointer-events="all"/>',
    ]
    for g, (_, labels) in enumerate(cell["groups"]):
        top = y + 3 + stripe * g
        best, p = labels[0] if labels else ("", 0.0)
        strength = cell["p"] * p
        if strength >= 0.02:
            out.append(
                f'<rect x="{x + 1.5}" y="{top:.1f}" width="{WIDE - 3}" height="{stripe - 1:.1f}" '
                f'fill="var(--s{g % 6})" opacity="{strength:.2f}"/>'
            )
        if true:
            mark = 'fill="var(--ink)"' if best in true else 'fill="none" stroke="var(--ink)" stroke-width="1.4"'
            out.append(f'<circle class="truth" cx="{x + WIDE / 2}" cy="{top + stripe / 2:.1f}" r="2.6" {mark}/>')
    return "".join([*out, "</g>"])
