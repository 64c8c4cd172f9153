"""Text and back without loss, free text mended, and the grammar of a request with its scores."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backcast.core.errors import BadInput
from backcast.scenes.grammar import Labelling, Listing, Trie, likelihood, sample
from backcast.scenes.problems import ACTION_GENOME, Frame, Group, Vocabulary
from backcast.scenes.render import (
    labelling_text,
    listing_text,
    object_text,
    parse_labels,
    parse_scene,
    read_labelling,
    read_listing,
    scene_text,
)
from tests.scenes import worked

IDS, LABELS = ACTION_GENOME.object_ids, ACTION_GENOME.predicate_ids
OPEN = Vocabulary(
    ("paper cup", "map/plan", "in"),
    (Group("g", ("in", "in_front_of", "p"), allow_empty=True), Group("h", ("q q", "r"), arity="one")),
)


def graphs(words):
    """Frames of a vocabulary, with repeats of the graph before."""

    @st.composite
    def draw_frames(draw):
        found, graph = [], {}
        for index in sorted(draw(st.sets(st.integers(0, 999), min_size=1, max_size=6))):
            if not found or draw(st.booleans()):
                graph = {}
                for o in draw(st.lists(st.sampled_from(words.candidates), unique=True, max_size=4)):
                    held = []
                    for group, ids in zip(words.groups, words.slices, strict=True):
                        least = 0 if group.allow_empty else 1
                        most = 1 if group.arity == "one" else 3
                        held += draw(
                            st.lists(st.integers(ids.start, ids.stop - 1), unique=True, min_size=least, max_size=most)
                        )
                    graph[o] = tuple(sorted(held))
            found.append(Frame(index, graph))
        return tuple(found)

    return draw_frames()


@settings(max_examples=500)
@given(st.one_of(graphs(ACTION_GENOME).map(lambda f: (f, ACTION_GENOME)), graphs(OPEN).map(lambda f: (f, OPEN))))
def test_lossless(drawn):
    """parse(text(frames)) == frames, for names with p, slashes, spaces, several labels and none."""
    frames, words = drawn
    assert parse_scene(scene_text(frames, words), words) == frames


def test_runs():
    """Equal consecutive graphs share a header, whatever their order of objects; a gap keeps runs apart."""
    a, b = {11: (0, 5, 14), 32: (1, 5, 17)}, {32: (1, 5, 17), 11: (0, 5, 14)}
    text = scene_text((Frame(4, a), Frame(9, b), Frame(12, {}), Frame(20, a)), ACTION_GENOME)
    assert text.split("\n") == [
        "Frame 4, 9:",
        "- cup/glass/bottle: looking_at; in_front_of; holding",
        "- table: not_looking_at; in_front_of; not_contacting",
        "Frame 12:",
        "Frame 20:",
        "- cup/glass/bottle: looking_at; in_front_of; holding",
        "- table: not_looking_at; in_front_of; not_contacting",
    ]
    assert object_text((Frame(4, a), Frame(9, b), Frame(12, {}), Frame(20, a)), 11, ACTION_GENOME).split("\n") == [
        "Frame 4, 9: looking_at; in_front_of; holding",
        "Frame 12: nothing",
        "Frame 20: looking_at; in_front_of; holding",
    ]


def test_answers():
    """The two targets of the worked frames, each with its end."""
    assert (
        listing_text(worked.TRUTH, ACTION_GENOME)
        == "Frame 20: cup/glass/bottle, table\nFrame 30: chair, cup/glass/bottle, table\nend"
    )
    assert labelling_text(worked.TRUTH, IDS["chair"], ACTION_GENOME) == (
        "Frame 30: not_looking_at; beneath, behind; leaning_on, sitting_on\nend"
    )


def test_strict():
    """The strict parser names line and fault."""
    for text, said in (
        ("Frame 1:\n- cap: x", "line 2: unknown object 'cap'"),
        ("- table: x", "line 1: '- table: x' is neither"),
        ("Frame 1:\n- table: unsure; in", "2 groups of labels, expected 3"),
        ("Frame 1:\n- table: unsure; in; hold", "unknown label 'hold' of contacting"),
    ):
        with pytest.raises(BadInput, match=said):
            parse_scene(text, ACTION_GENOME)


def test_lenient_listing():
    """Free text: exact structures, and what had to be mended."""
    text = """Sure! Here is the forecast.
Frame 10: Cup/Glass/Bottle, table, sword.
- frame 20: table, table
Frame 20: laptop
Frame 99: bed
Hope this helps."""
    read = read_listing(text, [5, 10, 20, 30], ACTION_GENOME)
    cup, table, laptop = IDS["cup/glass/bottle"], IDS["table"], IDS["laptop"]
    assert read.frames == {5: (cup, table), 10: (cup, table), 20: (laptop,), 30: (laptop,)}
    assert read.mended == {
        "prose": 2,
        "case": 1,
        "unknown names": 1,
        "repeats": 1,
        "frames given twice": 1,
        "frames not asked for": 1,
        "missing frames": 2,
    }
    assert read_listing(listing_text(worked.TRUTH, ACTION_GENOME), [20, 30], ACTION_GENOME).mended == {}
    assert read_listing("no idea", [1], ACTION_GENOME).frames == {1: ()}


def test_lenient_labelling():
    """Lists with and without spaces, spaces for underscores, the long form."""
    text = """Frame 10: looking_at; in_front_of; holding, touching
Frame 20: attention: looking at, spatial: in front of, contacting: drinking from.
Frame 30: Looking_at;in_front_of,behind;holding,touching"""
    read = read_labelling(text, [10, 20, 30], ACTION_GENOME)
    ids = [LABELS[name] for name in ("looking_at", "in_front_of", "behind", "holding", "touching", "drinking_from")]
    look, front, behind, hold, touch, drink = ids
    assert read.frames == {
        10: tuple(sorted((look, front, hold, touch))),
        20: tuple(sorted((look, front, drink))),
        30: tuple(sorted((look, front, behind, hold, touch))),
    }
    assert read.mended == {"long form": 1, "case": 1}


class Bigrams:
    """An untrained model: a random table of what follows what, over bytes."""

    def __init__(self, seed):
        table = np.random.default_rng(seed).normal(0, 3, (256, 256))
        self.table = table - np.logaddexp.reduce(table, 1, keepdims=True)

    def encode(self, text):
        return list(text.encode())

    def next(self, tokens):
        return self.table[tokens[-1]]


SMALL = Vocabulary(
    ("cup", "paper", "paper cup"),
    (
        Group("look", ("looking_at", "not_looking_at"), arity="one"),
        Group("place", ("in", "in_front_of")),
        Group("touch", ("p", "q"), allow_empty=True),
    ),
)


@pytest.mark.parametrize("stage", [1, 2])
def test_every_sample_parses(stage):
    """500 draws at temperature 2 from an untrained model: each frame once, in order, no repeats, one look."""
    model, rng = Bigrams(stage), np.random.default_rng(0)
    request = (Listing if stage == 1 else Labelling)(SMALL, (7, 12, 19))
    seen = set()
    for _ in range(500):
        text = sample(model, "Answer:\n", request, rng, temperature=2.0)
        *lines, end = text.split("\n")
        assert end == "end"
        assert [line.partition(": ")[0] for line in lines] == ["Frame 7", "Frame 12", "Frame 19"]
        for line in lines:
            words = line.partition(": ")[2]
            seen.add(words)
            if stage == 1:
                names = words.split(", ")
                assert words == "nothing" or set(names) <= set(SMALL.objects)
                assert len(set(names)) == len(names)
            else:
                parts = words.split("; ")
                held = parse_labels(words, SMALL, "")
                assert len(held) == sum(len(part.split(", ")) for part in parts if part != "None")
                assert sum(r < 2 for r in held) == 1
                assert any(2 <= r < 4 for r in held)
        read = (read_listing if stage == 1 else read_labelling)(text, (7, 12, 19), SMALL)
        assert not read.mended
    assert len(seen) > 6


class Known:
    """A model of known token probabilities over the letters of a few strings."""

    def __init__(self, chances):
        self.chances = chances

    def encode(self, text):
        return [ord(c) for c in text]

    def next(self, tokens):
        logs = np.full(256, math.log(1e-9))
        for token, p in self.chances[chr(tokens[-1])].items():
            logs[ord(token)] = math.log(p)
        return logs


def test_scores_by_hand():
    """Products of renormalised token probabilities; labels that begin alike do not leak; they sum to one."""
    model = Known(
        {">": {"i": 0.3, "o": 0.1, "x": 0.6}, "i": {"n": 1.0}, "n": {";": 0.2, "_": 0.6, "z": 0.2}, "o": {"n": 0.5}}
    )
    found = Trie(model, ("in;", "in_f;", "on;")).probabilities(model, [ord(">")])
    want = {"in;": 0.75 * 0.25, "in_f;": 0.75 * 0.75, "on;": 0.25}
    assert found == pytest.approx(want)
    assert sum(found.values()) == pytest.approx(1, abs=1e-6)
    with pytest.raises(BadInput, match="use other names"):
        Trie(model, ("in", "in_f"))


@pytest.mark.parametrize("stage", [1, 2])
def test_likelihood_is_a_distribution(stage):
    """The log-probabilities of all texts of a small request sum to one; an illegal string is refused."""
    words = Vocabulary(("a", "b"), (Group("g", ("p", "q"), arity="one"), Group("h", ("r", "s"), allow_empty=True)))
    request = (Listing if stage == 1 else Labelling)(words, (3,))
    model = Bigrams(4)
    total, texts = 0.0, [[]]
    while texts:
        chosen = texts.pop()
        more = request.slot(chosen)
        if not more:
            total += math.exp(likelihood(model, "x", request, chosen))
        texts += [[*chosen, string] for string in more]
    assert total == pytest.approx(1, abs=1e-6)
    with pytest.raises(BadInput, match="may not stand there"):
        likelihood(model, "x", request, ["Frame 4: "])
