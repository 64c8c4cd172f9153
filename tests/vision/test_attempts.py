"""Attempts as traces: what is learnt is what the mask says, pictures and boxes are those of the conversation."""

import base64
import io

import pytest
from PIL import Image

from backcast.core.trace import Trace
from backcast.lm.base import Sampling
from backcast.lm.local_sight import LocalSight
from backcast.lm.small_sight import Shape
from backcast.vision.attempts import IMAGE, look_trace, small, warm_trace
from backcast.vision.beginner.begin import looking, make
from backcast.vision.beginner.settings import AIM, SCENES
from backcast.vision.problems.scenes import generate
from backcast.vision.score import ask, scores
from backcast.vision.stages import template
from backcast.vision.warmup.traces import synthesise
from tests.vision.oracle import NoisyOracle, numbered

TINY = Shape(hidden=32, layers=1, heads=2, tower=16, tower_layers=1, patch=4, cells=3)


@pytest.fixture(scope="module")
def lm():
    return LocalSight(*make(template(), SCENES, AIM, TINY, 0))


@pytest.mark.parametrize("kind", ["single-pass", "recrop-twice", "further-zoom"])
def test_the_marks_of_a_trace_are_its_mask(lm, kind):
    """Right turns whole, wrong ones and results not at all; the words are the turn's own."""
    (made,), _ = synthesise(generate(1, SCENES, 2), settings=looking(TINY), aim=AIM, mixes={"image": {kind: 1.0}})
    trace = Trace.from_json(warm_trace(made, lm).to_json())
    for turn, kept, right in zip(made.turns, trace.data["turns"], made.right, strict=True):
        words = "".join(part if isinstance(part, str) else IMAGE for part in turn.parts)
        assert "".join(text for text, _ in kept["pieces"]) == words
        assert {learnt for _, learnt in kept["pieces"]} == {right}
    assert len(trace.data["views"]) == trace.data["calls"] == len(made.views) - 1
    assert trace.data["lesson"] == kind


def test_a_conversation_keeps_boxes_and_pictures():
    problems = numbered(generate(3, SCENES, 4))
    looks = ask(NoisyOracle(problems), problems, looking(TINY), Sampling(0.0))
    for look, problem, value in zip(looks, problems, scores(looks, problems), strict=True):
        trace = look_trace(look, problem, value)
        view = trace.data["views"][0]
        assert view["box"] == list(look.views[1].box.outward())
        assert trace.data["right"] == list(problem.box)
        assert [turn["role"] for turn in trace.data["turns"]] == ["user", "assistant", "tool", "assistant"]
        assert [learnt for turn in trace.data["turns"] for _, learnt in turn["pieces"]] == [False, True, False, True]
        assert trace.score.value == value == 1.0
        assert look_trace(look, problem, value, pictured=False).data.get("images") is None


def test_small_pictures_are_small_jpegs():
    url = small(Image.new("RGB", (1000, 500), "red"), 200)
    kind, data = url.split(",", 1)
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (200, 100)
