"""The tools declared once: schema, calls of each family, and the round trip through template and server."""

import json
import re

import pytest

from backcast.lm.endpoint.sight import messages
from backcast.lm.sight import Call, Turn
from backcast.vision.looker.tools import (
    FAMILIES,
    family,
    parse_authors,
    parse_deepeyes,
    parse_grounding,
    parse_hermes,
    schemas,
)


def tagged(text):
    return f"<tool_call>\n{text}\n</tool_call>"


ZOOM = '{"name": "zoom_in", "arguments": {"bbox_2d": [0.1, 0.2, 0.3, 0.4], "target_image": 1}}'


def test_hermes_calls():
    (call,) = parse_hermes("I look.\n" + tagged(ZOOM))
    assert (call.name, call.arguments) == ("zoom_in", {"bbox_2d": [0.1, 0.2, 0.3, 0.4], "target_image": 1})
    assert len(parse_hermes(tagged(ZOOM) + tagged(ZOOM))) == 2
    assert parse_hermes("no call, \\boxed{3}") == []
    assert parse_hermes(tagged(ZOOM).removesuffix("</tool_call>"))[0].arguments == call.arguments  # a cut stop text
    assert parse_hermes(f"<think>maybe {tagged(ZOOM)} or not</think>The answer is 4.") == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"name": "zoom_in", "arguments": {', "not JSON"),
        ("[1, 2]", "must be a JSON object"),
        ('{"arguments": {}}', "has no name"),
        ('{"name": "zoom_in", "arguments": [1]}', "arguments must be a JSON object"),
    ],
)
def test_unreadable_calls_are_kept_and_say_why(text, said):
    (call,) = parse_hermes(tagged(text))
    assert said in call.broken


def test_the_authors_take_a_request_only_at_the_end_and_the_last_one():
    other = ZOOM.replace("0.1", "0.15")
    assert parse_authors(tagged(ZOOM) + " and so it is") == []
    (call,) = parse_authors(tagged(ZOOM) + tagged(other))
    assert call.arguments["bbox_2d"][0] == 0.15


def test_mini_o3():
    def grounding(source):
        return f'<grounding>{{"bbox_2d": [0, 0, 0.5, 0.5], "source": "{source}"}}</grounding>'

    first, second, bad = parse_grounding(grounding("original_image") + grounding("observation_2") + grounding("here"))
    assert first == Call("zoom_in", {"bbox_2d": [0, 0, 0.5, 0.5], "target_image": 1})
    assert second.arguments["target_image"] == 3
    assert "source must be" in bad.broken
    assert "not JSON" in parse_grounding("<grounding>[0, 1</grounding>")[0].broken


def test_deepeyes():
    text = tagged('{"name": "image_zoom_in_tool", "arguments": {"bbox_2d": [10, 20, 30, 40], "label": "sign"}}')
    (call,) = parse_deepeyes(text)
    assert call == Call("zoom_in", {"bbox_2d": [10, 20, 30, 40], "target_image": 1})
    assert family("deepeyes").frame == "shown"


@pytest.mark.parametrize("name", ["hermes", "authors"])
def test_the_schema_is_one_in_template_and_request_and_a_call_comes_back_the_same(name, tiny_eyes):
    """Rendered by ``apply_chat_template(tools=)`` and sent as a request body, it is the same JSON (E3, 25)."""
    from pathlib import Path

    import trl

    from backcast.lm.local_sight import LocalSight

    kind = family(name)
    tools = kind.tools(("zoom_in", "select_frames"), "unit")
    lm = LocalSight.open(tiny_eyes)
    template = (Path(trl.__file__).parent / "chat_templates" / "qwen3_vl.jinja").read_text()
    lm.processor.chat_template = lm.tokenizer.chat_template = template
    text = lm.render([Turn("user", ("hello",))], tools)
    assert lm.tools_by == "template"
    rendered = re.search(r"<tools>\n(.*?)\n</tools>", text, re.DOTALL)[1].splitlines()
    assert [json.loads(line) for line in rendered] == json.loads(json.dumps(tools))
    # A call: written by the template from structured calls, read back from its text; and through a request body.
    call = Call(tools[0]["function"]["name"], {"bbox_2d": [0.1, 0.2, 0.3, 0.4], "target_image": 1}, "call-1")
    body = messages(
        [Turn("user", ("hello",)), Turn("assistant", ("look",), (call,)), Turn("tool", ("done",), (), "call-1")]
    )
    written = lm.processor.apply_chat_template(_plain(body), tokenize=False)
    (read,) = kind.parse(written.split("<|im_start|>assistant\n")[1].split("<|im_end|>")[0])
    sent = body[1]["tool_calls"][0]["function"]
    assert (read.name, read.arguments) == (call.name, call.arguments) == (sent["name"], json.loads(sent["arguments"]))
    assert kind.ours(read).name == "zoom_in"


def _plain(body):
    return [{**message, "content": message["content"] or ""} for message in body]


def test_the_meaning_of_a_box_stands_in_the_schema():
    for frame, words in (("unit", "0 to 1."), ("per_mille", "0 to 1000."), ("shown", "as you see it.")):
        box = schemas(("zoom_in",), frame)[0]["function"]["parameters"]["properties"]["bbox_2d"]
        assert box["description"].endswith(words)
    assert "{frame}" not in json.dumps([kind.tools(("zoom_in", "select_frames"), "unit") for kind in FAMILIES.values()])


def test_a_template_without_tools_gets_them_in_the_systems_turn(tiny_eyes):
    from backcast.lm.local_sight import LocalSight

    lm = LocalSight.open(tiny_eyes)
    text = lm.render([Turn("user", ("please zoom_in",))], schemas(("zoom_in",)))
    assert lm.tools_by == "system"
    assert text.index("<|im_start|>system") < text.index('"zoom_in"') < text.index("please")
