"""The TRL environment: the declared schema, the same desk underneath, and what curiosity is told."""

from dataclasses import replace

import pytest
from transformers.utils import get_json_schema

from backcast.core.errors import BadInput
from backcast.vision.looker import preset, schemas
from backcast.vision.looker.environment import LookEnvironment, environment
from tests.vision.conftest import sign


def test_trls_schema_is_the_declared_one():
    """TRL makes its schema from the method; it is the one that is declared, to the last key."""
    room = LookEnvironment()
    for method, declared in zip((room.zoom_in, room.select_frames), schemas(), strict=True):
        assert get_json_schema(method) == declared


def test_calls_are_carried_out_counted_and_forgotten():
    room = environment()()
    room.reset(images=[sign()])
    text, picture = room.zoom_in([0.6, 0.3, 0.8, 0.5], 1)
    assert text["text"].startswith("Image 2 is image 1 at [0.600")
    assert picture["type"] == "image"
    (error,) = room.zoom_in([0.8, 0.3, 0.6, 0.5], 2)
    assert "wrong order" in error["text"]
    attempt = room._attempt()
    assert (attempt.calls, attempt.valid, attempt.unresolved, attempt.video) == (2, 1, True, False)
    room.reset(images=[sign()])
    assert room._attempt().calls == 0


def test_the_fifth_call_is_refused():
    room = environment()()
    room.reset(image=sign())
    for _ in range(4):
        assert len(room.zoom_in([0, 0, 0.5, 0.5], 1)) == 2
    (refused,) = room.zoom_in([0, 0, 0.5, 0.5], 1)
    assert "all 4 calls are used up" in refused["text"]
    assert room._attempt().calls == 5


def test_offered_tools_and_misuse():
    import inspect

    def methods(kind):
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert methods(environment()) == {"reset", "zoom_in"}
    assert methods(environment(tools=("zoom_in", "select_frames"))) == {"reset", "zoom_in", "select_frames"}
    with pytest.raises(BadInput, match="shares of the image"):
        environment(replace(preset("strict"), frame="per_mille"))
    with pytest.raises(BadInput, match="without images"):
        environment()().reset(images=[])
    with pytest.raises(RuntimeError, match="reset comes before"):
        environment()().zoom_in([0, 0, 1, 1], 1)
