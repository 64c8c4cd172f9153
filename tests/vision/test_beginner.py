"""The small model: its vocabulary, the boxes of its traces, what its eye is taught, and that a teaching goes on."""

import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from backcast.core.errors import BadInput
from backcast.lm.local_sight import LocalSight
from backcast.lm.small_sight import Shape
from backcast.vision.beginner import point, tower
from backcast.vision.beginner.begin import looking, make, teach
from backcast.vision.beginner.settings import AIM, SCENES, Eye, Point
from backcast.vision.beginner.words import grid_numbers, phrases
from backcast.vision.looker.boxes import Box
from backcast.vision.problems.problem import make as make_problem
from backcast.vision.problems.scenes import COLOURS, Tile, generate, generate_tiles
from backcast.vision.stages import template
from backcast.vision.warmup.masks import mask
from backcast.vision.warmup.mix import Aim
from backcast.vision.warmup.traces import RuleWriter, build, synthesise

TINY = Shape(hidden=32, layers=1, heads=2, tower=16, tower_layers=1, patch=4, cells=3)

HARD = replace(SCENES, easy=0.0)


@pytest.fixture(scope="module")
def parts():
    return make(template(), SCENES, AIM, TINY, 0)


def test_phrases_are_what_recurs_around_what_changes():
    texts = [
        f"<|a|>rule 5 of 7<|b|>the {c} tile at {n}<|c|>" for c, n in (("red", "0.10"), ("blue", "0.35"), ("red", "7"))
    ]
    found = phrases(texts, ["red", "blue"], ["0.10", "0.35"])
    assert set(found) == {
        "system\n",
        "user\n",
        "assistant\n",
        "rule 5 of 7",
        "the ",
        " tile at ",
        "red",
        "blue",
        "0.10",
        "0.35",
    }
    assert found == sorted(found, key=lambda piece: (-len(piece), piece))


def test_numbers_of_a_grid_as_calls_and_results_write_them():
    assert set(grid_numbers(0.5)) == {"0.0", "0.5", "1.0", "0.000", "0.500", "1.000"}


def test_a_trace_is_short_in_its_vocabulary_and_any_text_survives(parts):
    lm = LocalSight(*parts)
    settings = looking(TINY)
    (trace,), _ = synthesise(generate(1, SCENES, 5), settings=settings, aim=AIM, mixes={"image": {"single-pass": 1.0}})
    text = lm.render(trace.turns, trace.tools, opened=False)
    ids = lm.tokenizer(text, add_special_tokens=False).input_ids
    assert len(ids) < 70
    assert lm.tokenizer.decode(ids) == text
    strange = "Ünïcode 0.123 and <tool_call>"
    assert lm.tokenizer.decode(lm.tokenizer(strange, add_special_tokens=False).input_ids) == strange


@given(
    st.floats(0, 0.9),
    st.floats(0, 0.9),
    st.floats(0.02, 0.1),
    st.sampled_from([(288, 288), (400, 300)]),
    st.integers(0, 99),
)
def test_aimed_boxes_lie_on_the_grid_and_keep_their_promises(x, y, side, size, seed):
    """A right one holds the reference's middle and all of one that is half its size; a wrong one shares nothing."""
    wide, high = size
    reference = Box(x * wide, y * high, (x + side) * wide, (y + side) * high, "own")
    right = AIM.at(reference, size)
    assert (
        right.contains(Box(*(round(n, 6) for n in reference.numbers), "own"))
        or right.overlap(reference) >= 0.99 * reference.area()
    )
    wrong = AIM.elsewhere(reference, size, random.Random(seed))
    assert wrong is not None
    assert wrong.overlap(reference) < 1e-6
    wider = AIM.widened(reference, size)
    assert wider.overlap(reference) == pytest.approx(reference.area())
    for box in (right, wrong, wider):
        for number in box.in_frame("unit", size).numbers:
            assert number / AIM.grid == pytest.approx(round(number / AIM.grid), abs=1e-6)
            assert -1e-9 <= number <= 1 + 1e-9


@pytest.mark.parametrize(("side", "grid"), [(0.2, 0.03), (0.0, 0.05), (0.25, 0.1), (0.2, 0.0)])
def test_an_aim_off_its_grid_is_refused(side, grid):
    with pytest.raises(BadInput, match="multiple of grid"):
        Aim(side, grid)


def test_targets_by_hand():
    """Three cells a side, 30 pixels each: one tile in the middle cell, one whose middle is outside, one too small."""
    tiles = [
        Tile("red", 7, (39.0, 42.0, 57.0, 60.0)),
        Tile("blue", 3, (-30.0, 0.0, -6.0, 24.0)),
        Tile("green", 5, (4.0, 80.0, 10.0, 86.0)),
    ]
    found = tower.targets([tiles], 90, 3)
    none, known = len(COLOURS), sorted(COLOURS)
    assert found.colour[0].tolist() == [none] * 4 + [known.index("red")] + [none, known.index("green"), none, none]
    assert found.x[0, 4] == round(48 / 90 * 20)
    assert found.y[0, 4] == round(51 / 90 * 20)
    assert found.digit[0, 4] == 7
    assert found.digit[0, 6] == -100  # 6 pixels are not to be read
    assert (found.x[0] == -100).sum() == 7


def test_a_part_moves_its_tiles_with_it():
    problem, tiles = next(generate_tiles(1, SCENES, 3))
    box = tiles[0].box
    around = (box[0] - 12, box[1] - 12, box[2] + 12, box[3] + 12)
    shown, moved = tower.part(problem.media().images[0], tiles, around, 96)
    assert shown.size == (96, 96)
    assert moved[0].box == pytest.approx([n * 96 / 49 for n in (12, 12, 37, 37)])
    assert shown.getpixel((29, 29)) == pytest.approx(COLOURS[tiles[0].colour], abs=12)


def test_tiles_keep_their_gap():
    for _, (one, other) in generate_tiles(30, SCENES, 1):
        across = max(other.box[0] - one.box[2], one.box[0] - other.box[2])
        down = max(other.box[1] - one.box[3], one.box[1] - other.box[3])
        assert max(across, down) >= SCENES.gap


def test_a_teaching_that_was_cut_off_ends_as_if_whole(tmp_path):
    """Half of the steps, then the rest from the checkpoint: the same weights to the last bit, and they have moved."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir(), cut.mkdir()
    eye = Eye(steps=4, batch=6, scenes=6, save_every=2)
    first = make(template(), SCENES, AIM, TINY, 0)
    before = first[0].model.visual.patch_embed.proj.weight.clone()
    taught = teach(whole, first, HARD, eye, TINY, 0)
    assert not torch.equal(before, first[0].model.visual.patch_embed.proj.weight)
    assert set(taught.right) == {"colour", "x", "y"}  # no digit can be read at this size
    killed = make(template(), SCENES, AIM, TINY, 0)

    class Killed(BaseException):
        pass

    calls = []

    def stop(*given):
        calls.append(given)
        if len(calls) == 4:
            raise Killed
        return real(*given)

    real, tower.features = tower.features, stop
    try:
        with pytest.raises(Killed):
            teach(cut, killed, HARD, eye, TINY, 0)
    finally:
        tower.features = real
    again = make(template(), SCENES, AIM, TINY, 0)
    assert teach(cut, again, HARD, eye, TINY, 0) == taught
    one, other = (folder / "model" / "model.safetensors" for folder in (whole, cut))
    assert one.read_bytes() == other.read_bytes()


def test_the_eye_is_shown_other_scenes_after_its_fresh_steps(tmp_path):
    """Two teachings that differ in nothing else agree until the scenes change, and not after."""
    logs = []
    for fresh in (1, 9):
        folder = tmp_path / str(fresh)
        folder.mkdir()
        eye = Eye(steps=2, batch=4, scenes=5, fresh=fresh, save_every=2)
        teach(folder, make(template(), SCENES, AIM, TINY, 0), SCENES, eye, TINY, 0)
        logs.append([row["loss"] for row in torch.load(folder / "eye.pt", weights_only=True)["log"]])
    assert logs[0][0] == logs[1][0]
    assert logs[0][1] != logs[1][1]


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_lesson_is_what_the_traces_of_its_tiles_say(parts, number):
    """Token by token and pixel by pixel real traces about new scenes; every tile of a scene is asked for."""
    lm, settings = LocalSight(*parts), looking(TINY)
    lessons = point.Lessons(lm, SCENES, AIM, settings, 0)
    one = lessons.exercises[number]
    kind = "single-pass" if one.name == "look" else "text-only"
    inputs = lessons.batch(one, 3, 4, False)
    found = list(generate_tiles(2, one.scenes, random.Random(f"0:{one.name}:3").getrandbits(60)))
    asked = [(problem, tile) for problem, tiles in found for tile in tiles]
    rows = []
    for problem, tile in asked:
        about = make_problem(f"Which digit is on the {tile.colour} tile?", (str(tile.digit),), given=problem.given)
        trace = build(replace(about, box=tile.box), kind, random.Random(0), RuleWriter(), settings, AIM, number < 2)
        rows.append((mask(lm, trace.turns, trace.right, trace.tools), [p for t in trace.turns for p in t.pictures]))
    for row, (masked, _) in enumerate(rows):
        assert tuple(inputs["input_ids"][row].tolist()) == masked.ids
        assert tuple(inputs["labels"][row].tolist()) == masked.labels
    pixels = lm.encode([masked.text for masked, _ in rows], [pictures for _, pictures in rows])["pixel_values"]
    assert torch.equal(inputs["pixel_values"], pixels)
    again, other = lessons.batch(one, 3, 4, False), lessons.batch(one, 4, 4, False)
    assert torch.equal(again["pixel_values"], inputs["pixel_values"])
    assert not torch.equal(other["pixel_values"], inputs["pixel_values"])
    assert not torch.equal(lessons.batch(one, 3, 4, True)["pixel_values"], inputs["pixel_values"])


def test_a_lesson_adds_its_exercises_by_their_shares(parts):
    lm = LocalSight(*parts)
    lessons = point.Lessons(lm, SCENES, AIM, looking(TINY), 0)
    with torch.no_grad():
        value, told = lessons.lesson(5, 4, False)
        each = [
            lessons.loss(one, lessons.batch(one, 5, n, False))
            for one, n in zip(lessons.exercises, (4, 2, 1), strict=True)
        ]
    assert float(value) == pytest.approx(
        sum(w * float(v) for w, (v, _) in zip((1.0, 0.5, 0.25), each, strict=True)), rel=1e-5
    )
    assert told == {name: share for _, right in each for name, share in right.items()}
    assert set(told) == {"x", "y", "look", "tell", "bare", "look named", "tell named"}


def test_pointing_is_learnt_by_the_decoder_alone_and_goes_on_where_it_was_cut(tmp_path, monkeypatch):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.mkdir(), cut.mkdir()
    settings = Point(steps=4, batch=4, alone=1, save_every=2)
    first = make(template(), SCENES, AIM, TINY, 0)
    eye = first[0].model.visual.pos_embed.weight.clone()
    embedding = first[0].get_input_embeddings().weight.clone()
    log, right = point.teach(whole, first, SCENES, settings, looking(TINY), 0)
    assert torch.equal(eye, first[0].model.visual.pos_embed.weight)
    assert not torch.equal(embedding, first[0].get_input_embeddings().weight)
    assert set(right) == {"x", "y", "look", "tell", "bare", "look named", "tell named"}

    real = point.Lessons.lesson

    def stop(self, step, count, alone):
        if step == 3:
            raise KeyboardInterrupt
        return real(self, step, count, alone)

    second = make(template(), SCENES, AIM, TINY, 0)
    monkeypatch.setattr(point.Lessons, "lesson", stop)
    with pytest.raises(KeyboardInterrupt):
        point.teach(cut, second, SCENES, settings, looking(TINY), 0)
    monkeypatch.undo()
    third = make(template(), SCENES, AIM, TINY, 0)
    assert point.teach(cut, third, SCENES, settings, looking(TINY), 0) == (log, right)
    one, other = (folder / "model" / "model.safetensors" for folder in (whole, cut))
    assert one.read_bytes() == other.read_bytes()


def test_the_head_names_the_place_at_the_colours_own_tokens(parts):
    """Its loss by hand from the states at the colour's tokens, beside the plain loss of the model."""
    lm, settings = LocalSight(*parts), looking(TINY)
    lessons, plain = (point.Lessons(lm, SCENES, AIM, settings, 0, naming) for naming in (0.3, 0.0))
    one = lessons.exercises[0]
    inputs = lessons.batch(one, 0, 2, False)
    with torch.no_grad():
        value, told = lessons.loss(one, inputs)
        bare, shares = plain.loss(one, inputs)
        given = {name: tensor for name, tensor in inputs.items() if name != "labels"}
        states = lm.model(**given, output_hidden_states=True).hidden_states[-1]
        assert bare == pytest.approx(float(lm.model(**inputs).loss), rel=1e-5)
    losses, right = [], []
    for row in range(2):
        words = [lm.tokenizer.decode([token]) for token in inputs["input_ids"][row]]
        edges = [round(float(word) / AIM.grid) for word in words if point.NUMBER.fullmatch(word)][:2]
        for at in (at for at, word in enumerate(words) if word in COLOURS):
            scores = lessons.head(states[row, at]).view(3, 31)[:2].log_softmax(-1).detach()
            losses += [-float(scores[axis, edge]) for axis, edge in enumerate(edges)]
            right += [int(scores[axis].argmax()) == edge for axis, edge in enumerate(edges)]
    assert len(losses) == 8  # two rows, the colour in question and call, two edges
    assert float(value - bare) == pytest.approx(0.3 * sum(losses) / 8, rel=1e-4)
    assert told == {**shares, "look named": sum(right) / 8}


def test_the_head_is_taught_and_thrown_away(tmp_path):
    settings = Point(steps=2, batch=2, alone=0, save_every=2)
    made = make(template(), SCENES, AIM, TINY, 0)
    names = {*made[0].state_dict()}
    fresh = point.Lessons(LocalSight(*made), SCENES, AIM, looking(TINY), 0).head.weight
    point.teach(tmp_path, made, SCENES, settings, looking(TINY), 0)
    kept = torch.load(tmp_path / "point.pt", weights_only=True)["head"]["weight"]
    assert kept.shape == fresh.shape
    assert not torch.equal(kept, fresh)
    with safe_open(tmp_path / "model" / "model.safetensors", "pt") as saved:
        assert set(saved.keys()) <= names


def test_a_vocabulary_without_the_grid_cannot_be_taught_to_point():
    from backcast.lm.tiny import tiny_vlm

    model, processor = tiny_vlm()
    processor.chat_template = processor.tokenizer.chat_template = template()
    with pytest.raises(ValueError, match="vocabulary must hold"):
        point.Lessons(LocalSight(model, processor), SCENES, AIM, looking(TINY), 0)


def test_the_tower_tells_where_a_patch_lies(parts):
    """Equal patches, other places, other features: without that no place could be read off a cell."""
    from PIL import Image

    model, processor = parts
    with torch.no_grad():
        (cells,) = tower.features(model, processor, [Image.new("RGB", (24, 24), (120, 120, 120))])
    apart = torch.cdist(cells, cells) + torch.eye(len(cells)) * 9
    assert cells.shape == (9, 32)
    assert apart.min() > 1e-3


def test_bad_sizes_and_videos_are_refused(tmp_path):
    with pytest.raises(BadInput, match="multiple of 4 x heads"):
        Shape(hidden=30)
    with pytest.raises(BadInput, match="set frames to 0"):
        teach(tmp_path, (None, None), replace(SCENES, frames=4), Eye(steps=1), TINY, 0)
