"""Visual problems: readers of every layout, scores, and the generator with its knob."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from backcast.core.errors import BadInput
from backcast.vision.problems import Scenes, anls, generate, read_problems, write_problems
from backcast.vision.problems.problem import edits, make
from backcast.vision.problems.scenes import COLOURS


def write(folder, name, rows):
    text = json.dumps(rows) if name.endswith(".json") else "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text)
    return folder / name


@pytest.fixture
def pictures(tmp_path):
    for name in ("a.png", "b.png"):
        Image.new("RGB", (60, 40), (9, 99, 9)).save(tmp_path / name)
    return tmp_path


def test_our_lines(pictures):
    rows = [
        {"prompt": "How many?", "answer": 3, "kind": "numeric", "image": "a.png", "box": [1, 2, 30, 20]},
        {"question": "Which?", "answer": "bus", "options": ["car", "bus"], "images": ["a.png", "b.png"], "id": "q2"},
    ]
    first, second = read_problems(write(pictures, "q.jsonl", rows))
    assert (first.answer, first.kind, first.media().boxes) == ("3", "numeric", ((1.0, 2.0, 30.0, 20.0),))
    assert (second.id, second.answer, second.kind) == ("q2", "B", "choice")
    assert len(second.media().images) == 2
    assert "(A) car\n(B) bus" in second.prompt


def test_vstar_with_boxes_beside_the_image(pictures):
    text = "What is the glove made of?\n(A) rubber\n(B) cotton"
    row = {"image": "a.png", "text": text, "label": "A", "category": "direct_attributes", "question_id": "0"}
    (pictures / "a.json").write_text(json.dumps({"bbox": [[10, 5, 20, 10], [2, 8, 4, 4]]}))
    (problem,) = read_problems(write(pictures, "test_questions.jsonl", [row]))
    assert (problem.group, problem.kind, problem.box) == ("direct_attributes", "choice", (2.0, 5.0, 30.0, 15.0))
    assert problem.score("It is rubber. \\boxed{(A)}").value == 1
    assert problem.score("\\boxed{B}").value == 0


def test_tallyqa(pictures):
    row = {"image": "b.png", "answer": 2, "question": "How many red cars?", "issimple": False, "question_id": 30}
    (problem,) = read_problems(write(pictures, "test.json", [row]))
    assert (problem.group, problem.kind, problem.id) == ("complex", "numeric", "30")
    assert problem.right("The answer is 2.")


def test_infographicvqa(pictures):
    row = {"questionId": 7, "question": "What share?", "image_local_name": "a.png", "answers": ["25%", "25 percent"]}
    (problem,) = read_problems(write(pictures, "v1.json", {"dataset_split": "val", "data": [row]}))
    assert problem.score("\\boxed{25 %}").value == pytest.approx(0.75)
    assert problem.score("\\boxed{25 percent}").value == 1


def test_mvbench(pictures):
    (pictures / "clip").mkdir()
    Image.new("RGB", (60, 40)).save(pictures / "clip" / "1.png")
    row = {"video": "clip", "question": "What happens?", "candidates": ["falls", "rises"], "answer": "rises"}
    (problem,) = read_problems(write(pictures, "action.json", [row]))
    assert problem.answer == "B"
    assert problem.media().video
    assert problem.right("\\boxed{rises}")
    assert problem.right("(B)")
    assert not problem.right("But it falls, or so it seems to me.")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "?", "answer": "1", "image": "none.png"}, "line 1: no image"),
        ({"prompt": "?", "image": "a.png"}, "line 1: no 'answer'"),
        ({"prompt": "?", "answer": "1", "kind": "odd", "image": "a.png"}, "kind 'odd'"),
        ({"prompt": "?", "answer": "1", "image": "a.png", "box": [3, 3, 1, 4]}, "x1 < x2"),
        ({"prompt": "?", "answer": "x", "options": ["a", "b"], "image": "a.png"}, "neither one of the options"),
        ({"prompt": "?", "answer": "1"}, "layout cannot be told"),
    ],
)
def test_bad_records_are_named(pictures, row, said):
    with pytest.raises(BadInput, match=said):
        read_problems(write(pictures, "q.jsonl", [row]))


def test_bad_files_are_named(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        read_problems(tmp_path / "none.json")
    with pytest.raises(BadInput, match="did you mean 'vstar'"):
        read_problems(write(tmp_path, "x.json", []), layout="vstr")
    with pytest.raises(BadInput, match="holds no questions"):
        read_problems(write(tmp_path, "x.json", []))


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_against_its_definition(a, b):
    def slow(i, j):
        if not i or not j:
            return i + j
        return min(slow(i - 1, j) + 1, slow(i, j - 1) + 1, slow(i - 1, j - 1) + (a[i - 1] != b[j - 1]))

    assert edits(a, b) == slow(len(a), len(b))


def test_anls_by_hand():
    assert anls("Red", ("red",)) == 1
    assert anls("rex", ("red",)) == pytest.approx(2 / 3)
    assert anls("axx", ("red",)) == 0  # further away than a half
    assert anls("abcd", ("abxx",)) == 0  # exactly a half


def test_unscored_is_not_wrong():
    assert make("?", ("1",)).score(None).value is None


# ---------------------------------------------------------------- generated scenes


def test_a_scene_holds_what_it_says():
    """The asked tile's colour fills its box and nothing else has it; the same seed gives the same scene."""
    for problem in generate(6, Scenes(), seed=1):
        image = np.asarray(problem.media().images[0]).astype(int)
        colour = COLOURS[problem.question.split()[-2]]
        x1, y1, x2, y2 = map(int, problem.box)
        inside = np.abs(image - colour).sum(-1) == 0
        assert inside[y1:y2, x1:x2].mean() > 0.5
        assert inside.sum() == inside[y1:y2, x1:x2].sum()
    again = generate(3, Scenes(), seed=1)[2]
    assert np.array_equal(
        np.asarray(again.media().images[0]), np.asarray(generate(6, Scenes(), seed=1)[2].media().images[0])
    )


def test_the_knob_makes_tiles_small_against_the_overviews_cells():
    small, large = Scenes(ratio=0.2), Scenes(ratio=0.8, tiles=2)
    assert (small.tile, large.tile) == (22, 90)
    assert {problem.answer for problem in generate(60, Scenes(digits=3), seed=0)} == {"0", "1", "2"}
    mixed = generate(200, Scenes(easy=0.5), seed=0)
    share = np.mean([problem.group == "large" for problem in mixed])
    assert 0.4 < share < 0.6
    assert {p.box[2] - p.box[0] for p in mixed if p.group == "small"} == {28.0}


def test_videos_show_the_tiles_in_one_frame():
    (problem,) = generate(1, Scenes(frames=5), seed=3)
    media = problem.media()
    colour = COLOURS[problem.question.split()[-2]]
    shown = [
        i + 1
        for i, image in enumerate(media.images)
        if (np.abs(np.asarray(image).astype(int) - colour).sum(-1) == 0).sum() > 50
    ]
    assert tuple(shown) == problem.moments


def test_written_problems_are_read_back(tmp_path):
    problems = [
        *generate(3, Scenes(canvas=112, ratio=0.5), seed=2),
        *generate(1, Scenes(canvas=112, ratio=0.5, frames=3), 5),
    ]
    problems[3] = problems[3].__class__(**{**vars(problems[3]), "id": "film"})
    back = read_problems(write_problems(problems, tmp_path))
    for one, other in zip(problems, back, strict=True):
        assert (one.id, one.question, one.answers, one.box, one.moments) == (
            other.id,
            other.question,
            other.answers,
            other.box,
            other.moments,
        )
        pairs = zip(one.media().images, other.media().images, strict=True)
        assert all(np.array_equal(np.asarray(a), np.asarray(b)) for a, b in pairs)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tiles": 9}, "tiles must be"),
        ({"ratio": 0.01}, "hold no digit"),
        ({"ratio": 3.0}, "do not fit"),
        ({"easy": 2}, "share"),
        ({"digits": 1}, "from 2 to 10"),
    ],
)
def test_impossible_scenes_are_refused(change, said):
    with pytest.raises(BadInput, match=said):
        Scenes(**change)
