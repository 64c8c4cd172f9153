"""Readers: Action Genome's pickles (and a hostile one), its graphs in JSON, Charades, quadruples, a detector,
VirtualHome."""

import json
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from backcast.core.errors import BadInput
from backcast.scenes.problems import ACTION_GENOME
from backcast.scenes.problems.action_genome import OBJECTS, PERSONS, read_action_genome
from backcast.scenes.problems.charades import MAPPING, VERBS, read_charades
from backcast.scenes.problems.charades import OBJECTS as CLASSES
from backcast.scenes.problems.convert import Wish, guess, read_any
from backcast.scenes.problems.detector import Detected, discretise, read_detected
from backcast.scenes.problems.instances import class_of
from backcast.scenes.problems.quads import read_quads
from backcast.scenes.problems.scene_graph import read_scene_graph
from backcast.scenes.problems.split import connected


def thing(name, visible=True, part="train", look="looking_at"):
    return {
        "class": name,
        "bbox": (10.0, 20.0, 30.0, 40.0) if visible else None,
        "attention_relationship": [look] if visible else None,
        "spatial_relationship": ["in_front_of", "behind"] if visible else None,
        "contacting_relationship": ["holding"] if visible else None,
        "visible": visible,
        "metadata": {"tag": "x", "set": part},
    }


def action_genome(folder, **changes):
    """Two pickles by hand: video A with 4 usable frames, one whose person is missing, one invisible object, video B too
    short."""
    things = {
        f"A.mp4/{n:06d}.png": [thing("cup/glass/bottle"), thing("table", visible=n != 24)] for n in (24, 48, 60, 72, 90)
    }
    things |= {f"B.mp4/{n:06d}.png": [thing("bed", part="test")] for n in (1, 2)}
    things["A.mp4/000096.png"] = [thing("table", visible=False)]
    box = np.array([[1, 2, 3, 4]], np.float32)
    persons = {key: {"bbox": box, "bbox_size": (480, 270), "bbox_mode": "xyxy"} for key in things}
    persons["A.mp4/000090.png"]["bbox"] = np.zeros((0, 4), np.float32)
    things.update(changes)
    for name, value in ((OBJECTS, things), (PERSONS, persons)):
        (folder / name).write_bytes(pickle.dumps(value, protocol=2))
    return folder


def test_action_genome(tmp_path):
    """Invisible objects go, an empty person box drops its frame, two frames drop a video; split, time and corners."""
    clips = read_any(str(action_genome(tmp_path)))
    assert [clip.id for clip in clips.clips] == ["A"]
    (clip,) = clips.clips
    assert [frame.index for frame in clip.frames] == [24, 48, 60, 72]
    assert [len(frame.objects) for frame in clip.frames] == [1, 2, 2, 2]
    assert (clip.split, clip.frames[0].time_s) == ("train", 1.0)
    assert clip.meta["boxes"]["24"]["cup/glass/bottle"] == [10.0, 20.0, 40.0, 60.0]
    assert clip.frames[0].objects[11] == (0, 5, 6, 14)
    assert clips.dropped == {
        "frames without a visible object": 1,
        "frames without a person box": 1,
        "videos with at most two frames": 1,
    }


def test_action_genome_faults(tmp_path):
    """A visible object without a label, an unknown label, a missing file: one line each."""
    bad = thing("table")
    bad["contacting_relationship"] = None
    with pytest.raises(BadInput, match=r"A.mp4/000048.png', table.contacting_relationship: no label"):
        read_action_genome(action_genome(tmp_path, **{"A.mp4/000048.png": [bad]}))
    with pytest.raises(BadInput, match="unknown label 'lookin_at'; did you mean 'looking_at'"):
        read_action_genome(action_genome(tmp_path, **{"A.mp4/000048.png": [thing("table", look="lookin_at")]}))
    (tmp_path / OBJECTS).unlink()
    with pytest.raises(BadInput, match="no such file"):
        read_action_genome(tmp_path)


class Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_hostile_pickle(tmp_path, protocol):
    """A pickle that would run a command is refused by name, and nothing runs."""
    action_genome(tmp_path)
    mark = tmp_path / "ran"
    (tmp_path / PERSONS).write_bytes(pickle.dumps({"a": Hostile(mark)}, protocol=protocol))
    with pytest.raises(BadInput, match=r"names '(posix|nt)\.system', which is not plain data; nothing of it was run"):
        read_action_genome(tmp_path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "call", [b"cbuiltins\neval\n(S'1'\ntR.", b"cnumpy.testing\nrundocs\n.", b"cbuiltins\ngetattr\n."]
)
def test_hostile_globals(tmp_path, call):
    """Not even builtins and numpy are trusted whole."""
    action_genome(tmp_path)
    (tmp_path / PERSONS).write_bytes(call)
    with pytest.raises(BadInput, match="not plain data"):
        read_action_genome(tmp_path)


def test_damaged_pickle(tmp_path):
    """A cut file is said to be no pickle."""
    action_genome(tmp_path)
    (tmp_path / PERSONS).write_bytes((tmp_path / PERSONS).read_bytes()[:50])
    with pytest.raises(BadInput, match="not a pickle of plain data"):
        read_action_genome(tmp_path)


def test_scene_graph(tmp_path):
    """Frames are sorted by number; keys are those of the JSON; a stray layout is refused."""
    graph = {
        "objects": ["bed"],
        "attention": {"bed": ["unsure"]},
        "spatial": {"bed": ["beneath"]},
        "contact": {"bed": ["lying_on"]},
    }
    path = tmp_path / "scene_graph.json"
    path.write_text(json.dumps({"V": {"100": graph, "24": graph}}))
    (clip,) = read_any(str(path)).clips
    assert [(frame.index, frame.time_s) for frame in clip.frames] == [(24, 1.0), (100, 100 / 24)]
    assert clip.frames[0].objects == {3: (2, 4, 16)}
    path.write_text(json.dumps({"V": {"24": {"objects": ["bed"], "attention": {}}}}))
    with pytest.raises(BadInput, match=r"video 'V', frames\[0\]\.objects\.bed\.attention: no label"):
        read_scene_graph(path)
    path.write_text("[1]")
    with pytest.raises(BadInput, match="another layout"):
        read_scene_graph(path)


def test_charades(tmp_path):
    """Intervals become a graph a second; overlapping actions share an object; faults name line and field."""
    (tmp_path / MAPPING).write_text("c000 o1 v1\nc001 o1 v2\nc002 o2 v1\n")
    (tmp_path / CLASSES).write_text("o1 cup\no2 dining table\n")
    (tmp_path / VERBS).write_text("v1 hold\nv2 drink\n")
    path = tmp_path / "Charades_v1_train.csv"
    head = "id,subject,scene,actions,length\n"
    path.write_text(
        head + "AAA,S1,Kitchen,c000 0.00 3.40;c001 1.50 2.00;c002 6.2 7.1,9\nBBB,S2,Hall,c000 1 2,9\nCCC,S3,Hall,,9\n"
    )
    clips = read_any(str(path))
    (clip,) = clips.clips
    words = clips.vocabulary
    seen = {
        f.index: {words.objects[o]: [words.predicates[r] for r in held] for o, held in f.objects.items()}
        for f in clip.frames
    }
    assert seen == {
        0: {"cup": ["hold"]},
        1: {"cup": ["hold"]},
        2: {"cup": ["drink", "hold"]},
        3: {"cup": ["hold"]},
        7: {"dining_table": ["hold"]},
    }
    assert (clip.split, clip.meta["group"], clips.dropped) == (
        "train",
        "S1",
        {"videos with at most two seconds of action": 2},
    )
    path.write_text(head + "AAA,S1,K,c000 0.00,9\n")
    with pytest.raises(BadInput, match=r"line 2, actions: .c000 0\.00. is not"):
        read_charades(path)
    path.write_text(head + "AAA,S1,K,c900 0 5,9\n")
    with pytest.raises(BadInput, match="class 'c900'"):
        read_charades(path)
    (tmp_path / VERBS).unlink()
    with pytest.raises(BadInput, match="put it beside the CSV"):
        read_charades(path)


def test_quads(tmp_path):
    """Rows in any order, several subjects, aliases, repeated rows; JSON Lines alike; faults with line and field."""
    path = tmp_path / "quads.csv"
    path.write_text("subject,relation,object,time\nann,sees,cup,2\nann,holds,cup,1\nbob,sees,cat,1\nann,sees,cup,2\n")
    clips = read_any(str(path))
    assert [(clip.id, [f.index for f in clip.frames]) for clip in clips.clips] == [("ann", [1, 2]), ("bob", [1])]
    assert (clips.vocabulary.objects, clips.vocabulary.predicates) == (("cat", "cup"), ("holds", "sees"))
    lines = tmp_path / "quads.jsonl"
    lines.write_text('{"clip": "x", "predicate": "sees", "object": "cup", "time": 3, "group": "senses"}\n')
    assert read_any(str(lines)).vocabulary.group_names == ("senses",)
    for text, said in (
        ("subject,relation,object,time\nann,sees,cup,soon\n", "line 2, time: 'soon'"),
        ("subject,relation,object,time\nann,sees,,1\n", "line 2, object: missing"),
        ("subject,relation,objekt,time\nann,sees,x,1\n", "unknown column 'objekt'; did you mean 'object'"),
        ("subject,relation,object,time\na,b,c,1,9\n", "line 2: more fields"),
        ("subject,relation,object,time\n", "no quadruples"),
    ):
        path.write_text(text)
        with pytest.raises(BadInput, match=said):
            read_quads(path)


def test_detector_threshold(tmp_path):
    """A probability of .45 is below one half and .55 above: compared once, no second sigmoid."""
    objects, predicates = np.zeros((1, 37)), np.zeros((1, 37, 26))
    objects[0, [11, 32]] = 0.55, 0.45
    predicates[0, 11, [0, 1, 5, 14, 21]] = 0.6, 0.4, 0.55, 0.55, 0.45
    seen = Detected("a", np.array([7]), objects, predicates)
    (clip,) = discretise([seen], ACTION_GENOME).clips
    assert clip.frames[0].objects == {11: (0, 5, 14)}
    np.savez(tmp_path / "a.npz", index=seen.index, objects=objects, predicates=predicates)
    assert read_any(str(tmp_path)).clips == (clip,)
    np.savez(tmp_path / "a.npz", index=seen.index, objects=objects, predicates=predicates * 3)
    with pytest.raises(BadInput, match="give probabilities, not logits"):
        read_detected(tmp_path, ACTION_GENOME)
    np.savez(tmp_path / "a.npz", index=seen.index, objects=objects[:, :5], predicates=predicates)
    with pytest.raises(BadInput, match=r"objects: shape \(1, 5\)"):
        read_detected(tmp_path, ACTION_GENOME)


def test_detector_keeps_a_label():
    """A group that must have a label takes its best, however unsure."""
    objects, predicates = np.zeros((1, 37)), np.zeros((1, 37, 26))
    objects[0, 11] = 0.9
    predicates[0, 11, [1, 4, 20]] = 0.2, 0.1, 0.3
    (clip,) = discretise([Detected("a", np.array([7]), objects, predicates)], ACTION_GENOME).clips
    assert clip.frames[0].objects == {11: (1, 4, 20)}


def test_unknown_layouts(tmp_path):
    """What no reader knows is said in one line."""
    for source, said in (("houshold", "did you mean 'household'"), (str(tmp_path), "say --layout, one of")):
        with pytest.raises(BadInput, match=said):
            guess(source)
    (tmp_path / "x.txt").write_text("")
    folder = tmp_path / "clips"
    folder.mkdir()
    (folder / "graphs.json").write_text("{}")
    with pytest.raises(BadInput, match=r"name a file, such as '.*graphs\.json'"):
        read_any(str(folder))
    with pytest.raises(BadInput, match=r"no layout known by '\.txt'"):
        guess(str(tmp_path / "x.txt"))
    with pytest.raises(BadInput, match="unknown layout 'quad'; did you mean 'quads'"):
        read_any("x", "quad")


def test_connected():
    """Items that share a key, directly or through others, are one group."""
    assert connected([("a", 1), ("b", 1), ("b", 2), ("c", 3)]) == [0, 0, 0, 1]


@pytest.fixture(scope="module")
def virtualhome():
    """The package's wheel, from the folder that ``VIRTUALHOME`` names or the installed package."""
    import importlib.util

    named = os.environ.get("VIRTUALHOME", "virtualhome")
    if not Path(named).exists() and importlib.util.find_spec("virtualhome_eval") is None:
        pytest.skip("virtualhome-eval is not installed; name its wheel in VIRTUALHOME")
    return named


def test_virtualhome(virtualhome):
    """Programs are replayed: the character's edges, CLOSE to rooms left out, groups that tie variants together."""
    clips = read_any(virtualhome, "virtualhome", Wish(limit=20))
    assert len(clips.clips) == 20
    words = clips.vocabulary
    assert set(words.group_names) <= {"on", "inside", "between", "close", "facing", "holds_rh", "holds_lh", "sitting"}
    assert "character" not in words.objects
    variants = {clip.id: clip.meta["group"] for clip in clips.clips}
    stems = {}
    for name, group in variants.items():
        stems.setdefault(name.rpartition("_")[0], set()).add(group)
    assert all(len(groups) == 1 for groups in stems.values())
    assert read_any(virtualhome, "virtualhome", Wish(limit=20)).clips == clips.clips
    apart = read_any(virtualhome, "virtualhome", Wish(limit=20, instances=True))
    assert any(name.endswith("#2") for name in apart.vocabulary.objects)
    assert {class_of(name) for name in apart.vocabulary.objects} == set(words.objects)
    for clip, same in zip(apart.clips, clips.clips, strict=True):
        for frame, merged in zip(clip.frames, same.frames, strict=True):
            kinds = {class_of(apart.vocabulary.objects[o]) for o in frame.objects}
            assert kinds == {words.objects[o] for o in merged.objects}


def test_virtualhome_missing(tmp_path):
    """Without the package the message says how to get it."""
    with pytest.raises(BadInput, match="pip install --no-deps virtualhome-eval"):
        read_any(str(tmp_path / "nowhere"), "virtualhome")
