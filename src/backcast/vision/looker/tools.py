"""The two tools, declared once; and the families of models, each with its own way of calling them."""

import copy
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from backcast.core.errors import BadInput, nearest
from backcast.lm.chat import split_thinking
from backcast.lm.sight import Call, Tool
from backcast.vision.looker.boxes import FRAMES, Frame

FRAMES_MOST = 8
"""Frames that one call may select (Pixel Reasoner)."""


def _function(name: str, about: str, **arguments: dict[str, Any]) -> dict[str, Any]:
    body = {"type": "object", "properties": arguments, "required": list(arguments)}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": body}}


ZOOM_IN: Tool = _function(
    "zoom_in",
    "Looks closer at a part of an image. The part comes back as a new image, cut from the original pixels.",
    bbox_2d={
        "type": "array",
        "items": {"type": "number"},
        "description": "The part as [x1, y1, x2, y2]: left, top, right, bottom, in {frame}.",
    },
    target_image={
        "type": "integer",
        "description": "Number of the image to look at, as it was given with the image. 1 is the first.",
    },
)
SELECT_FRAMES: Tool = _function(
    "select_frames",
    "Looks closer at frames of the video. They come back as new images, larger than in the overview.",
    target_frames={
        "type": "array",
        "items": {"type": "integer"},
        "description": f"Numbers of the frames, counted from 1; at most {FRAMES_MOST}.",
    },
)
TOOLS = ("zoom_in", "select_frames")
"""What every family's calls are turned into."""


def schemas(names: tuple[str, ...] = TOOLS, frame: Frame = "unit") -> list[Tool]:
    """The tools as JSON schemas, with the meaning of a box's numbers filled in."""
    declared = {"zoom_in": ZOOM_IN, "select_frames": SELECT_FRAMES}
    found = [copy.deepcopy(dict(declared[name])) for name in names]
    for tool in found:
        box = tool["function"]["parameters"]["properties"].get("bbox_2d")
        if box:
            box["description"] = box["description"].format(frame=FRAMES[frame])
    return [*found]


@dataclass(frozen=True)
class Family:
    """How the models of one family call the tools."""

    name: str
    frame: Frame
    """Of their boxes, unless set otherwise."""
    parse: Callable[[str], list[Call]]
    """The calls that a reply's text holds, in order, as calls of ``TOOLS``; unreadable ones are marked broken."""
    told: str = ""
    """How to call, for families whose protocol is no tool schema; the end of the system's turn."""
    renamed: dict[str, str] = field(default_factory=dict)
    """Tools that the family knows by another name: ours to theirs."""

    def tools(self, names: tuple[str, ...], frame: Frame) -> list[Tool]:
        """What is offered as ``tools``; nothing for a family with its own protocol."""
        if self.told:
            return []
        found = schemas(names, frame)
        for tool in found:
            function = tool["function"]
            function["name"] = self.renamed.get(function["name"], function["name"])
        return found

    def ours(self, call: Call) -> Call:
        """A call under our own name for its tool."""
        theirs = {there: here for here, there in self.renamed.items()}
        return Call(theirs.get(call.name, call.name), call.arguments, call.id, call.broken)


_TAGGED = re.compile(r"<tool_call>(.*?)(?:</tool_call>|$)", re.DOTALL)
_GROUNDING = re.compile(r"<grounding>(.*?)(?:</grounding>|$)", re.DOTALL)
_OBSERVED = re.compile(r"observation_(\d+)")


def parse_hermes(text: str) -> list[Call]:
    """Calls in ``<tool_call>`` tags, each ``{"name", "arguments"}`` (Hermes, Qwen). Thinking is not searched.

    A last tag may be unclosed, since servers cut a stop text off.
    """
    return [_object(found.group(1)) for found in _TAGGED.finditer(_outside(text))]


def parse_authors(text: str) -> list[Call]:
    """Pixel Reasoner's rule: a request only if the reply ends with ``</tool_call>``, and then its last call alone."""
    if not text.rstrip().endswith("</tool_call>"):
        return []
    return [_object(_TAGGED.findall(text)[-1])]


def parse_grounding(text: str) -> list[Call]:
    """Mini-o3's ``<grounding>{"bbox_2d": [..], "source": "original_image" or "observation_i"}</grounding>``.

    ``observation_i`` is taken as the i-th result, counted from 1, that is image i + 1.
    """
    calls = []
    for found in _GROUNDING.finditer(_outside(text)):
        given = _json(found.group(1))
        if isinstance(given, str):
            calls.append(Call("zoom_in", {}, broken=given))
            continue
        source = str(given.get("source", "original_image"))
        seen = _OBSERVED.fullmatch(source)
        if not seen and source != "original_image":
            why = f"source must be 'original_image' or 'observation_i' with a number i, found '{source[:40]}'"
            calls.append(Call("zoom_in", {}, broken=why))
            continue
        target = int(seen.group(1)) + 1 if seen else 1
        calls.append(Call("zoom_in", {"bbox_2d": given.get("bbox_2d"), "target_image": target}))
    return calls


def parse_deepeyes(text: str) -> list[Call]:
    """DeepEyes' ``image_zoom_in_tool`` {bbox_2d, label}: always of the first image, in pixels as shown."""
    found = []
    for call in parse_hermes(text):
        if call.name == "image_zoom_in_tool" and not call.broken:
            box = {"bbox_2d": call.arguments.get("bbox_2d"), "target_image": 1}
            call = Call("zoom_in", box)
        found.append(call)
    return found


def _outside(text: str) -> str:
    """The reply behind its thinking; all of it where the thinking never closes, as calls are then the only sign."""
    return split_thinking(text)[1] or text


def _object(text: str) -> Call:
    given = _json(text)
    if isinstance(given, str):
        return Call("", {}, broken=given)
    name, arguments = given.get("name"), given.get("arguments", {})
    if not isinstance(name, str) or not name:
        return Call("", {}, broken='a call is {"name": NAME, "arguments": {..}}; this one has no name')
    if not isinstance(arguments, dict):
        return Call(name, {}, broken=f"the arguments must be a JSON object, found {json.dumps(arguments)[:40]}")
    return Call(name, arguments)


def _json(text: str) -> dict[str, Any] | str:
    """The object, or what is wrong with it."""
    try:
        found = json.loads(text)
    except ValueError as error:
        return f"the call is not JSON ({error})"
    return found if isinstance(found, dict) else f"the call must be a JSON object, found {text.strip()[:40]}"


_GROUNDING_TOLD = """To look closer at a part of an image, end your turn with
<grounding>{"bbox_2d": [x1, y1, x2, y2], "source": "original_image"}</grounding>
The numbers are shares of the image's width and height, from 0 to 1; the source is "original_image", or "observation_i"
for the i-th part that you were shown. When you know enough, give the answer."""

FamilyName = Literal["hermes", "authors", "mini-o3", "deepeyes"]
FAMILIES: dict[str, Family] = {
    "hermes": Family("hermes", "unit", parse_hermes),
    "authors": Family("authors", "unit", parse_authors, renamed={"zoom_in": "crop_image_normalized"}),
    "mini-o3": Family("mini-o3", "unit", parse_grounding, told=_GROUNDING_TOLD),
    "deepeyes": Family("deepeyes", "shown", parse_deepeyes, renamed={"zoom_in": "image_zoom_in_tool"}),
}
"""By name: Qwen's and Hermes' calls with our tools; Pixel Reasoner's own; Mini-o3; DeepEyes."""


def family(name: str) -> Family:
    """The family of that name; raises BadInput naming the nearest."""
    if name not in FAMILIES:
        raise BadInput(f"unknown family '{name}'{nearest(name, FAMILIES)}")
    return FAMILIES[name]
