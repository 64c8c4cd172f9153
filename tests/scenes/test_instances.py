"""Instances: two cups in a frame are two, from the source's rows to counts, text, scores and files."""

import numpy as np
import pytest

from backcast.scenes.counts import Markov, Persistence, forecast_all
from backcast.scenes.forecast import cases
from backcast.scenes.problems import Clip, Clips, Frame, Group, Vocabulary, read_clips, write_clips
from backcast.scenes.problems.instances import Numbering, class_of
from backcast.scenes.problems.quads import read_quads
from backcast.scenes.render import parse_scene, scene_text
from backcast.scenes.score import Rules, metric, tally

ROWS = """clip,predicate,object,instance,time
k,holds,cup,red,1
k,near,cup,blue,1
k,near,hat,,1
k,holds,cup,blue,2
k,near,cup,red,2
k,near,cup,blue,3
l,holds,cup,green,1
l,holds,cup,green,2
"""


@pytest.fixture
def clips(tmp_path):
    path = tmp_path / "quads.csv"
    path.write_text(ROWS)
    return read_quads(path)


def test_two_cups_are_two(clips, tmp_path):
    """Numbered as each clip first shows them, kept apart over time, back from a clips file and from text."""
    words = clips.vocabulary
    assert words.objects == ("cup", "cup#2", "hat")
    k, other_clip = clips.clips
    cup, other, holds, near = words.object_ids["cup"], words.object_ids["cup#2"], 0, 1
    assert [dict(frame.objects) for frame in k.frames] == [
        {cup: (near,), other: (holds,), 2: (near,)},
        {cup: (holds,), other: (near,)},
        {cup: (near,)},
    ]
    assert all(dict(frame.objects) == {cup: (holds,)} for frame in other_clip.frames)
    write_clips(tmp_path / "c.jsonl", clips)
    assert read_clips(tmp_path / "c.jsonl").clips == clips.clips
    assert "cup#2" in scene_text(k.frames, words)
    again = parse_scene(scene_text(k.frames, words), words)
    assert [dict(frame.objects) for frame in again] == [dict(frame.objects) for frame in k.frames]


def test_scored_as_two(clips):
    """Persistence from two cups to one: one of two objects right, though the class is right throughout."""
    case = cases(clips.clips[:1], 0.6)[0]
    made = forecast_all(Persistence(clips.vocabulary), [(c.id, c.seen, c.future) for c in case])
    sums = tally(made, case, clips.vocabulary, Rules(ks=(2,))).total()
    assert float(metric(sums, "object precision")) == 0.5
    assert float(metric(sums, "object recall")) == 1.0


def test_names():
    """Only numbers from 2 on are instances; a source's own names number from 1 within their class and clip."""
    assert [class_of(name) for name in ("cup#2", "cup#17", "cup#1", "cup#", "#2", "a#b", "cup")] == [
        "cup", "cup", "cup#1", "cup#", "#2", "a#b", "cup"
    ]  # fmt: skip
    numbering = Numbering()
    asked = [("cup", 9), ("hat", 9), ("cup", 4), ("cup", 9), ("cup", "4")]
    assert [numbering.name(*one) for one in asked] == ["cup", "hat", "cup#2", "cup", "cup#3"]


def test_counts_lean_on_the_class():
    """A second cup, hardly seen, is thought of as cups are, not as all objects are; without instances nothing moves."""
    things = ("cup", "cup#2", "hat")
    group = (Group("g", ("p", "q")),)

    def markov(names):
        frames = [{0: (0,), 2: (1,)}, {0: (0,)}, {0: (0,)}, {0: (0,), 2: (1,)}, {0: (0,)}]
        made = tuple(Clip(f"{n}", tuple(Frame(t, graph) for t, graph in enumerate(frames))) for n in range(20))
        return Markov.fit(Clips(Vocabulary(names, group), made))

    several, single = markov(things), markov(("cup", "mug", "hat"))
    assert several.staying()[0, 1] > 0.95
    assert single.staying()[0, 1] < 0.9
    assert several.holding()[0, 1, 0, 1] > 0.95
    assert several.arriving()[2] == pytest.approx(single.arriving()[2])
    assert np.allclose(several.staying()[:, 2], single.staying()[:, 2])
    alone = several.forecast("x", (Frame(0, {1: (0,)}),), [1])
    assert alone.objects[0, 1] > alone.objects[0, 2]
