"""The conversation: limits, endings, feedback; with a real server whose model looks at the pixels it gets."""

import json
import urllib.request
from dataclasses import dataclass, field, replace

import pytest

from backcast.core.errors import BadInput
from backcast.lm.base import Sampling
from backcast.lm.sight import Reply, load
from backcast.vision.looker import Ask, Looking, preset
from backcast.vision.looker.loop import begin, take

STRICT, AUTHORS = preset("strict"), preset("authors-train")
QUESTION = "What colour is the dot on the red sign?"


def said(text, tokens=10, prompt=100):
    return Reply(text, (), tokens, prompt, True)


def request(box=(0.1, 0.1, 0.5, 0.5), target=1, name="zoom_in"):
    body = {"name": name, "arguments": {"bbox_2d": list(box), "target_image": target}}
    return said(f"Closer.\n<tool_call>\n{json.dumps(body)}\n</tool_call>")


@pytest.mark.parametrize("mode", ["strict", "authors"])
def test_four_calls_are_served_and_a_fifth_is_refused(photo, mode):
    """E3, 24. A refused fifth call counts as a call; strict: the model is told and may answer once more."""
    settings = STRICT if mode == "strict" else AUTHORS
    name = "zoom_in" if mode == "strict" else "crop_image_normalized"
    look = begin(Ask(photo, QUESTION), settings)
    for served in range(1, 5):
        take(look, request(name=name), settings)
        assert (look.served, look.calls, look.stop) == (served, served, None)
        assert len(look.views) == 1 + served
    take(look, request(name=name), settings)
    assert (look.served, look.calls, len(look.views)) == (4, 5, 5)
    assert look.unresolved
    if mode == "authors":
        assert (look.stop, look.answer) == ("calls", None)
        return
    assert look.stop is None
    assert "all 4 calls are used up; answer now" in look.turns[-1].text
    take(look, said("Well: \\boxed{green}"), settings)
    assert (look.stop, look.answer) == ("answer", "green")


def test_a_model_that_asks_on_after_its_last_word_is_stopped(photo):
    look = begin(Ask(photo, QUESTION), STRICT)
    for _ in range(6):
        take(look, request(), STRICT)
    assert (look.stop, look.calls, look.served, look.answer) == ("calls", 6, 4, None)


def test_more_than_sixteen_images_stop(clip):
    """E3, 24. The overview of a video does not count, what was selected does."""
    settings = replace(AUTHORS, calls=99)
    look = begin(Ask(clip, QUESTION), settings)
    body = {"name": "select_frames", "arguments": {"target_frames": [1, 2, 3, 4]}}
    for _ in range(5):
        take(look, said(f"<tool_call>{json.dumps(body)}</tool_call>"), settings)
    assert look.desk.counted == 20
    assert look.stop is None
    take(look, said(f"<tool_call>{json.dumps(body)}</tool_call>"), settings)
    assert (look.stop, look.calls, look.served) == ("images", 6, 5)


def test_a_long_conversation_stops(photo):
    look = begin(Ask(photo, QUESTION), AUTHORS)
    take(look, replace(request(name="crop_image_normalized"), prompt_tokens=12_078), AUTHORS)
    assert look.stop is None  # 12,088 in all is allowed
    take(look, replace(request(name="crop_image_normalized"), prompt_tokens=12_079), AUTHORS)
    assert (look.stop, look.calls) == ("tokens", 2)


def test_the_words_of_an_error_reach_the_model(photo):
    look = begin(Ask(photo, QUESTION), STRICT)
    take(look, request((0.4, 0.3, 0.2, 0.5)), STRICT)
    assert "wrong order" in look.turns[-1].text
    assert look.turns[-1].role == "tool"
    assert look.unresolved
    take(look, request(), STRICT)
    assert not look.unresolved


def test_a_cut_reply_is_no_answer_by_choice(photo):
    look = begin(Ask(photo, QUESTION), STRICT)
    take(look, Reply("I think that", (), 10, 100, False), STRICT)
    assert look.stop == "length"


@dataclass
class Script:
    """A model that says what it is told to, and keeps what it was asked."""

    lines: list
    name: str = "script"
    fingerprint: str = "script"
    seen: list = field(default_factory=list)

    def reply(self, conversations, tools, sampling):
        self.seen.append((len(conversations), sampling.temperature, [tool["function"]["name"] for tool in tools]))
        return [self.lines[sum(turn.role == "assistant" for turn in turns)] for turns in conversations]


def test_open_questions_form_one_batch(photo, clip):
    """Lock step: as many replies at once as are open; images and videos apart, since their tools differ."""
    lm = Script([request(), said("\\boxed{green}")])
    looks = Looking(lm, STRICT, Sampling(1.0)).look([Ask(photo, QUESTION)] * 3 + [Ask(clip, QUESTION)])
    both = ["zoom_in", "select_frames"]
    assert lm.seen == [(3, 1.0, ["zoom_in"]), (1, 1.0, both), (3, 1.0, ["zoom_in"]), (1, 1.0, both)]
    assert [look.answer for look in looks] == ["green"] * 4


def test_the_authors_cool_down_behind_a_result(photo):
    lm = Script([request(name="crop_image_normalized"), said("\\boxed{green}")])
    Looking(lm, AUTHORS, Sampling(1.0)).look([Ask(photo, QUESTION)])
    assert [temperature for _, temperature, _ in lm.seen] == [1.0, 0.9]


def test_without_tools_none_are_offered(photo):
    lm = Script([said("\\boxed{green}")])
    (look,) = Looking(lm, STRICT, tools=False).look([Ask(photo, QUESTION)])
    assert lm.seen == [(1, 0.0, [])]
    assert "zoom_in" not in look.turns[0].text


def test_a_request_without_tools_is_refused_and_brings_nothing(photo):
    lm = Script([request(), said("\\boxed{green}")])
    (look,) = Looking(lm, STRICT, tools=False).look([Ask(photo, QUESTION)])
    assert (look.calls, look.served, len(look.views), look.answer) == (1, 0, 1, "green")
    assert "no tools in this conversation; answer now" in look.turns[-2].text


# ---------------------------------------------------------------- a real server


def log(url):
    with urllib.request.urlopen(f"{url}/log") as answer:
        return json.load(answer)["log"]


@pytest.mark.parametrize("mode", ["good", "text", "two"])
def test_a_served_model_looks_and_answers(serve, photo, mode):
    lm = load(serve(mode))
    (look,) = Looking(lm, STRICT).look([Ask(photo, QUESTION)])
    assert (look.answer, look.stop) == ("green", "answer")
    boxes = [step["box"] for step in look.steps()]
    for left, top, right, bottom in boxes:  # the sign lies inside each
        assert left <= 620 <= right - 40
        assert top <= 300 <= bottom - 40
    if mode == "two":
        assert look.calls == 2
    if mode == "text":
        roles = [message["role"] for message in log(lm.name)[-1]["messages"]]
        assert "tool" not in roles


def test_the_crop_that_the_server_gets_is_the_original_part(serve, photo):
    """The request holds the picture itself: its size is the one that was told."""
    from tests.vision import seeing_server as server

    lm = load(serve())
    (look,) = Looking(lm, STRICT).look([Ask(photo, QUESTION)])
    images, told = server.read(log(lm.name)[-1]["messages"])
    assert [image.size for image in images] == [view.picture.size for view in look.views]
    assert any(f"shown with {images[1].width}x{images[1].height} pixels" in text for text in told)


def test_an_error_turn_over_the_wire(serve, photo):
    """The server's first box is reversed; it reads the error, turns it round and gets there."""
    (look,) = Looking(load(serve("clumsy")), STRICT).look([Ask(photo, QUESTION)])
    assert "wrong order" in look.steps()[0]["error"]
    assert look.steps()[0]["image"] is None
    assert look.steps()[1]["box"]
    assert look.answer == "green"


def test_arguments_that_are_no_json_over_the_wire(serve, photo):
    (look,) = Looking(load(serve("broken")), STRICT).look([Ask(photo, QUESTION)])
    assert "not JSON" in look.steps()[0]["error"]
    assert look.answer == "green"


def test_frames_over_the_wire(serve, clip):
    (look,) = Looking(load(serve("frames")), STRICT).look([Ask(clip, QUESTION)])
    rows = look.steps()
    assert [(row["tool"], row["frame"], row["image"]) for row in rows[:2]] == [
        ("select_frames", 2, 5),
        ("select_frames", 3, 6),
    ]
    assert rows[2]["frame"] == 3
    assert look.answer == "blue"


def test_a_server_that_never_stops_asking(serve, photo):
    (look,) = Looking(load(serve("greedy")), STRICT).look([Ask(photo, QUESTION)])
    assert (look.stop, look.answer) == ("calls", None)


def test_a_server_without_picture_input_is_named(serve, photo):
    with pytest.raises(BadInput, match="takes no pictures"):
        Looking(load(serve("blind")), STRICT).look([Ask(photo, QUESTION)])
