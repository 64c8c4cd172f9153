"""Vocabulary, clips, the cut, files and folds."""

import json
import math
import sys
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.scenes.problems import (
    ACTION_GENOME,
    Clip,
    Clips,
    Frame,
    Group,
    Vocabulary,
    cut,
    folds,
    last_observed,
    read_clips,
    write_clips,
)
from backcast.scenes.problems.household import make_household, statistics


def test_ids_of_action_genome():
    """Object ids 0..36 and predicate ids 0..25 as the benchmark's code numbers them."""
    words = ACTION_GENOME
    assert (len(words.objects), len(words.predicates), len(words.candidates)) == (37, 26, 35)
    assert [words.objects[i] for i in (0, 1, 9, 11, 23, 24, 31, 36)] == [
        "__background__", "person", "closet/cabinet", "cup/glass/bottle", "paper/notebook", "phone/camera",
        "sofa/couch", "window",
    ]  # fmt: skip
    assert [words.predicates[i] for i in (0, 2, 3, 8, 9, 17, 25)] == [
        "looking_at", "unsure", "above", "in", "carrying", "not_contacting", "writing_on",
    ]  # fmt: skip
    assert [(s.start, s.stop) for s in words.slices] == [(0, 3), (3, 9), (9, 26)]


def test_direction():
    """Space is said of the object, attention and contact of the person."""
    table = ACTION_GENOME.object_ids["table"]
    assert ACTION_GENOME.triplet(table, 5) == ("table", "in_front_of", "person")
    assert ACTION_GENOME.triplet(table, 0) == ("person", "looking_at", "table")
    assert ACTION_GENOME.triplet(table, 14) == ("person", "holding", "table")


CUTS = [(5, 0.5, 3), (10, 0.9, 9), (9, 0.3, 3), (8, 0.7, 6), (53, 0.3, 16), (53, 0.9, 48)]


@pytest.mark.parametrize(("frames", "share", "observed"), CUTS)
def test_cut(frames, share, observed):
    """The cut's table: observed frames by frame count and share."""
    clip = Clip("c", tuple(Frame(i, {}) for i in range(frames)))
    seen, future = cut(clip, share)
    assert (len(seen), len(future)) == (observed, frames - observed)


def test_cut_without_future():
    """Seven or three frames at 0.9 leave none; shares outside (0, 1) are refused."""
    for frames in (7, 3):
        assert cut(Clip("c", tuple(Frame(i, {}) for i in range(frames))), 0.9) is None
    with pytest.raises(BadInput, match="between 0 and 1"):
        cut(Clip("c", (Frame(0, {}),)), 1.0)


def test_cut_everywhere():
    """For every length below 400 and usual share the cut is the formula in exact arithmetic."""
    for frames in range(1, 400):
        for share in (0.3, 0.5, 0.7, 0.9):
            want = min(max(math.ceil(frames * Fraction(str(share))) - 1, 0), frames - 1)
            assert (
                last_observed(frames, share) == want == min(max(math.ceil(round(frames * share, 9)) - 1, 0), frames - 1)
            )


@given(st.integers(0, 500))
def test_files_round_trip(tmp_path_factory, seed):
    """Clips written and read back are equal."""
    path = tmp_path_factory.mktemp("clips") / "clips.jsonl"
    clips = make_household(2, seed, split="train")
    write_clips(path, clips)
    found = read_clips(path)
    assert found.vocabulary == clips.vocabulary
    assert json.dumps([clip.meta["hidden"] for clip in found.clips]) == json.dumps(
        [c.meta["hidden"] for c in clips.clips]
    )
    assert [(c.id, c.frames, c.split) for c in found.clips] == [(c.id, c.frames, c.split) for c in clips.clips]


HEAD = {"vocabulary": {"objects": ["cup", "table"], "groups": [
    {"name": "look", "predicates": ["at", "away"], "arity": "one"},
    {"name": "touch", "predicates": ["holding", "wiping"], "allow_empty": True}]}}  # fmt: skip
GOOD = {"cup": {"look": ["at"]}}


def one(objects, index=5, **extra):
    return {"id": "a", "frames": [{"index": index, "objects": objects, **extra}]}


FAULTS = [
    (one({"cap": GOOD["cup"]}), r"line 2, frames\[0\]\.objects: unknown object 'cap'; did you mean 'cup'"),
    (one({"cup": {"look": ["att"]}}), r"objects\.cup\.look: unknown label 'att'; did you mean 'at'"),
    (one({"cup": {"lok": ["at"]}}), "unknown group 'lok'; did you mean 'look'"),
    (one({"cup": {"touch": ["holding"]}}), r"objects\.cup\.look: no label; give one"),
    (one({"cup": {"look": ["at", "away"]}}), "exactly one label"),
    (one({"cup": {"look": ["at"], "touch": ["holding", "holding"]}}), "given twice"),
    (one({"cup": ["at"]}), "expected {group"),
    (one(GOOD, index=-1), "whole number from 0"),
    (one(GOOD, time="x"), "unknown key 'time'; did you mean 'time_s'"),
    (one(GOOD, time_s="x"), "not a number of seconds"),
    ({"id": "a", "frames": []}, "has no frames"),
    (
        {"id": "a", "frames": [{"index": 5, "objects": GOOD}, {"index": 5, "objects": GOOD}]},
        r"frames\[1\]\.index: 5 follows 5",
    ),
    ({"id": 3, "frames": []}, "line 2, id: expected a text"),
    ({"id": "a", "frame": []}, "unknown key 'frame'; did you mean 'frames'"),
    ({"id": "a", "frames": {}}, "frames: expected a list"),
]


@pytest.mark.parametrize(("line", "said"), FAULTS)
def test_faults(tmp_path, line, said):
    """Every fault of a clips file is one line with file, line and field."""
    path = tmp_path / "clips.jsonl"
    path.write_text(json.dumps(HEAD) + "\n" + json.dumps(line) + "\n")
    with pytest.raises(BadInput, match=said) as error:
        read_clips(path)
    assert "clips.jsonl, line 2" in str(error.value)


def test_faults_of_the_file(tmp_path):
    """A file of another layout, one without clips, and an id used twice are refused."""
    path = tmp_path / "clips.jsonl"
    path.write_text('{"prompt": "x"}\n')
    with pytest.raises(BadInput, match=r"line 1: expected .*scene convert"):
        read_clips(path)
    path.write_text(json.dumps(HEAD) + "\n")
    with pytest.raises(BadInput, match="no clips"):
        read_clips(path)
    path.write_text("\n".join(json.dumps(line) for line in (HEAD, one(GOOD), one(GOOD))))
    with pytest.raises(BadInput, match=r"line 3, id: 'a' was used on line 2"):
        read_clips(path)


@pytest.mark.parametrize(
    ("objects", "groups", "said"),
    [
        (("a", "a"), (Group("g", ("p",)),), "object 'a' is listed twice"),
        (("a",), (Group("g", ("p",)), Group("h", ("p",))), "predicate 'p' is listed twice"),
        (("a,b",), (Group("g", ("p",)),), "holds , ; :"),
        (("a",), (Group("g", ("p",)), Group("h", ())), "has no predicates"),
        ((), (Group("g", ("p",)),), "no objects"),
    ],
)
def test_faulty_vocabulary(objects, groups, said):
    """Names must be distinct and must not break the text form."""
    with pytest.raises(BadInput, match=said):
        Vocabulary(objects, groups)


def test_folds_keep_groups():
    """Folds partition the clips, near equal, no group in two; the seed decides."""
    clips = [Clip(str(i), (), meta={"group": i // 3}) for i in range(60)]
    parts = folds(clips, 5, 0)
    assert sorted(i for part in parts for i in part) == list(range(60))
    assert all(len({i // 3 for i in a} & {i // 3 for i in b}) == 0 for a in parts for b in parts if a is not b)
    assert [len(part) for part in parts] == [12] * 5
    assert parts == folds(clips, 5, 0) != folds(clips, 5, 1)
    with pytest.raises(BadInput, match="folds of 2 groups"):
        folds(clips[:6], 5)


def test_household():
    """A seed gives the same clips whatever their number; statistics lie where real Action Genome's do."""
    clips = make_household(300, seed=1)
    assert make_household(3, seed=1).clips == clips.clips[:3]
    found = statistics(clips)
    assert 0.89 <= found["persistence"] <= 0.97
    assert 0.40 <= found["relation_change"] <= 0.50
    assert 1.8 <= found["objects_per_frame"] <= 2.6
    assert 3.1 <= found["relations_per_object"] <= 3.4
    assert all(8 <= len(clip.frames) <= 60 for clip in clips.clips)
    with pytest.raises(BadInput, match="at least 1 clip"):
        make_household(0)


def test_torch_free():
    """Importing the room and scoring needs no torch."""
    import subprocess

    code = (
        "import sys, backcast.scenes, backcast.scenes.trial, backcast.scenes.score; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_exports():
    """Every exported name resolves, and no other does."""
    import backcast.scenes as scenes

    assert all(getattr(scenes, name) is not None for name in scenes.__all__)
    assert dir(scenes) == scenes.__all__
    with pytest.raises(AttributeError):
        scenes.nothing  # noqa: B018


def test_only():
    """A split's clips."""
    clips = Clips(ACTION_GENOME, (Clip("a", (), "train"), Clip("b", (), "test")))
    assert [clip.id for clip in clips.only("train").clips] == ["a"]
